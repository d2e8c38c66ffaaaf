"""Trackers follow a run, or are given what a results folder holds: our own by name, others from plugins."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from metabench.errors import UserError, missing, one_line
from metabench.registry.requirements import reason_missing

if TYPE_CHECKING:
    from metabench.api import Tracker
    from metabench.registry.discovery import Registry


class BuiltIn(NamedTuple):
    """A module beside this one, with `open_tracker(folder)`, and what it needs."""

    package: str
    install: str


BUILT_IN = {
    "tensorboard": BuiltIn("tensorboard", "pip install 'metabench[track]'"),
    "mlflow": BuiltIn("mlflow", "pip install mlflow-skinny"),
    "wandb": BuiltIn("wandb", "pip install wandb"),
}


def check_trackers(names: Iterable[str], registry: Registry, also: tuple[str, ...] = ()) -> None:
    """Raise UserError for a name that nobody registers, or whose package is not installed; `also` could be meant."""
    for name in names:
        if name in BUILT_IN:
            if reason := reason_missing(*BUILT_IN[name]):
                raise UserError(f"Cannot track with {name}: {reason}.")
        elif name not in registry.trackers:
            raise UserError(missing("There is no tracker", name, (*also, *BUILT_IN, *registry.trackers)))
        elif reason := registry.trackers[name].missing:
            raise UserError(f"Cannot use {registry.trackers[name].owner}: {reason}")


def open_tracker(name: str, folder: Path, plugins: tuple[str, ...] = (), also: tuple[str, ...] = ()) -> Tracker:
    """A tracker that writes below a folder. A plugin's imports all plugins, and torch with them. Raises UserError."""
    from metabench.registry.discovery import Registry, load_registry

    registry = Registry({}, {}, ()) if name in BUILT_IN else load_registry(plugins)
    check_trackers([name], registry, also)
    try:
        if name in BUILT_IN:
            made: Tracker = import_module(f"{__name__}.{name}_tracker").open_tracker(folder)
        else:
            made = registry.trackers[name].factory(folder)
    except Exception as error:  # a stranger's package
        raise UserError(f"Cannot track with {name}: {one_line(error)}.") from None
    return made


def place(out: Path, name: str) -> Path:
    """Where what is exported of a results folder goes: `exports/one/tensorboard`."""
    return Path("exports") / out.resolve().name / name

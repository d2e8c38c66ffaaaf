"""What is settled before the first trial: the folder, the plugins, the data."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from metabench.errors import UserError, one_line
from metabench.experiments.options import Options
from metabench.processes import ChildDiedError, run_in_subprocess
from metabench.records.domains import is_made, usual
from metabench.records.trials import Trial
from metabench.registry.catalogue import Catalogue, Listed, kept_catalogue, read_catalogue
from metabench.registry.compound import read_name

if TYPE_CHECKING:  # torch is imported when a command needs it, so that --help answers at once
    from metabench.api import Suite
    from metabench.experiments.suite_builder import SuiteBuilder
    from metabench.registry.discovery import Registry

Result = TypeVar("Result")
Known = TypeVar("Known", "Registry", Catalogue)


def folder(options: Options) -> Path:
    """Where the results go: `--out`, or a name made of what is compared, so that the same command resumes."""
    if options.out:
        return Path(options.out)
    if not options.algos and not options.suites:
        return Path("results/quickstart")
    name = "-".join(options.algos or ("default",)) + "-on-" + "-".join(options.suites or ("default",))
    return Path("results") / re.sub(r"[^a-z0-9+_-]", "_", name)[:80]


def use_data(options: Options) -> None:
    """Let this process and its children find the data folder of `--data`."""
    if options.data:
        if not os.path.isdir(options.data):  # unlike Path.is_dir, never an error
            raise UserError(f"There is no data folder '{options.data}' (--data).")
        os.environ["METABENCH_DATA"] = os.path.realpath(options.data)


def plugin_files(options: Options) -> tuple[str, ...]:
    """The plugin files named by hand, as absolute paths."""
    return tuple(os.path.realpath(name) for name in options.plugins)


def open_registry(options: Options) -> Registry:
    """The registry; a plugin file named by hand must be usable."""
    from metabench.registry.discovery import load_registry

    return usable(load_registry(plugin_files(options)), options)


def open_catalogue(options: Options) -> Catalogue:
    """What is installed, from the cache if no plugin has changed; a plugin file named by hand must be usable."""
    return usable(read_catalogue(plugin_files(options)), options)


def usable(known: Known, options: Options) -> Known:
    """A registry or a catalogue in which no plugin file named by hand is broken; raises UserError."""
    for plugin in known.broken:
        if plugin.source in plugin_files(options):
            raise UserError(f"Cannot use the plugin file '{plugin.source}': {plugin.problem}.")
    return known


def with_names(options: Options) -> Options:
    """Options in which a plugin file among the names stands for what it registers; raises UserError for other names.

    A name that nobody registers is refused at once where the catalogue is in the cache: before torch is imported.
    """
    files = tuple(name for name in (*options.algos, *options.suites) if name.endswith(".py"))
    options = msgspec.structs.replace(options, plugins=(*options.plugins, *files))
    known = kept_catalogue(plugin_files(options)) or check_in_subprocess(open_catalogue, options)
    algos, suites = (
        tuple(one for name in names for one in registered_by(name, kind, entries, known))
        for kind, names, entries in (
            ("algorithm", options.algos, known.algorithms), ("suite", options.suites, known.suites),
        )
    )  # fmt: skip
    return msgspec.structs.replace(options, algos=algos, suites=suites)


def registered_by(name: str, kind: str, entries: dict[str, Listed], known: Catalogue) -> tuple[str, ...]:
    """The name itself, in lower case as all are, or those that a plugin file registers; raises UserError."""
    if name.lower() in entries:
        return (name.lower(),)
    if kind == "suite" and not name.endswith(".py") and is_made(name):
        for domain in read_name(usual(name)):
            registered_by(domain.suite, kind, entries, known)
        return (usual(name),)
    if not name.endswith(".py"):
        raise known.unknown(kind, name, entries)
    plugin = next(plugin for plugin in known.plugins if plugin.source == os.path.realpath(name))
    found = tuple(entry.name for entry in entries.values() if entry.plugin == plugin.name)
    if not found:
        raise UserError(f"The plugin file '{name}' registers no {kind}.")
    return found


def check_in_subprocess(check: Callable[..., Result], *arguments: Any) -> Result:
    """Run a check in a child process, so that the driver never imports torch (0.5 GB); here if it has torch already.

    Raises UserError.
    """
    if "torch" in sys.modules:
        return check(*arguments)
    try:
        result: Result = run_in_subprocess(check, *arguments)
    except ChildDiedError:
        raise UserError(
            "The process that reads plugins and data was killed, as when memory is short. Nothing was begun."
        ) from None
    return result


def prepare_data(builder: SuiteBuilder, trials: tuple[Trial, ...]) -> tuple[str, ...]:
    """Fetch and check the data of every suite, before the first trial starts. Returns what suites say of them."""
    prepared: list[Suite] = []
    notes: list[str] = []
    for trial in trials:
        suite = builder.build(trial.suite, trial.suite_parameters)
        if any(suite is other for other in prepared):
            continue
        prepared.append(suite)
        notes += prepare_suite(trial.suite, suite)
    return tuple(notes)


def prepare_suite(name: str, suite: Suite) -> list[str]:
    """Fetch and check the data of one suite; what it says of them. Raises UserError."""
    from metabench.engine.build import refuse_overlap

    try:
        suite.prepare()
        refuse_overlap(name, suite)
        return [f"Suite '{name}': {note}." for note in suite.notes()]
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"Suite '{name}': {error}") from None
    except (Exception, SystemExit) as error:
        raise UserError(f"Suite '{name}' cannot prepare its data: {one_line(error)}.") from None

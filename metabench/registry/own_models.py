"""A user's own network on somebody's suite, `--set SUITE.model=FILE.py:NAME`, and weights that it starts from."""

from __future__ import annotations

import inspect
import os
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from metabench.errors import one_line
from metabench.records.plugin_files import PluginFile
from metabench.registry.code import digest, read_plugin
from metabench.registry.parameters import OWN_MODEL, Parameter
from metabench.registry.sources import import_file

MODEL = "model"
WEIGHTS = Parameter(
    "weights",
    str,
    "",
    "A file of torch.save, as it stands or below METABENCH_DATA: what of a pre-trained model's weights has the name "
    "and the shape of the model's own is where training starts from.",
    str,
    later=True,
)


class Own(NamedTuple):
    """What a user brings; empty for what the suite has itself."""

    model: str = ""
    """`FILE.py:NAME`."""
    weights: str = ""
    """A file."""


def opened(schema: dict[str, Parameter]) -> dict[str, Parameter]:
    """A suite's parameters: if it has a choice of models, the user may bring one, and weights for it."""
    model = schema.get(MODEL)
    if model is None or typing.get_origin(model.type) is not typing.Literal:
        return schema
    return {**schema, MODEL: model._replace(open=True), WEIGHTS.name: schema.get(WEIGHTS.name, WEIGHTS)}


def parted(schema: Mapping[str, Parameter], parameters: Mapping[str, Any]) -> tuple[dict[str, Any], Own]:
    """The parameters that the suite's factory knows, and what is the user's own."""
    plain, own = dict(parameters), Own()
    if MODEL in schema and schema[MODEL].open and is_own(plain.get(MODEL)):
        own = own._replace(model=plain[MODEL])
        plain[MODEL] = schema[MODEL].default
    if WEIGHTS.name in schema and schema[WEIGHTS.name].later:
        own = own._replace(weights=plain.pop(WEIGHTS.name, ""))
    return plain, own


def is_own(value: Any) -> bool:
    """Whether it is meant as `FILE.py:NAME`."""
    return isinstance(value, str) and OWN_MODEL.fullmatch(value) is not None


def own_models(parameters: Mapping[str, Any]) -> Iterator[str]:
    """Those among a suite's parameters, or two suites'."""
    for name, value in sorted(parameters.items()):
        if name.rpartition(".")[2] == MODEL and is_own(value):
            yield value


def digest_of(model: str) -> str:
    """Of the code of a user's model, with what its file imports of its folder: see registry.code."""
    file = read_own(model)[0]
    return digest(file.source, file.modules) if file.source is not None else ""


def read_own(model: str) -> tuple[PluginFile, str]:
    """The file as it is now, and the name in it."""
    match = re.fullmatch(OWN_MODEL, model)
    assert match is not None
    return read_plugin(Path(os.path.realpath(match[1]))), match[2]


def load(model: str) -> Callable[..., Any]:
    """What `FILE.py:NAME` is; raises ValueError in one line."""
    file, name = read_own(model)
    if file.source is None:
        raise ValueError(f"there is no file '{file.path}' to take the model '{name}' from")
    try:
        module = imported(file)
    except (Exception, SystemExit) as error:
        raise ValueError(f"'{file.path}' cannot be imported: {one_line(error)}") from None
    found = getattr(module, name, None)
    if not callable(found):
        here = [
            key
            for key, value in vars(module).items()
            if inspect.isclass(value) and value.__module__ == module.__name__
        ]
        raise ValueError(f"'{file.path}' has no model '{name}'; its classes: {', '.join(here) or 'none'}")
    made: Callable[..., Any] = found
    return made


@lru_cache(maxsize=20)
def imported(file: PluginFile) -> Any:
    """Its module, once for each content."""
    return import_file(file)

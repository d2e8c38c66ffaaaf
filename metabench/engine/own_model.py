"""A suite with the user's own network, or with weights that somebody trained before."""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from metabench.api import Suite
from metabench.api.apart import as_tested
from metabench.engine.seeds import random_generator
from metabench.errors import one_line
from metabench.registry.own_models import Own, load

INSIDE = ("state_dict", "model_state_dict", "model", "params")
"""Where in a file of torch.save the weights may stand, if not at its top."""
SHOWN = 6
"""Names that a message lists at most."""


def with_own(suite: Suite, own: Own, parameters: Mapping[str, Any]) -> Suite:
    """The suite as it is, or with what the user brings. Raises ValueError in one line, `prepare` too."""
    if own == Own():
        return suite
    weights = functools.cache(functools.partial(read_weights, own.weights))

    def plain_of(suite: Suite) -> Callable[[], nn.Module]:
        if not own.model:
            return suite.model
        return functools.partial(network, load(own.model), own.model, suite, dict(parameters))

    def model_of(suite: Suite) -> Callable[[], nn.Module]:
        return functools.partial(started, plain_of(suite), weights, own.weights) if own.weights else plain_of(suite)

    plain, tested = plain_of(suite), as_tested(suite)

    def prepare() -> None:
        suite.prepare()
        with torch.random.fork_rng(devices=[]):
            for one in (suite,) if tested is suite else (suite, tested):
                refuse_other_width(one, model_of(one)(), own.model or "the model")

    return suite._replace(
        model=model_of(suite),
        test_model=model_of(tested) if suite.test_model else None,
        prepare=prepare,
        notes=lambda: (*suite.notes(), *([note(plain(), weights(), own.weights)] if own.weights else [])),
    )


def started(make: Callable[[], nn.Module], weights: Callable[[], dict[str, Tensor]], path: str) -> nn.Module:
    """A model that begins at the weights of a file."""
    model = make()
    start(model, weights(), path)
    return model


def example(suite: Suite) -> Tensor:
    """The support points of a training task: (points, ...)."""
    return suite.sample("train", 1, random_generator("own model")).support.x[0]


def network(make: Callable[..., Any], called: str, suite: Suite, parameters: Mapping[str, Any]) -> nn.Module:
    """The user's network, given what it asks for by name: the suite's parameters, and facts of its input."""
    shape = tuple(example(suite).shape[1:])
    known = {**parameters, "ways": suite.ways, "shape": shape, "inputs": prod(shape)}
    if len(shape) == 3:
        known |= {"channels": shape[0], "size": shape[-1]}
    asked = {}
    for name, parameter in inspect.signature(make).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if name in known:
            asked[name] = known[name]
        elif parameter.default is parameter.empty:
            raise ValueError(f"'{called}' asks for '{name}'; known are {', '.join(sorted(known))}")
    try:
        model = make(**asked)
    except Exception as error:
        raise ValueError(f"'{called}' cannot be made: {one_line(error)}") from None
    if not isinstance(model, nn.Module):
        raise ValueError(f"'{called}' makes no nn.Module, but {type(model).__name__}")
    return model


def refuse_other_width(suite: Suite, model: nn.Module, called: str) -> None:
    """Raise ValueError unless a training task's points get an output for each class, or as many as the suite's."""
    x = example(suite)
    with torch.no_grad():
        try:
            given = model(x)
        except Exception as error:
            raise ValueError(f"'{called}' cannot take {tuple(x.shape)}: {one_line(error)}") from None
        wanted = (len(x), suite.ways) if suite.ways else tuple(suite.model()(x).shape)
    if not isinstance(given, Tensor) or tuple(given.shape) != wanted:
        found = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
        raise ValueError(f"'{called}' gives {found} for {tuple(x.shape)}; {wanted} is wanted")


def read_weights(path: str) -> dict[str, Tensor]:
    """By name, without a `module.` in front; nothing but tensors and plain values is unpickled. Raises ValueError."""
    places = [Path(path), Path(os.environ.get("METABENCH_DATA", "")) / path]
    place = next((each for each in places if os.path.isfile(each)), None)
    if place is None:
        raise ValueError(f"there are no weights '{path}', nor below METABENCH_DATA (--data)")
    try:
        held = torch.load(place, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"the weights '{path}' cannot be read ({one_line(error)[:200]})") from None
    for key in INSIDE:
        if isinstance(held, Mapping) and isinstance(held.get(key), Mapping):
            held = held[key]
    found = (
        {str(name): each for name, each in held.items() if isinstance(each, Tensor)}
        if isinstance(held, Mapping)
        else {}
    )
    if not found:
        raise ValueError(f"'{path}' holds no weights: a state_dict of tensors by name is wanted")
    return {name.removeprefix("module."): each for name, each in found.items()}


def fitting(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those that the model has too, of its shape."""
    own = model.state_dict()
    return {name: weights[name] for name in own if name in weights and weights[name].shape == own[name].shape}


def start(model: nn.Module, weights: Mapping[str, Tensor], path: str) -> None:
    """Give the model the weights that fit; raises ValueError where none does."""
    found = fitting(model, weights)
    if not found:
        raise ValueError(
            f"no tensor of '{path}' fits: it has {few(weights)}; the model has {few(model.state_dict())}"
        )
    model.load_state_dict(found, strict=False)


def note(model: nn.Module, weights: Mapping[str, Tensor], path: str) -> str:
    """What is pre-trained and what is not, with the digest of the weights."""
    found, own = fitting(model, weights), model.state_dict()
    missing = [name for name in own if name not in found]
    rest = f"; not found there, or of another shape: {few(missing)}" if missing else ""
    whole = hashlib.sha256()
    for name, each in sorted(weights.items()):
        whole.update(name.encode() + each.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return f"the model starts from '{path}' ({whole.hexdigest()[:12]}), {len(found)} of its {len(own)} tensors{rest}"


def few(names: Any) -> str:
    """The first of some names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more

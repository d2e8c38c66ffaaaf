"""Parameters that every few-shot suite has beside those of its factory: how training differs from the test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta

from metabench.registry.parameters import Parameter, bare

Augment = Literal["none", "flip", "flip-crop", "flip-crop-jitter"]
COUNT = Annotated[int, Meta(ge=0)]
FEW_SHOT = {"ways", "shots", "queries", "model"}
"""A suite with all of these has those below."""


def added(name: str, declared: Any, default: Any, words: str) -> Parameter:
    return Parameter(name, bare(declared), default, words, declared, later=True)


ADDED = (
    added("train_ways", COUNT, 0, "Classes of a training task, at least `ways`, the test's; 0 takes `ways`."),
    added(
        "test_ways",
        COUNT,
        0,
        "Classes of a validation or test task, where `ways` are training's: for algorithms that learn nothing of one "
        "class, such as prototypes; 0 takes `ways`.",
    ),
    added("test_shots", COUNT, 0, "Support points of each class in validation and test; 0 takes `shots`."),
    added("test_queries", COUNT, 0, "Query points of each class in validation and test; 0 takes `queries`."),
    added(
        "augment",
        Augment,
        "none",
        "What is done at random to the colour images of training tasks, each by itself: mirrored, cut out of a black "
        "frame of an eighth of their size, and other brightness, contrast and saturation, by up to 40%.",
    ),
)  # fmt: skip


def with_added(schema: dict[str, Parameter]) -> dict[str, Parameter]:
    """A suite's parameters, with these if it is of few-shot classification."""
    return {**{each.name: each for each in ADDED}, **schema} if schema.keys() >= FEW_SHOT else schema


def parted(schema: Mapping[str, Parameter], parameters: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters that the suite's factory knows, and those of these that are given."""
    ours = {each.name for each in ADDED if each.name in schema and schema[each.name].later}
    return (
        {name: value for name, value in parameters.items() if name not in ours},
        {name: value for name, value in parameters.items() if name in ours},
    )

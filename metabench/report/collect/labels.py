"""A short name for each configuration: the plugin's, and only the settings in which its namesakes differ."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from metabench.records.matching import NONE, marks
from metabench.records.record import Record
from metabench.report.collect import grouped

PLAIN = re.compile(r"(?!(?:true|false|null)$)[A-Za-z][\w.-]*")


class Label(NamedTuple):
    """What a trial is called in every table and figure. Trials of equal labels differ by their seed alone."""

    suite: str
    algorithm: str


def labels(records: Iterable[Record], apart: bool = True) -> dict[str, Label]:
    """By trial id. They depend on all the records: `NAME` alone is `NAME`, two of them say what differs.

    Unless `apart` is false, trials of equal settings whose code or data do not match have labels of their own.
    """
    known = list(records)
    trials = {record.trial.id: record.trial for record in known}
    told = dict.fromkeys(trials, NONE) | marks(known if apart else ())
    suites = named({key: ("", of.suite, {**of.settings("suite"), **told[key].suite}) for key, of in trials.items()})
    algorithms = named(
        {
            key: (suites[key], of.algorithm, {**of.settings("algorithm", "trial"), **told[key].algorithm})
            for key, of in trials.items()
        }
    )
    return {key: Label(suites[key], algorithms[key]) for key in trials}


def named(entries: Mapping[str, tuple[str, str, Mapping[str, Any]]]) -> dict[str, str]:
    """Key -> label, for entries of (suite, name, settings): names are told from their namesakes on that suite."""
    namesakes = grouped(((suite, name), values) for suite, name, values in entries.values())
    varying = {key: differing(all_values) for key, all_values in namesakes.items()}
    return {key: label(name, values, varying[suite, name]) for key, (suite, name, values) in entries.items()}


def differing(configurations: Sequence[Mapping[str, Any]]) -> list[str]:
    """The settings that are not the same in all of them, by name."""
    names = sorted({name for values in configurations for name in values})
    return [name for name in names if len({name in values and text(values[name]) for values in configurations}) > 1]


def label(name: str, values: Mapping[str, Any], shown: Sequence[str]) -> str:
    """`omniglot (shots=1, ways=20)`."""
    told = {key: values[key] for key in shown if key in values}
    return f"{name} ({pairs(told)})" if told else name


def text(value: Any) -> str:
    """A setting as it is written on the command line; no two different values are written alike."""
    if isinstance(value, str) and PLAIN.fullmatch(value):
        return value
    return msgspec.json.encode(value, order="sorted").decode()


def pairs(values: Mapping[str, Any]) -> str:
    """`inner_lr=0.4, inner_steps=1`."""
    return ", ".join(f"{name}={text(value)}" for name, value in values.items()) or "none"


def slugs(names: Iterable[str]) -> dict[str, str]:
    """Name -> a part of a file name, all different: `omniglot (ways=20)` -> `omniglot-ways-20`."""
    by_name: dict[str, str] = {}
    for name in names:
        base = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60].strip("-") or "suite"
        taken, slug, number = set(by_name.values()), base, 2
        while slug in taken:
            slug, number = f"{base}-{number}", number + 1
        by_name[name] = slug
    return by_name

"""Published numbers by row, each what one training gives, and how a reader names it: `ALGORITHM SUITE 5w1s`."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from metabench.errors import UserError
from metabench.registry.published import Number

STEPS = "test_steps"
"""The fact in which the numbers of a row differ: one training is tested after every inner step."""
SIMILAR = 0.8
"""How alike a word of a query and one of a row must be where no row has the word itself."""
NO_NAME = {"readme", "of", "the"}
"""Words with which sources begin that are nobody's name."""


class Row(NamedTuple):
    """Numbers of one source that one training gives."""

    name: str
    algorithm: str
    suite: str
    numbers: tuple[Number, ...]

    @property
    def setting(self) -> dict[str, Any]:
        """See Number; the first of each list."""
        return {
            name: value[0] if isinstance(value, list) else value for name, value in self.numbers[0].setting.items()
        }

    @property
    def facts(self) -> dict[str, Any]:
        """The protocol, and what stands for it here; the test goes as far as the furthest number."""
        first = self.numbers[0]
        steps = [number.protocol[STEPS] for number in self.numbers if isinstance(number.protocol.get(STEPS), int)]
        return {**first.protocol, **({STEPS: max(steps)} if steps else {}), **first.ours}

    @property
    def words(self) -> set[str]:
        """All by which it can be found, in lower case."""
        first = self.numbers[0]
        values = [text for text in self.setting.values() if isinstance(text, str)]
        text = f"{self.name} {' '.join(values)} {first.source} {transduction([self])[0]}"
        shape = [f"{of_task(self.setting, key)}{dash}{one}" for key, one in SHAPE for dash in ("", "-")]
        return {*re.findall(r"[^\s,:;()]+", text.lower()), *self.name.lower().split(), *shape}


SHAPE = (("ways", "way"), ("shots", "shot"))
Words = Callable[[Sequence[Row]], list[str]]
"""For rows of one name a word each, or none."""


def rows(
    numbers: Iterable[Number], suites: Mapping[str, Mapping[str, Any]], algorithms: Container[str]
) -> tuple[Row, ...]:
    """The rows of all numbers whose suite and algorithm there are, each under a name of its own.

    `suites` has their parameters' defaults. A method that several plugins implement has a row for each.
    """
    found: dict[str, list[Number]] = {}
    for number in numbers:
        alike = (number.algorithms, number.suite, number.source, number.setting, {**number.protocol, STEPS: None})
        found.setdefault(repr(alike), []).append(number)
    plain = [
        Row(plain_name(algorithm, members[0]), algorithm, members[0].suite, tuple(members))
        for members in found.values()
        for algorithm in members[0].algorithms
        if algorithm in algorithms and members[0].suite in suites
    ]
    words = (functools.partial(unusual, suites), author, transduction, unlike)
    return tuple(named_apart(plain, words))


def of_task(setting: Mapping[str, Any], key: str) -> Any:
    """`ways`, or `emnist.ways` of two suites; None where neither is said."""
    return next((value for name, value in setting.items() if name.rpartition(".")[2] == key), None)


def plain_name(algorithm: str, number: Number) -> str:
    """`ALGORITHM SUITE 5w1s`."""
    ways, shots = (of_task(number.setting, key) for key, _ in SHAPE)
    return " ".join([algorithm, number.suite, *([f"{ways}w{shots}s"] if ways and shots else [])])


def named_apart(members: Iterable[Row], words: Sequence[Words]) -> Iterator[Row]:
    """The rows; those of one name get the first of these words by which they differ, and the next until all do."""
    same: dict[str, list[Row]] = {}
    for row in members:
        same.setdefault(row.name, []).append(row)
    for alike in same.values():
        if len(alike) == 1 or not words:
            yield from alike
            continue
        more = [word.lower() for word in words[0](alike)]
        if len(set(more)) > 1:
            alike = [row._replace(name=f"{row.name} {word}".strip()) for row, word in zip(alike, more, strict=True)]
        yield from named_apart(alike, words[1:])


def unusual(suites: Mapping[str, Mapping[str, Any]], alike: Sequence[Row]) -> list[str]:
    """The settings of each that are not the suite's defaults, but for ways and shots."""

    def of(row: Row) -> str:
        return " ".join(
            f"{value}" if isinstance(value, str) else f"{name}={value}"
            for name, value in row.numbers[0].setting.items()
            for usual in [value if isinstance(value, list) else [value]]
            if name.rpartition(".")[2] not in dict(SHAPE) and suites[row.suite].get(name) not in usual
        )

    return [of(row) for row in alike]


def author(alike: Sequence[Row]) -> list[str]:
    """The first name in the source of each."""
    words = [re.findall(r"[a-z0-9+-]+", row.numbers[0].source.lower()) for row in alike]
    return [next((word for word in each if word not in NO_NAME), "") for each in words]


def transduction(alike: Sequence[Row]) -> list[str]:
    """Under which protocol each was made, where that is said."""
    said = [row.numbers[0].protocol.get("transductive") for row in alike]
    return ["" if one is None else "transductive" if one else "inductive" for one in said]


def unlike(alike: Sequence[Row]) -> list[str]:
    """The facts of each in which not all are the same."""
    facts = [row.numbers[0].protocol for row in alike]
    names = {name: None for each in facts for name in each if len({repr(other.get(name)) for other in facts}) > 1}
    return [" ".join(f"{name}={each[name]}" for name in names if name in each) for each in facts]


def find(query: str, known: Sequence[Row]) -> Row:
    """The row that has every word of a query, in any order, in its name rather than in its source; of several the one
    whose name has no other word.

    Raises UserError with the candidates.
    """
    asked = near_words(query, known)
    fits = matching(query, known)
    named = [(row, set(row.name.split())) for row in fits if all(near & {*row.name.split()} for near in asked)]
    exact = [row for row, words in named if len(words) == len(asked)]
    fits = exact if len(exact) == 1 else [row for row, _ in named] or fits
    if len(fits) == 1:
        return fits[0]
    names = [row.name for row in fits]
    shown = "; ".join(names[:8]) + (f"; and {len(names) - 8} more" if len(names) > 8 else "")
    raise UserError(f"'{query}' may be {len(names)} rows of published numbers: {shown}. Name one.")


def matching(query: str, known: Sequence[Row]) -> list[Row]:
    """The rows that have every word of a query, or one much like it where no row has the word itself.

    Raises UserError where there is none.
    """
    asked = near_words(query, known)
    fits = [row for row in known if all(near & row.words for near in asked)]
    if not fits:
        likely = difflib.get_close_matches(query.lower(), [row.name for row in known], 3)
        hint = f" Did you mean {' or '.join(map(repr, likely))}?" if likely else ""
        raise UserError(f"No published number is for '{query}'.{hint} `metabench reproduce --list` shows all.")
    return fits


def near_words(query: str, known: Iterable[Row]) -> list[set[str]]:
    """For each word of a query the words of rows that it may be: itself if a row has it, or those much like it."""
    vocabulary = {word for row in known for word in row.words}
    return [
        {word} if word in vocabulary else {*difflib.get_close_matches(word, vocabulary, 3, SIMILAR)}
        for word in dict.fromkeys(query.lower().split())
    ]

"""A CSV file as text: every cell as it stands, every column by a name of its own, rows numbered as in an editor."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from metabench_plugins.suites.own_data import plain

SIZE_LIMIT = 2 * 2**30
"""Bytes of a file."""


class FaultError(ValueError):
    """What is wrong with a row: its place among the rows below the header, and the message that a row number ends."""

    def __init__(self, place: int, message: str) -> None:
        super().__init__(message)
        self.place = place


def read_csv(place: Path) -> pd.DataFrame:
    """Every cell as text, also one that says NA; never unpacked, whatever the file is called."""
    if not place.is_file():
        raise ValueError("it is no file")
    if place.stat().st_size > SIZE_LIMIT:
        raise ValueError(f"it is larger than {SIZE_LIMIT:,} bytes")
    header = header_of(place)
    try:
        frame = pd.read_csv(
            place, dtype=str, keep_default_na=False, skipinitialspace=True, skip_blank_lines=False, header=0,
            names=header, compression=None, encoding="utf-8-sig",
        )  # fmt: skip
        whole = isinstance(frame.index, pd.RangeIndex)  # pandas takes the surplus for row names, and moves the rest
    except pd.errors.ParserError as error:
        refuse_long(place, len(header))
        if "EOF inside string" in str(error):
            *_, (line, _) = records_of(place)
            raise ValueError(f"a quote that begins in row {line} never ends") from None
        raise
    if not whole:
        refuse_long(place, len(header))
    return frame.fillna("")  # the cells that a short row lacks


def refuse_long(place: Path, cells: int) -> None:
    """Raise ValueError for the first row that has more cells than the header."""
    for line, row in records_of(place):
        if len(row) > cells:
            raise ValueError(f"row {line} has {len(row)} cells, but the header has {cells}")


def records_of(place: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a file, each with the number of its first line in an editor."""
    with open(place, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, skipinitialspace=True)
        line = 1
        try:
            for row in reader:
                yield line, row
                line = reader.line_num + 1
        except csv.Error as error:  # a cell of more than 131,072 characters, or the like
            raise ValueError(f"row {line} cannot be read: {error}") from None


def header_of(place: Path) -> list[str]:
    """The names of the columns, in one normal form; raises ValueError unless each has one, and one of its own."""
    try:
        _, row = next(records_of(place))
    except StopIteration:
        raise ValueError("it is empty") from None
    names = [plain(name.strip()) for name in row]
    twice = [name for name, number in Counter(names).items() if number > 1 and name]
    if twice:
        raise ValueError(f"two columns are called '{twice[0]}'")
    if not names:
        raise ValueError("it is empty, or begins with an empty line")
    if not all(names):
        raise ValueError("a column has no name, like row numbers that nobody wants: give it one, or remove it")
    return names


def line_of(place: Path, row: int) -> int:
    """What an editor calls a row, whose cells may hold line breaks: the number of its first line."""
    return next(line for number, (line, _) in enumerate(records_of(place)) if number == row + 1)

"""Tables on the terminal: scores, texts, names; none breaks a word where there is room for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.box import HEAVY_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from metabench.report.analysis.summary import TextTable

PRIORITY = ("algorithm", "score", "suite", "standing", "train_seconds", "ok", "metric", "adapt_ms")
"""Which columns of the table at the end stay where a terminal is narrow; the others follow in their order."""
LEAST = 3
"""How many of them are there however narrow it is."""


def results_table(summary: TextTable) -> WordTable:
    """The table at the end of a run: as many columns as fit, by what matters; the best of each suite is bold."""
    rank = {name: place for place, name in enumerate(PRIORITY)}
    by_rank = sorted(zip(summary.names, summary.headings), key=lambda column: rank.get(column[0], len(rank)))
    spare = [heading for _, heading in by_rank[LEAST:]]
    title = "mean score ± half of its 95% interval over seeds and test tasks"
    return WordTable(summary.headings, summary.rows, spare, title, bold=summary.best)


def best_lines(summary: TextTable) -> list[str]:
    """Who is the best on each suite, where there is somebody to compare with."""
    name, score, suite = (summary.names.index(key) for key in ("algorithm", "score", "suite"))
    rows = [row for row, best in zip(summary.rows, summary.best) if best]
    return [f"Best on {row[suite]}: {row[name]}, {summary.headings[score]} {row[score]}." for row in rows]


BREAK = re.compile(r"(?<![±×])\s+(?!±)")
"""Where a text may go on in the next line: a number stays beside its interval."""


class WordTable:
    """Texts as they are, every word whole: a grid where there is room for one, else a paragraph for each row.

    Before a grid is given up its columns of `spare` go, the last one first. One that changes (`live`) has no lines.
    """

    def __init__(
        self,
        columns: Iterable[str],
        rows: Iterable[Iterable[str]],
        spare: Sequence[str] = (),
        title: str = "",
        live: bool = False,
        bold: Sequence[bool] = (),
    ):
        self.columns, self.rows, self.spare = list(columns), [list(row) for row in rows], spare
        self.title, self.box = title, None if live else HEAVY_HEAD
        self.styles = ["bold" if row else "" for row in bold] or [""] * len(self.rows)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.title:
            yield Text(self.title, style="italic")
        kept, widths = self.fitting(options.max_width)
        if widths:
            yield self.grid(kept, widths)
        else:
            yield from self.paragraphs()

    def fitting(self, width: int) -> tuple[list[int], list[int]]:
        """The places of the columns of a grid that is no wider, and their widths; nothing if there can be none."""
        for spared in range(len(self.spare) + 1):
            gone = self.spare[len(self.spare) - spared :]
            kept = [place for place, column in enumerate(self.columns) if column not in gone]
            if widths := self.widths(kept, width - 3 * len(kept) - 1):
                return kept, widths
        return [], []

    def widths(self, kept: Sequence[int], room: int) -> list[int]:
        """Of columns of a grid: their longest texts, the widest narrowed while no word breaks; empty if one would."""
        texts = [[self.columns[place], *(row[place] for row in self.rows)] for place in kept]
        least = [max([1, *(cell_len(word) for text in column for word in BREAK.split(text))]) for column in texts]
        widths = [max(cell_len(line) for text in column for line in text.splitlines() or [""]) for column in texts]
        if sum(least) > room:
            return []
        while sum(widths) > room:
            width, widest = max((width, place) for place, width in enumerate(widths) if width > least[place])
            widths[widest] = width - 1
        return widths

    def grid(self, kept: Sequence[int], widths: Sequence[int]) -> Table:
        """Beside each other."""
        table = Table(box=self.box)
        for place, width in zip(kept, widths):
            table.add_column(self.columns[place], width=width, overflow="fold")
        for row, style in zip(self.rows, self.styles):
            table.add_row(*(Text(row[place]) for place in kept), style=style)
        return table

    def paragraphs(self) -> Iterator[Text | Table]:
        """The first cell as the head of the others, which stand below each other where they are not empty."""
        for head, *others in self.rows:
            yield Text(head, style="bold")
            lines = Table(box=None, show_header=False, padding=(0, 0, 0, 2))
            lines.add_column(no_wrap=True)
            lines.add_column(overflow="fold")
            for name, text in zip(self.columns[1:], others):
                if text:
                    lines.add_row(Text(name), Text(text))
            yield lines


def short_table(columns: tuple[str, str], rows: Iterable[tuple[str, str]]) -> Table:
    """A table of names and what they are, a line each: cut where the line ends."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column(columns[0], no_wrap=True)  # what is too wide is taken from the other column: names stay whole
    table.add_column(columns[1])
    for name, text in rows:
        table.add_row(Text(name, style="bold"), Text(text, no_wrap=True, overflow="ellipsis"))
    return table

"""A results folder while it fills, in another terminal: reads what is there, and touches nothing."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from metabench.cli.tables import WordTable, results_table
from metabench.records import store
from metabench.records.folder import folder_status
from metabench.records.locks import running
from metabench.report.analysis.summary import summary_table

SHARE = 20
"""Looking takes at most one part in so many of the time."""


class View(NamedTuple):
    """What is there at one moment."""

    content: RenderableType
    over: bool
    """Whether every trial that was asked for has ended."""


def look(root: Path) -> View:
    """How far the trials are, and the scores of those that have ended. Raises UserError for no results folder."""
    status = folder_status(root)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a damaged record is a trial that is left
        summary = summary_table(store.records(root), root)
    parts: list[RenderableType] = [Text(status.headline(root))]
    if status.running:
        parts.append(WordTable(("running or interrupted", "where", "updates", "computed for"), status.running))
    if summary.rows:
        parts.append(results_table(summary))
    return View(Group(*parts), not status.left and not running(root))


def step_back() -> None:
    """Have the trials go first."""
    with suppress(AttributeError, OSError):
        os.nice(19)


def watch(
    root: Path, console: Console, every: float, page: Path | None = None, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Show the folder until all has ended, or Ctrl-C; once only where there is no terminal and no page to write.

    `page` is a folder for the report, written anew each time; a browser that shows it follows.
    """
    view = look(root)
    if not console.is_terminal and not page:
        console.print(view.content)
        return
    with Live(view.content, console=console, auto_refresh=False) as live, suppress(KeyboardInterrupt):
        while True:
            began = time.monotonic()
            view = look(root)
            live.update(view.content, refresh=True)
            if page:
                write_page(root, page, None if view.over else every)
            if view.over:
                return
            sleep(max(every, SHARE * (time.monotonic() - began)))


def write_page(root: Path, page: Path, refresh: float | None) -> None:
    """The report of what has ended; nothing while nothing has."""
    from metabench.report.build import build_report, save_report  # with seaborn behind it

    if any(root.glob("*/record.json")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            save_report(build_report([root]), page, refresh)

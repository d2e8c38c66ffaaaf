"""Progress in a notebook: the view of a terminal as a cell's output that changes in its place."""

from __future__ import annotations

import html
import io
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from metabench.cli.progress import RunView
from metabench.cli.terminal import View
from metabench.experiments.experiment import Experiment
from metabench.records.record import Progress, Record
from metabench.records.trials import Trial

EVERY = 0.5
"""Seconds between two pictures, at least."""
WIDTH = 100


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    return (
        "ipykernel" in sys.modules and getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)() is not None
    )


@contextmanager
def shown_progress(
    trials: Sequence[Trial], jobs: int
) -> Iterator[tuple[Callable[[Progress], None], Callable[[Record], None]]]:
    """Two functions, for heartbeats and for records; outside a notebook they do nothing."""
    if not trials or not in_notebook():
        yield (lambda sign: None), (lambda record: None)
        return
    view, last = RunView(trials, jobs=jobs), [0.0]
    handle: Any = sys.modules["IPython"].display.display(picture(view), raw=True, display_id=True)

    def show(always: bool = False) -> None:
        if always or time.monotonic() - last[0] > EVERY:
            last[0] = time.monotonic()
            handle.update(picture(view), raw=True)

    def on_progress(sign: Progress) -> None:
        view.on_progress(sign)
        show()

    def on_record(record: Record) -> None:
        view.on_record(record)
        show()

    try:
        yield on_progress, on_record
    finally:
        show(always=True)


def run_shown(planned: Experiment) -> None:
    """Run what was planned, for a function that users call: notices are warnings, a notebook shows the progress."""
    for notice in planned.notices:
        warnings.warn(notice, stacklevel=3)
    with shown_progress(planned.pending, planned.jobs) as (on_progress, on_record):
        for outcome in planned.outcomes(on_progress):
            on_record(outcome.record)


def picture(view: View) -> dict[str, str]:
    """A view as text and as HTML."""
    console = Console(file=io.StringIO(), width=WIDTH, force_jupyter=False, force_terminal=False)
    with console.capture() as captured:
        console.print(view)
    text = captured.get().rstrip()
    return {"text/plain": text, "text/html": f"<pre>{html.escape(text)}</pre>"}

"""Ctrl-C and SIGTERM: the first asks a run to checkpoint and stop, the second stops it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def asked_to_stop(on_first: Callable[[], None]) -> Iterator[Callable[[], int]]:
    """Yield a function that returns the signal that asked to stop, or 0. A second signal raises KeyboardInterrupt.

    Outside the main thread, which alone can handle signals, it always returns 0.
    """
    seen: list[int] = []

    def note(number: int, frame: Any) -> None:
        seen.append(number)
        if len(seen) > 1:
            raise KeyboardInterrupt
        on_first()

    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield lambda: seen[0] if seen else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""Waiting for something that other processes do. No test may depend on how busy the machine is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

HANG = 1800
"""Seconds after which something is taken to hang: far more than it needs on the busiest machine."""


def wait_for(condition: Callable[[], Any]) -> Any:
    """Wait for something to be true; return what it is then."""
    end = time.monotonic() + HANG
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return value

"""Reports without drawing: for tests of what a report says, whose figures another test draws."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from metabench.report.figures import encoding

EMPTY = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>'


@contextmanager
def sketched() -> Iterator[None]:
    """Inside it figures are made and put into words as ever, and the file of each is an empty one."""
    with patch.object(encoding, "fixed"), patch.object(encoding, "encoded", return_value=EMPTY):
        yield

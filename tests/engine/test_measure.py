"""What a trial is told of its own process."""

from __future__ import annotations

import sys

import pytest
import torch

from metabench.engine.measure import keep_freed_memory, peak_memory_mb, reset_peak_memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere the peak is the process's")
def test_the_peak_of_a_trial_does_not_hold_what_earlier_ones_have_freed():
    keep_freed_memory()
    reset_peak_memory("cpu")
    before = peak_memory_mb("cpu")
    blocks = [torch.ones(250_000) for _ in range(400)]  # a megabyte each
    kept = blocks[::50]
    assert peak_memory_mb("cpu") > before + 390
    del blocks
    reset_peak_memory("cpu")
    assert peak_memory_mb("cpu") < before + 50 + len(kept)

"""The chaos test in short: see chaos.py; `make chaos` runs the long one."""

from __future__ import annotations

import pytest

from tests.end_to_end.chaos import Load, chaos


@pytest.mark.slow
def test_killed_and_starved_trials_leave_the_records_of_undisturbed_ones():
    load = Load(seeds=3, updates=300, bad=("eating",))
    seen = chaos(load, kills=4, seed=1)
    assert seen["records"] == load.trials

"""What a trial measures: an update's parts on a CPU and on a device that computes beside the host, its memory."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import pytest
import torch

from metabench.engine.measure import UpdateClock, keep_freed_memory, peak_memory_mb, reset_peak_memory


class Machine:
    """A host and a device, each with a time of its own; it stands for torch.cuda.Event too."""

    def __init__(self) -> None:
        self.host = self.device = 100.0

    def draw(self, seconds: float) -> None:
        """The host is busy so long."""
        self.host += seconds

    def launch(self, seconds: float) -> None:
        """The device is busy so long, from when it is free; the host only says so."""
        self.host += 0.1
        self.device = max(self.host, self.device) + seconds

    def wait(self, device: str) -> None:
        """torch.cuda.synchronize."""
        self.host = max(self.host, self.device)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    made = Machine()

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self, stream: str) -> None:
            self.at = max(made.host, made.device)

        def elapsed_time(self, later: Event) -> float:
            return 1000 * (later.at - self.at)

    monkeypatch.setattr(time, "perf_counter", lambda: made.host)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "stream")
    monkeypatch.setattr(torch.cuda, "synchronize", made.wait)
    return made


def test_on_a_cpu_each_part_is_booked_as_it_ends(machine):
    seconds = {"sample": 0.0, "train": 0.0}
    clock = UpdateClock(seconds, "cpu")
    for _ in range(2):
        with clock.sampling():
            machine.draw(2.0)
        with clock.training():
            machine.draw(3.0)
    assert seconds == pytest.approx({"sample": 4.0, "train": 6.0})
    clock.read()
    assert seconds == pytest.approx({"sample": 4.0, "train": 6.0})


@pytest.mark.parametrize(
    ("device_seconds", "train", "sample"),
    [(4.0, 8.1, 1.0), (0.25, 0.7, 1.75)],  # the second drawing is hidden behind the first update, or a part of it is
)
def test_on_a_cuda_device_sampling_is_what_training_does_not_hide(machine, device_seconds, train, sample):
    seconds = {"sample": 0.0, "train": 0.0}
    clock = UpdateClock(seconds, "cuda:0")
    for _ in range(2):
        with clock.sampling():
            machine.draw(1.0)
        with clock.training():
            machine.launch(device_seconds)
    assert seconds == {"sample": 0.0, "train": 0.0}  # nothing has waited for the device
    clock.read()
    assert seconds == pytest.approx({"sample": sample, "train": train})
    assert sample + train == pytest.approx(machine.host - 100.0)
    clock.read()
    machine.draw(5.0)  # between two reads nobody samples or trains
    clock.read()
    assert seconds == pytest.approx({"sample": sample, "train": train})


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

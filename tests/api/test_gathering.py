"""Images gathered by number: every way of it gives the bits that indexing gives."""

from __future__ import annotations

import pytest
import torch

from metabench.api import Shape, Splits, image_suite, stacked
from metabench.api.gathering import as_input, gatherer, resident, staged
from metabench.engine.seeds import random_generator
from metabench.engine.tasks import sampler_on

CPU = torch.device("cpu")
EVERY_SHADE = torch.arange(256, dtype=torch.uint8).reshape(64, 1, 2, 2)


@pytest.mark.parametrize("way", [gatherer, resident, staged])
@pytest.mark.parametrize("pixels", [EVERY_SHADE, EVERY_SHADE.float().flatten(1)])
def test_every_way_gives_the_bits_of_indexing(way, pixels):
    index = torch.randint(64, (3, 5), generator=random_generator("gathering"))
    found = way(pixels, CPU)(index)
    assert torch.equal(found, pixels[index].float() / 255 if pixels.dtype == torch.uint8 else pixels[index])
    assert found.dtype == torch.float32
    found.zero_()  # what a task does with its images reaches no other task
    assert torch.equal(way(pixels, CPU)(index)[0], as_input(pixels[index[0]]))


def test_division_by_a_tensor_as_on_a_device_rounds_like_division_by_a_number():
    shades = EVERY_SHADE.float()
    assert torch.equal(shades / torch.full((), 255.0), as_input(EVERY_SHADE))


@pytest.mark.parametrize("way", [resident, staged])
def test_tasks_gathered_elsewhere_are_the_same_tasks(monkeypatch, way):
    """A device's sampler, with the device's ways run on the CPU."""
    pixels = torch.randint(256, (6, 8, 4, 4), dtype=torch.uint8, generator=random_generator("pixels"))
    splits = Splits({"train": stacked(pixels, tuple("abcdef"))})
    suite = image_suite("toy", Shape(3, 2, 4), lambda: splits, lambda: torch.nn.Flatten(), {})
    here = suite.sample("train", 5, random_generator("tasks"))
    monkeypatch.setattr("metabench.api.few_shot.gatherer", lambda pixels, device: way(pixels, CPU))
    there = sampler_on(suite, "cuda")("train", 5, random_generator("tasks"))
    assert all(torch.equal(*pair) for one, other in zip(here, there) for pair in zip(one, other))
    assert sampler_on(suite, "cpu") is suite.sample

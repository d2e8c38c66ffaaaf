"""Crossed and shifted suites: which half comes from where, what does not fit is refused, and what each shift does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from metabench.api import Batch, Shape, Splits, Suite, cross, image_suite, shifted, stacked
from metabench.api.combine import SHIFTS
from metabench.engine.seeds import random_generator, random_state
from metabench.records import domains
from metabench.registry.discovery import Registry
from metabench.testing.conformance import check_suite
from metabench.testing.suite_task_checks import SuiteCase
from metabench.testing.toy_suites import clouds, lines


def pictures(seed: int = 0, side: int = 8, shots: int = 1, ways: int = 2) -> Suite:
    def load() -> Splits:
        draw = torch.Generator().manual_seed(seed)
        of = {
            split: stacked(
                torch.randint(256, (4, 5, side, side), dtype=torch.uint8, generator=draw),
                tuple(f"{split}{number}" for number in range(4)),
            )
            for split in ("train", "validation", "test")
        }
        return Splits(of, (f"a note of {seed}",))

    def model() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(side * side, ways))

    return image_suite("pictures", Shape(ways, shots, 2), load, model, {})


def drawn(suite: Suite, split: str) -> torch.Tensor:
    return suite.sample(split, 3, random_generator("any")).query.x


@pytest.mark.parametrize("validate", ["source", "target"])
def test_training_is_the_source_s_and_the_test_is_the_target_s(validate):
    source, target = pictures(0), pictures(1)
    crossed = cross(source, target, validate, ("a", "b"))
    judge = source if validate == "source" else target
    for split, suite in {"train": source, "validation": judge, "test": target}.items():
        assert torch.equal(drawn(crossed, split), drawn(suite, split))
    assert crossed.pool is source.pool
    assert crossed.groups("test") == {f"b/test{number}" for number in range(4)}
    assert crossed.notes() == ("a note of 0", "a note of 1")
    assert len({suite.digest() for suite in (crossed, source, cross(source, source), cross(target, source))}) == 4


def test_suites_that_do_not_fit_are_refused_in_one_line():
    with pytest.raises(ValueError, match="a and b do not fit: ways is 2 here and 3 there"):
        cross(pictures(), pictures(ways=3), names=("a", "b"))
    with pytest.raises(ValueError, match="ways is 3 here and None there"):
        cross(clouds(), lines())
    larger = cross(pictures(), pictures(side=9), names=("a", "b"))
    with pytest.raises(ValueError, match=r"support.x is \(1, 8, 8\) float32 here and \(1, 9, 9\) float32 there"):
        larger.prepare()
    other = pictures()._replace(metrics=lambda predict, batch: {"recall": predict(batch.x).sum()})
    with pytest.raises(ValueError, match="they are judged by accuracy and by recall"):
        cross(pictures(), other).prepare()


def test_looking_at_tasks_moves_no_random_stream():
    before = random_state()["torch"]
    cross(pictures(0), shifted(pictures(1), "noise", 0.5)).prepare()
    assert torch.equal(random_state()["torch"], before)


def test_the_kit_passes_what_was_combined():
    for suite in (cross(pictures(0), pictures(1)), shifted(pictures(), "rotate", 30)):
        failed = [
            result
            for result in check_suite(SuiteCase(suite, "mine", Registry({}, {}, ())))
            if result.verdict == "failed"
        ]
        assert failed == []


@pytest.mark.parametrize("kind", sorted(SHIFTS))
def test_a_shift_changes_the_set_that_it_is_said_to(kind):
    plain = pictures()
    before = plain.sample("test", 3, random_generator("any"))
    for on in ("support", "query", "both"):
        after = shifted(plain, kind, 1.0 if kind == "invert" else 2.0, on).sample("test", 3, random_generator("any"))
        for part in ("support", "query"):
            same = torch.equal(getattr(before, part).x, getattr(after, part).x)
            assert same == (on not in (part, "both"))
            assert torch.equal(getattr(before, part).y, getattr(after, part).y)
            assert getattr(after, part).x.dtype == torch.float32


NOTHING = {"rotate": 0.0, "blur": 0.0, "invert": 0.0, "noise": 0.0, "contrast": 1.0, "coarsen": 1.0}


@pytest.mark.parametrize("kind", sorted(NOTHING))
def test_a_shift_of_no_severity_changes_nothing(kind):
    before, after = (drawn(suite, "test") for suite in (pictures(), shifted(pictures(), kind, NOTHING[kind])))
    torch.testing.assert_close(after, before, atol=1e-5, rtol=0)


def test_what_each_shift_does():
    spot = torch.zeros(1, 1, 9, 9)
    spot[..., 4, 6] = 1
    stream = random_generator("any")
    turned = SHIFTS["rotate"](spot, 90, stream)
    assert turned[0, 0, 2, 4] == pytest.approx(1, abs=1e-5)  # right of the middle goes to above it
    smooth = SHIFTS["blur"](spot, 1.0, stream)
    assert smooth.sum() == pytest.approx(1, abs=1e-2)
    assert smooth.max() < 0.2
    assert torch.equal(SHIFTS["invert"](spot, 1.0, stream), 1 - spot)
    assert torch.allclose(SHIFTS["contrast"](spot, 0.0, stream), spot.mean())
    assert SHIFTS["coarsen"](spot, 9, stream).std() < 1e-6
    loud = SHIFTS["noise"](spot, 3.0, stream)
    assert loud.min() == 0
    assert loud.max() == 1


def test_the_pool_is_shifted_with_the_support_set():
    def points(suite: Suite) -> Batch:
        return suite.pool().sample(3, random_generator("any"))

    plain = points(pictures())
    assert torch.equal(points(shifted(pictures(), "invert", 1.0)).x, 1 - plain.x)
    assert torch.equal(points(shifted(pictures(), "invert", 1.0, "query")).x, plain.x)
    assert torch.equal(points(shifted(pictures(), "invert", 1.0)).y, plain.y)


def test_what_cannot_be_shifted_is_refused():
    with pytest.raises(ValueError, match="a shift is one of rotate, blur"):
        shifted(pictures(), "melt", 1)
    with pytest.raises(ValueError, match="severity of 'invert' must be from 0 to 1, not 2"):
        shifted(pictures(), "invert", 2)
    with pytest.raises(ValueError, match=r"'blur' is for images \(channels, height, width\), not for inputs \(1,\)"):
        shifted(lines(), "blur", 1).prepare()


def test_the_harness_and_the_api_know_the_same_shifts():
    assert list(domains.SHIFTS) == list(SHIFTS)

"""Brier score and calibration error: as written out by hand, within their range, and of a batch under vmap."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metabench.api import Batch, classification_scores
from metabench.api.few_shot import BINS, brier, calibration_error


def by_hand(confidence: np.ndarray, right: np.ndarray) -> float:
    total = 0.0
    for low in np.arange(BINS) / BINS:
        inside = (confidence >= low) & (confidence < low + 1 / BINS) if low < 0.9 else confidence >= low
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


def test_calibration_error_by_hand():
    rng = np.random.default_rng(0)
    confidence, right = rng.uniform(0.2, 1, 200), rng.integers(0, 2, 200).astype(float)
    found = calibration_error(torch.tensor(confidence), torch.tensor(right))
    assert float(found) == pytest.approx(by_hand(confidence, right))


def test_who_says_what_is_true_has_none_and_who_boasts_has_much():
    right = torch.tensor([1.0, 1.0, 1.0, 0.0])
    assert calibration_error(torch.full((4,), 0.75), right) == pytest.approx(0.0)
    assert calibration_error(torch.ones(4), right) == pytest.approx(0.25)
    assert calibration_error(torch.ones(4), 1 - right) == pytest.approx(0.75)


def test_brier_is_from_0_to_2():
    y = torch.tensor([0, 1, 2])
    sure = torch.eye(3)
    assert brier(sure, y) == 0
    assert brier(sure.roll(1, 0), y) == 2
    assert brier(torch.full((3, 3), 1 / 3), y) == pytest.approx(2 / 3)


def test_the_scores_of_many_tasks_are_those_of_each():
    logits, y = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(0)), torch.arange(6).remainder(5)
    every = torch.func.vmap(lambda one: classification_scores(lambda x: x, Batch(one, y)))(logits)
    for number, one in enumerate(logits):
        for name, value in classification_scores(lambda x: x, Batch(one, y)).items():
            torch.testing.assert_close(every[name][number], value)

"""Sinusoids: what MAML's code starts from."""

from __future__ import annotations

import torch

from metabench_plugins.suites.sinusoid import sinusoid


def test_narrow_initial_weights_are_those_of_mamls_code():
    torch.manual_seed(0)
    weights = dict(sinusoid(initial="narrow").model().named_parameters())
    assert all((weight == 0).all() for name, weight in weights.items() if name.endswith("bias"))
    assert weights["linear2.weight"].abs().max() <= 0.02, "cut off at two deviations"
    assert 0.008 < weights["linear2.weight"].std() < 0.01

"""The checks that the same seed gives the same bits, here and elsewhere. `--explain` shows their docstrings."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import numpy as np
import torch

from metabench.errors import NotApplicableError
from metabench.testing.cases import Case, after_updates, digests_of, plugin_functions, require_equal
from metabench.testing.checks import Check, FailureError, where

REFUSED = "n/a"
"""In place of a digest."""


def reproducible(case: Case) -> None:
    """The same seed gives the same bits, and the global random states are neither read nor moved.

    Three updates and an adaptation under two global seeds of torch, numpy and random.
    Why: what another algorithm or library has drawn before must not change a trial.
    Typical causes: `torch.randn`, `np.random` or `random` without a generator, a module that draws its weights.
    Remedy: `problem.generator("name")`, which is a function of the trial's seed; `problem.wrap` for new layers.
    """
    results = []
    for seed in (1, 2):
        seed_globals(seed)
        state = global_states()
        learner = case.fresh()
        results.append(after_updates(learner, case, 3))
        at = where(*plugin_functions(learner)[::-1], case.factory)
        if global_states() != state:
            raise FailureError(
                "a global random generator moved",
                f"a draw without `generator=problem.generator(name)`{at}",
            )
    cause = f"a global random generator is read{at}"
    require_equal(results[0], results[1], 0.0, ("results under two global seeds", cause))


def seed_globals(seed: int) -> None:
    """Of torch, numpy and random."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def global_states() -> tuple[Any, ...]:
    """What the global random generators are at."""
    return torch.get_rng_state().numpy().tobytes(), str(np.random.get_state()), random.getstate()


def other_process(case: Case) -> None:
    """Two other processes get the same bits, whatever PYTHONHASHSEED is.

    Each loads the plugin by name, makes three updates and adapts, and hands back a digest.
    Why: trials of one run are spread over processes and machines, and resume in new ones.
    Typical causes: the order of a `set`, `hash(text)`, `id(...)`, the time, a temporary file's name.
    Remedy: `sorted(...)` a set before its order matters; `hashlib` for a hash that stays.
    """
    if case.elsewhere is None:
        raise NotApplicableError("it is not a registered plugin, which another process could load by its name")
    mine, other = digests_of(case.elsewhere, case.label)
    if mine == other == REFUSED:
        raise NotApplicableError("the algorithm does not take the problem")
    if mine != other:
        raise FailureError(
            f"digests {mine} and {other}", f"the order of a set, or `hash`, decides something{where(case.factory)}"
        )


def digest(case: Case) -> str:
    """Of the bits after some updates, in 12 digits; or that the algorithm does not take this case."""
    try:
        return hashlib.sha256(after_updates(case.learner(), case, 3).numpy().tobytes()).hexdigest()[:12]
    except NotApplicableError:
        return REFUSED


CHECKS = (
    Check("reproducible", reproducible, ("runs",)),
    Check("other-process", other_process, ("runs", "reproducible")),
)

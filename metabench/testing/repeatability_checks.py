"""The checks that the same seed gives the same bits, here and elsewhere. `--explain` shows their docstrings."""

from __future__ import annotations

import hashlib
import random
import sys
import threading
import time
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import keystr, tree_flatten_with_path

from metabench.api import Algorithm, Learner
from metabench.api.trees import flatten
from metabench.engine.problem import build_problem
from metabench.errors import NotApplicableError
from metabench.testing.cases import (
    Case,
    after_updates,
    plugin_functions,
    predictions,
    require_equal,
    require_same_elsewhere,
)
from metabench.testing.checks import LIBRARIES, OURS, TORCH, Check, FailureError, where

ROUNDS = 2
"""Times that threads race: one that hands its data on through something shared loses the first in practice."""
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
    if require_same_elsewhere(case.elsewhere, case.label, where(case.factory)) == REFUSED:
        raise NotApplicableError("the algorithm does not take the problem")


def digest(case: Case) -> str:
    """Of the bits after some updates, in 12 digits; or that the algorithm does not take this case."""
    try:
        return hashlib.sha256(after_updates(case.learner(), case, 3).numpy().tobytes()).hexdigest()[:12]
    except NotApplicableError:
        return REFUSED


def threads(case: Case) -> None:
    """Four threads side by side give the bits of one.

    An update and an adaptation, task by task, in one thread and in four between which Python switches all the time.
    Why: the harness gives each task a thread where that is quicker, and scores must not hang on who was first.
    Typical causes: what one call leaves for the next outside of its arguments: a dict, a list, `self`, a `nonlocal`.
    Remedy: hand everything on by arguments and return values; `Fast` may be any tree of tensors.
    """
    algorithm = case.algorithm()
    cause = f"something is kept outside of a function's arguments{where(algorithm.inner.step, algorithm.inner.start)}"
    alone = after_one_update(case.learner("threaded"), case)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threading.settrace(give_way)
    try:
        for _ in range(ROUNDS):
            beside = after_one_update(case.learner("threaded", threads=4), case)
            require_equal(beside, alone, 0.0, ("results of four threads and of one", cause))
    finally:
        threading.settrace(None)
        sys.setswitchinterval(interval)


def give_way(frame: FrameType, event: str, argument: Any) -> Any:
    """Let another thread go on at every line of a plugin, whose threads then meet wherever they can."""
    file = frame.f_code.co_filename
    if file.startswith((OURS, TORCH, "<")) or ("site-packages" not in file and file.startswith(LIBRARIES)):
        return None  # a plugin may be installed among other packages
    time.sleep(1e-5)
    return give_way


def after_one_update(learner: Learner, case: Case) -> torch.Tensor:
    """Predictions for eight tasks after an update on them, if anything is trained."""
    tasks = case.tasks(8)
    if learner.trainable:
        learner.update(tasks, 0.0)
    return predictions(learner, tasks)


def algorithm_seeded(case: Case) -> None:
    """What an algorithm draws for itself is drawn anew at every seed.

    The initial state at two seeds: a tensor that looks like random numbers must not be the same at both.
    Why: seeds are the sample that intervals are made of; numbers that never change hide how much hangs on them.
    Typical causes: `torch.manual_seed(0)`, `Generator().manual_seed(0)` or `numpy.random.default_rng(0)` in `init`.
    Remedy: `problem.generator("name")`, which is a function of the trial's seed; `problem.wrap` for new layers.
    """
    states = []
    for seed in (0, 1):
        made = case.make(case.problem() if seed == 0 else build_problem(case.suite, seed, dtype=torch.float64))
        states.append(made.init() if isinstance(made, Algorithm) else made.state_dict())
    at = where(made.init if isinstance(made, Algorithm) else type(made).__init__, case.factory)
    for path, one, other in zip(*paths_of(states[0]), flatten(states[1])[0], strict=True):
        if isinstance(one, torch.Tensor) and looks_random(one) and torch.equal(one, other):
            raise FailureError(
                f"`{path}` is random numbers, and the same at two seeds",
                f"a seed of your own where `generator=problem.generator(name)` is meant{at}",
            )


def paths_of(state: Any) -> tuple[list[str], list[Any]]:
    """The leaves of a tree, and where each is."""
    pairs, _ = tree_flatten_with_path(state)
    return [keystr(path) for path, _ in pairs], [leaf for _, leaf in pairs]


def looks_random(tensor: torch.Tensor) -> bool:
    """Whether numbers are as different from their neighbours as from any: no constants, no ramp, no wave."""
    values = tensor.detach().flatten().double()
    if not tensor.is_floating_point() or len(values) < 8 or len(set(values.tolist())) < len(values):
        return False
    neighbours = (values[1:] - values[:-1]).square().mean()  # von Neumann: twice the variance for independent draws
    return bool(neighbours > values.var())


CHECKS = (
    Check("reproducible", reproducible, ("runs",)),
    Check("algorithm-seeded", algorithm_seeded, ("runs", "reproducible")),
    Check("threads", threads, ("runs", "reproducible", "inputs-untouched")),
    Check("other-process", other_process, ("runs", "reproducible")),
)

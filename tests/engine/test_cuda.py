"""On a CUDA device: the CPU's tasks, updates that a graph replays, and trials that go on where they were."""

from __future__ import annotations

import copy
import os

import pytest
import torch

from metabench.api import Algorithm, NotApplicableError
from metabench.api.trees import flatten, map_tree
from metabench.engine.build import build_algorithm, build_suite
from metabench.engine.learner import BatchedLearner
from metabench.engine.measure import set_device
from metabench.engine.problem import to_device_dtype
from metabench.engine.run import run_trial
from metabench.engine.seeds import random_generator
from metabench.engine.state import Heartbeat, TrialRun
from metabench.engine.strategies.captured import Captured
from metabench.engine.strategies.vectorised import Vectorised
from metabench.engine.tasks import sampler_on, training_tasks
from metabench.errors import UserError
from metabench.records.checkpoints import NullCheckpointStore
from metabench.records.record import StoppedError
from metabench.records.trials import Budget, Execution, Trial
from metabench.registry.discovery import load_registry
from tests.engine.test_strategies import images, maml, normed, tasks_of

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
if torch.cuda.is_available():
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before the first use of cuBLAS, for --deterministic

TINY = Budget(updates=4, meta_batch_size=3, validations=1, validation_tasks=4, test_tasks=4, test_steps=2)
TRAINED = sorted(
    name for name in load_registry().algorithms if name not in ("nearest", "scratch") and not name.startswith("l2l")
)


def trial(algorithm: str = "maml", suite: str = "glyphs", **fields) -> Trial:
    parameters = {"filters": 4} if suite == "glyphs" else {}
    return Trial(
        **{"algorithm": algorithm, "algorithm_parameters": {}, "suite": suite, "suite_parameters": parameters}
        | {"seed": 0, "budget": TINY}
        | fields
    )


def run(of: Trial, **how):
    return run_trial(of, Execution(**{"device": "cuda"} | how), lambda sign: None)


@pytest.mark.parametrize("split", ["train", "test"])
def test_tasks_on_the_device_are_those_of_the_cpu_bit_for_bit(registry, split):
    suite = build_suite(registry, trial())
    here, there = (sampler_on(suite, device)(split, 7, random_generator("cuda")) for device in ("cpu", "cuda"))
    for one, other in zip(flatten(here)[0], flatten(there)[0], strict=True):
        assert other.device.type == "cuda"
        assert torch.equal(one, other.cpu())


def test_an_update_draws_the_same_tasks_whatever_the_device(registry):
    suite, heartbeat = build_suite(registry, trial()), Heartbeat("", lambda sign: None)
    runs = (
        TrialRun(trial(), Execution(device=device), registry, heartbeat, NullCheckpointStore(), lambda: False)
        for device in ("cpu", "cuda")
    )
    here, there = (map_tree(lambda leaf: leaf.cpu(), training_tasks(run, suite, 3)) for run in runs)
    assert all(torch.equal(*pair) for pair in zip(flatten(here)[0], flatten(there)[0], strict=True))


@pytest.mark.parametrize("name", TRAINED)
def test_captured_is_eager_within_rounding(registry, name):
    """Three updates in float64; what cannot be captured says why, and is vectorised."""
    set_device("cuda")
    of = trial(name, precision="float64")
    suite = build_suite(registry, of)
    try:
        made = build_algorithm(registry, suite, of, "cuda")
    except NotApplicableError:
        pytest.skip(f"{name} is not made for this suite")
    except UserError as error:
        if "not installed" not in str(error):
            raise
        pytest.skip(str(error))
    if not isinstance(made, Algorithm):
        pytest.skip(f"{name} has a loop of its own")
    learners = [BatchedLearner(made, strategy) for strategy in (Vectorised(), Captured())]
    for number in range(3):
        drawn = sampler_on(suite, "cuda")("train", 3, random_generator("cuda", number))
        tasks = to_device_dtype(drawn, "cuda", torch.float64)
        losses = [learner.update(tasks, number / 3) for learner in learners]
        assert torch.allclose(*losses, rtol=1e-6), name
    for one, other in zip(*(learner.outer.leaves for learner in learners), strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-7), name
    print(f"{name}: {learners[1].strategy.name} {learners[1].strategy.problem}")


def test_the_usual_algorithms_are_captured(registry):
    outcomes = {name: run(trial(name)).record for name in ("maml", "fomaml", "protonet", "anil", "reptile")}
    assert {name: (record.status, record.strategy) for name, record in outcomes.items()} == dict.fromkeys(
        outcomes, ("ok", "captured")
    ), {name: (record.reason, record.provenance.choice) for name, record in outcomes.items()}
    assert all(record.train_seconds > 0 for record in outcomes.values())


@pytest.mark.parametrize("reads", [lambda progress: float(progress), lambda progress: 2.0 if progress < 0.5 else 1.0])
def test_what_reads_a_value_off_the_device_is_not_captured_and_nothing_is_left_behind(reads):
    suite = images(normed)
    tasks = to_device_dtype(tasks_of(suite, 5), "cuda", torch.float64)
    made = to_cuda(maml(suite))
    objective = made.objective
    spoilt = made._replace(objective=lambda meta, task, progress: reads(progress) * objective(meta, task, 0.0))
    learner = BatchedLearner(spoilt, Captured())
    losses = [float(learner.update(tasks, progress)) for progress in (0.0, 0.75)]
    assert learner.strategy.name == "vectorised"
    assert losses[0] != losses[1]
    after = BatchedLearner(made, Captured())
    assert torch.isfinite(after.update(tasks, 0.0))
    assert after.strategy.name == "captured", after.strategy.problem


def to_cuda(made: Algorithm) -> Algorithm:
    """An algorithm whose meta-parameters begin on the device."""
    return made._replace(init=lambda: map_tree(lambda leaf: leaf.cuda(), made.init()))


def test_a_state_that_is_put_back_reaches_the_graph():
    suite = images(normed)
    tasks = to_device_dtype(tasks_of(suite, 5), "cuda", torch.float64)
    learner = BatchedLearner(to_cuda(maml(suite)), Captured())
    start = copy.deepcopy(learner.state_dict())
    first = [float(learner.update(tasks, 0.0)) for _ in range(3)]
    learner.load_state_dict(start)
    assert [float(learner.update(tasks, 0.0)) for _ in range(3)] == pytest.approx(first, rel=1e-9)


class Kept(NullCheckpointStore):
    """A keeper in memory."""

    content: bytes | None = None

    def save(self, content: bytes, update: int) -> None:
        """See CheckpointStore."""
        self.content = content

    def load(self) -> bytes | None:
        """See CheckpointStore."""
        return self.content


def test_resumed_is_uninterrupted_to_the_last_bit():
    whole = run(trial(), deterministic=True)
    assert whole.record.status == "ok", whole.record.reason
    keeper, asked = Kept(), iter([False, False, True])
    execution = Execution(device="cuda", deterministic=True)
    with pytest.raises(StoppedError):
        run_trial(trial(), execution, lambda sign: None, keeper=keeper, stopping=lambda: next(asked))
    rest = run_trial(trial(), execution, lambda sign: None, keeper=keeper)
    assert rest.record.provenance.resumed
    assert rest.scores == whole.scores
    assert rest.record.strategy == whole.record.strategy == "captured"


def test_digests_and_scores_agree_across_devices():
    of = trial(precision="float64")
    here, there = run(of, device="cpu"), run(of)
    assert (here.record.status, there.record.status) == ("ok", "ok"), there.record.reason
    assert here.record.provenance.digests == there.record.provenance.digests
    assert here.record.curve[-1].score == pytest.approx(there.record.curve[-1].score, abs=1e-3)
    tests = zip(here.record.tests.values(), there.record.tests.values(), strict=True)
    assert all(one.score == pytest.approx(other.score, abs=1e-3) for one, other in tests)

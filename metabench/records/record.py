"""What comes of a trial, as plain data: JSON both ways, and no torch."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from metabench.records.provenance import Provenance
from metabench.records.status import STATUSES, Status
from metabench.records.trials import Trial

RECORD_VERSION = 5
"""2: with checksums; 3: with tuning; 4: who ran on default settings, and whether inner steps were rematerialised;
5: what was swept.

Records of version 1 are read without checksums.
"""


class ValidationPoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One validation during training."""

    update: int
    train_seconds: float
    train_loss: float | None
    """Mean over the updates since the point before."""
    score: float
    ci95: float
    gradient_norm: float | None = None
    """Of the mean meta-gradient of the last update before, over its tasks; see engine.norms."""
    update_norm: float | None = None
    """Of that update itself."""


class TestScore(msgspec.Struct, frozen=True, kw_only=True):
    """The score over the test tasks under one protocol."""

    transductive: bool
    """Whether a prediction depended on the other query points."""
    score: float
    """Mean of the first metric over the test tasks, after the last inner step."""
    ci95: float
    """Half the width of its 95% interval over tasks."""
    adaptation: dict[str, list[float]]
    """By metric: the mean over tasks after 0, 1 ... test_steps inner steps."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of a trial that has ended, but for the per-task scores, which lie beside it."""

    version: int = RECORD_VERSION
    trial: Trial
    status: Status
    reason: str = ""
    metric: str = ""
    higher_is_better: bool = True
    tests: dict[str, TestScore] = {}
    """By protocol."""
    curve: list[ValidationPoint] = []
    selection: str = ""
    """Which state was tested: the best on validation, the last, or the initial one."""
    selected_update: int = 0
    train_seconds: float = 0.0
    """Meta-updates only: no sampling, no evaluation."""
    sample_seconds: float = 0.0
    prepare_seconds: float = 0.0
    """Choosing a strategy and compiling; not in train_seconds."""
    validation_seconds: float = 0.0
    checkpoint_seconds: float = 0.0
    """Writing checkpoints."""
    test_seconds: float = 0.0
    adapt_ms: float | None = None
    """Median time to adapt to one task alone, for test_steps inner steps, in milliseconds."""
    peak_memory_mb: float | None = None
    """Peak resident memory of the process during the trial (CPU), or peak allocated device memory (CUDA)."""
    strategy: str = ""
    distinct_tasks: int = 0
    """Tasks that the suite has in all, where they are few; otherwise 0."""
    environment_steps: int = 0
    """That a meta-update takes, where the tasks are environments."""
    provenance: Provenance = Provenance()
    scores_sha256: str = ""
    """Of scores.json beside it, as it was written."""
    examples_sha256: str = ""
    """Of examples.json beside it; empty where there is none."""
    state_sha256: str = ""
    """Of state.pt beside it; empty where the state was not kept."""
    checksum: str = ""
    """SHA-256 of the rest of the record: see store.seal."""

    @property
    def is_failure(self) -> bool:
        """Whether something went wrong."""
        return STATUSES[self.status].failure

    @property
    def is_final(self) -> bool:
        """Whether running the trial again would only repeat it."""
        return STATUSES[self.status].final


Scores = dict[str, dict[str, list[list[float]]]]
"""Protocol -> metric -> inner step -> one score a test task."""


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """A test task to look at. Images are packed: see Examples.shape."""

    support_x: list[float] | str
    support_y: list[float]
    query_x: list[float] | str
    query_y: list[float]
    predicted: list[list[float]]
    """For each of Examples.steps one value a query point: the target, or the class as a number."""


class Examples(msgspec.Struct, frozen=True, kw_only=True):
    """The first few test tasks, in the order of the scores, and what was predicted after some inner steps."""

    protocol: str
    """The one under which was predicted."""
    steps: list[int]
    shape: list[int] = []
    """Channels, height and width of an image: bytes of all points in a row, compressed by zlib, in base64. Empty
    where x is one number a point."""
    paths: int = 0
    """Trajectories in the plane of each task. `predicted` then has x and y of all points of one, and so on; support_y
    is what tells the task from others, its goal; and there are no points."""
    tasks: list[Example]


class Outcome(msgspec.Struct, frozen=True):
    """What running a trial gives."""

    record: Record
    scores: Scores
    examples: Examples | None = None
    state: bytes | None = None
    """The selected state, to be used later."""
    training: bytes | None = None
    """The end of the training, for a longer trial to go on from."""


class StoppedError(Exception):
    """A trial was asked to stop, and has: its checkpoint is written."""


class Progress(msgspec.Struct, frozen=True):
    """A heartbeat of a running trial."""

    trial_id: str
    phase: str
    done: int
    total: int
    loss: float | None = None
    score: float | None = None
    """On the validation tasks, right after it was measured."""


def skipped_pairs(records: Iterable[Record]) -> list[str]:
    """A line for each reason why algorithms are not made for a suite."""
    found: dict[tuple[str, str], list[str]] = {}
    unfit = {(r.trial.suite, r.reason, r.trial.algorithm) for r in records if r.status == "unfit"}
    for suite, reason, algorithm in sorted(unfit):
        found.setdefault((suite, reason), []).append(algorithm)
    return [
        f"Left out: {', '.join(who)} on {suite}{', each' if len(who) > 1 else ''}: {reason}."
        for (suite, reason), who in found.items()
    ]

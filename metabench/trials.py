"""What is run and what comes of it, as plain data: JSON both ways, and no torch."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

RECORD_VERSION = 3
"""2: with checksums; 3: with tuning. Records of version 1 are read without checksums."""

NAME = re.compile(r"[a-z0-9][a-z0-9+_-]{0,39}")
"""What algorithms and suites may be called: their names become names of folders."""

Protocol = Literal["transductive", "inductive", "both"]
Status = Literal["ok", "unfit", "pruned", "diverged", "error", "timeout", "lost"]
"""`unfit`: the algorithm is not made for the suite, says its factory; `pruned`: a candidate of a search that was
given up. The others but `ok` are failures."""
FINE = ("ok", "unfit", "pruned")
"""Statuses that are no failure."""
Strategy = Literal["auto", "vectorised", "compiled", "threaded"]
Precision = Literal["float32", "bf16", "float64"]


class Budget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much a trial trains, and how it is judged."""

    updates: int = 1000
    """Meta-updates."""
    meta_batch_size: int = 16
    """Tasks per meta-update."""
    validations: int = 10
    """How often, evenly spread, the learner is scored on the validation tasks; the best state is tested."""
    validation_tasks: int = 100
    test_tasks: int = 600
    """0: none; the trial ends after training, and its record has the validation curve. For tuning."""
    test_steps: int = 10
    """Inner steps at validation and test; the test keeps the score after each."""

    def __post_init__(self) -> None:
        for name, least in {
            "updates": 0,
            "meta_batch_size": 1,
            "validations": 0,
            "validation_tasks": 2,
            "test_tasks": 2 if self.test_tasks else 0,
            "test_steps": 0,
        }.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")


class Tuning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a trial's parameters were found: by `metabench tune`, on validation tasks alone."""

    trials: int
    """Candidates that were tried, the pruned ones among them."""
    updates: int
    """Meta-updates of each."""
    score: float
    """The best one's, on the validation tasks."""
    recipe: str
    """The hash of the recipe file that holds the rest: search space, sampler, seeds."""
    changed: tuple[str, ...] = ()
    """Settings that are not those that were tuned, or tuned with."""


class Trial(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One algorithm on one suite at one seed. Device, threads and executor are not part of it."""

    algorithm: str
    algorithm_parameters: dict[str, Any]
    suite: str
    suite_parameters: dict[str, Any]
    seed: int
    budget: Budget = Budget()
    protocol: Protocol = "transductive"
    """Whether a query point is predicted with the others in its batch, or with the support set alone."""
    precision: Precision = "float32"
    """Of the model's layers: bf16 is torch's autocast; weights, losses and updates stay float32. float64 is for
    checks: rounding then hardly tells strategies apart."""
    bars: tuple[tuple[int, float], ...] = ()
    """(update, validation score): a trial whose best score is worse by then ends as `pruned`. For tuning."""
    tuning: Tuning | None = None
    """Where its parameters come from, if they were tuned."""

    def __post_init__(self) -> None:
        for kind in ("algorithm", "suite"):
            if not NAME.fullmatch(getattr(self, kind)):
                raise ValueError(f"{getattr(self, kind)!r} is no name of an {kind}")

    @property
    def id(self) -> str:
        """Its name on disk: readable, and unique by the hash of its canonical JSON."""
        fields = msgspec.to_builtins(self)
        fields["bars"] = list(fields["bars"])
        for name, usual in (("precision", "float32"), ("bars", []), ("tuning", None)):
            if fields[name] == usual:
                del fields[name]  # so that trials from before there was a choice keep their names
        digest = hashlib.sha256(msgspec.json.encode(fields, order="sorted")).hexdigest()
        return f"{self.suite}-{self.algorithm}-s{self.seed}-{digest[:10]}"


class Execution(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where and how a trial is computed; changes its speed, and its scores by no more than rounding."""

    device: str = "cpu"
    threads: int = 1
    strategy: Strategy = "auto"
    rematerialise: bool = False
    """Whether inner steps are computed twice rather than kept in memory."""
    plugins: tuple[str, ...] = ()
    """Plugin files to load beside the installed ones."""
    deterministic: bool = False
    """Whether nothing that is measured, and no kernel that may differ from run to run, has a say."""
    checkpoint_seconds: float | None = 60.0
    """Seconds of computing after which a checkpoint is made."""
    checkpoint_updates: int | None = None
    """Meta-updates after which a checkpoint is made."""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One validation during training."""

    update: int
    train_seconds: float
    train_loss: float | None
    """Mean over the updates since the point before."""
    score: float
    ci95: float


class Test(msgspec.Struct, frozen=True, kw_only=True):
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
    tests: dict[str, Test] = {}
    """By protocol."""
    curve: list[Point] = []
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
    provenance: dict[str, Any] = {}
    scores_sha256: str = ""
    """Of scores.json beside it, as it was written."""
    examples_sha256: str = ""
    """Of examples.json beside it; empty where there is none."""
    checksum: str = ""
    """SHA-256 of the rest of the record: see store.seal."""


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
    tasks: list[Example]


class Outcome(msgspec.Struct, frozen=True):
    """What running a trial gives."""

    record: Record
    scores: Scores
    examples: Examples | None = None


class StoppedError(Exception):
    """A trial was asked to stop, and has: its checkpoint is written."""


class Progress(msgspec.Struct, frozen=True):
    """A sign of life from a running trial."""

    trial_id: str
    phase: str
    done: int
    total: int
    loss: float | None = None
    score: float | None = None
    """On the validation tasks, right after it was measured."""


def left_out(records: Iterable[Record]) -> list[str]:
    """A line for each algorithm that is not made for a suite, and why."""
    pairs = {(r.trial.algorithm, r.trial.suite): r.reason for r in records if r.status == "unfit"}
    return [f"Left out: {algorithm} on {suite}: {reason}." for (algorithm, suite), reason in sorted(pairs.items())]

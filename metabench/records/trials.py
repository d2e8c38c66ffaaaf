"""What is run, as plain data: JSON both ways, and no torch."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any, ClassVar, Literal, get_args

import msgspec

from metabench.records.domains import NAME, domains, file_name, own_parameters
from metabench.records.plugin_files import PluginFile

Protocol = Literal["transductive", "inductive", "both"]
StrategyName = Literal["auto", "vectorised", "compiled", "threaded", "captured"]
STRATEGIES = tuple(name for name in get_args(StrategyName) if name != "auto")
"""Each is the file of that name in engine/strategies."""
Precision = Literal["float32", "bf16", "float64"]
Part = Literal["algorithm", "suite", "trial"]
"""Of what a setting is."""
NOT_HASHED = {"default_settings", "swept"}
"""Fields that say where settings come from, not what they are."""


def identity(part: Trial | Budget | Tuning) -> dict[str, Any]:
    """What a trial's id is the hash of: its first fields, and those added later that are not at their default.

    So a field that is added renames no trial that was run before there was one; nor does another name in Python:
    fields go by their names on disk.
    """
    hashed = {}
    for field in fields_of(type(part)):
        value, name = getattr(part, field.name), field.encode_name
        if name in part.first_fields or (value != field.default and field.name not in NOT_HASHED):
            hashed[name] = identity(value) if isinstance(value, Budget | Tuning) else msgspec.to_builtins(value)
    return hashed


fields_of = cache(msgspec.structs.fields)
"""A struct's fields; msgspec looks them up anew each time, and ids are asked for thousands of times."""


class Budget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much a trial trains, and how it is judged."""

    first_fields: ClassVar = frozenset(
        ("updates", "meta_batch_size", "validations", "validation_tasks", "test_tasks", "test_steps")
    )
    """See identity; nothing is added here."""

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

    first_fields: ClassVar = frozenset(("trials", "updates", "score", "recipe", "changed"))
    """See identity; nothing is added here."""

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


NOT_A_SETTING = (
    *("algorithm", "algorithm_parameters", "suite", "suite_parameters", "seed", "budget"),
    *("pruning_thresholds", "tuning"),
    *NOT_HASHED,
)
"""Fields of a trial that say which it is, or that Trial.settings spreads out."""


class Trial(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One algorithm on one suite at one seed. Device, threads and executor are not part of it."""

    first_fields: ClassVar = frozenset(
        ("algorithm", "algorithm_parameters", "suite", "suite_parameters", "seed", "budget", "protocol")
    )
    """See identity; nothing is added here."""

    algorithm: str
    algorithm_parameters: dict[str, Any]
    suite: str
    """Its name, or two of them and what is changed in each: see domains."""
    suite_parameters: dict[str, Any]
    """By name; of two suites each under its own, as `omniglot.ways`."""
    seed: int
    budget: Budget = Budget()
    protocol: Protocol = "transductive"
    """Whether a query point is predicted with the others in its batch, or with the support set alone."""
    precision: Precision = "float32"
    """Of the model's layers: bf16 is torch's autocast; weights, losses and updates stay float32. float64 is for
    checks: rounding then hardly tells strategies apart."""
    pruning_thresholds: tuple[tuple[int, float], ...] = msgspec.field(name="bars", default=())
    """(update, score): prune the trial if its best validation score at `update` is worse than `score`. For tuning."""
    tuning: Tuning | None = None
    """Where its parameters come from, if they were tuned."""
    default_settings: bool = False
    """Whether neither a recipe nor the user says any parameter of the algorithm: each has its factory's default."""
    swept: tuple[str, ...] = ()
    """The algorithm's parameters of which several values were asked for, this trial's among them: a grid."""

    label_permutations: int = 1
    """How many times each test task is scored, its classes numbered anew from the second time; scores are means."""

    def settings(self, *parts: Part) -> dict[str, Any]:
        """What was run, flat and by name, but for the seed: all of it, or these parts alone.

        The budget's names and the trial's own are bare. A parameter of the suite of the same name is
        `suite.NAME` beside it, and one of the algorithm is `algorithm.NAME` where either has its name.
        """
        budget = {field: getattr(self.budget, field) for field in self.budget.__struct_fields__}
        own = {field: getattr(self, field) for field in self.__struct_fields__ if field not in NOT_A_SETTING}
        trial = {**budget, **own, "tuned": self.tuning.recipe if self.tuning else False}
        suite = {f"suite.{name}" if name in trial else name: value for name, value in self.suite_parameters.items()}
        algorithm = {
            f"algorithm.{name}" if name in trial or name in suite else name: value
            for name, value in self.algorithm_parameters.items()
        }
        known: dict[Part, dict[str, Any]] = {"algorithm": algorithm, "suite": suite, "trial": trial}
        return {name: value for part in parts or known for name, value in known[part].items()}

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.algorithm):
            raise ValueError(f"{self.algorithm!r} is no name of an algorithm")
        domains(self.suite)

    def stream(self, split: str) -> str:
        """The suite whose name is that of the split's random streams.

        Two trials that train on one suite meet the same training tasks, and two that are tested on one the same test
        tasks, wherever the other half of the suite's name differs.
        """
        source, target = domains(self.suite)[0], domains(self.suite)[-1]
        of_target = split == "test" or (split == "validation" and self.suite_parameters.get("validate") == "target")
        return (target if of_target else source).suite

    @property
    def trained_alone(self) -> Trial | None:
        """The trial of the same training that is tested on its source; None where there is no such trial."""
        source, *others = domains(self.suite)
        if not others or self.suite_parameters.get("validate") != "source":
            return None
        own = own_parameters(self.suite_parameters, source.name)
        return msgspec.structs.replace(self, suite=source.name, suite_parameters=own)

    @property
    def id(self) -> str:
        """Its name on disk: readable, and unique by the hash of its identity in canonical JSON."""
        digest = hashlib.sha256(msgspec.json.encode(identity(self), order="sorted")).hexdigest()
        return f"{file_name(self.suite)}-{self.algorithm}-s{self.seed}-{digest[:10]}"

    @property
    def lineage(self) -> str:
        """The trial, however long it trains: a hash that it shares with those that train more or less."""
        known = identity(self)
        for name in ("updates", "validations"):
            del known["budget"][name]
        return hashlib.sha256(msgspec.json.encode(known, order="sorted")).hexdigest()


class Execution(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where and how a trial is computed; changes its speed, and its scores by no more than rounding."""

    device: str = "cpu"
    devices: int = 1
    """CUDA devices of the machine that trials share out among them, where `device` is no certain one of them."""
    threads: int = 1
    strategy: StrategyName = "auto"
    rematerialise: bool = False
    """Whether inner steps are computed twice rather than kept in memory."""
    plain_layers: bool = False
    """Whether a model's own layers run even where blocks could."""
    plugins: tuple[PluginFile, ...] = ()
    """Plugin files to load beside the installed ones, as they were when the run began."""
    code: dict[str, str] = {}
    """Digests of the code when the run began, by `suite NAME`, `algorithm NAME` and `model FILE.py:NAME`: by other
    code nothing is run."""
    deterministic: bool = False
    """Whether nothing that is measured, and no kernel that may differ from run to run, has a say."""
    checkpoint_seconds: float | None = 60.0
    """Seconds of computing after which a checkpoint is made."""
    checkpoint_updates: int | None = None
    """Meta-updates after which a checkpoint is made."""
    keep_state: bool = False
    """Whether the selected state of a trial that ends well is handed over with its record."""
    keep_training_state: bool = False
    """Whether the end of its training is too, for a longer trial to go on from."""

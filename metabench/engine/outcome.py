"""What a trial hands over when it ends: the record of all that is known, and the scores."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import torch

from metabench.engine.environment import bits, environment, load_now
from metabench.engine.evaluate import Tested
from metabench.engine.measure import peak_memory_mb
from metabench.engine.state import TrialRun, TrialState
from metabench.errors import UserError
from metabench.records.provenance import Defaults, PluginOrigins, Provenance
from metabench.records.record import Outcome, Record
from metabench.records.status import Status


class Ending(NamedTuple):
    """How a trial ended."""

    status: Status
    reason: str = ""
    traceback: str = ""


class Kept(NamedTuple):
    """What of a trial can be used later: see Outcome."""

    state: bytes | None = None
    training: bytes | None = None


NOTHING = Kept()


def outcome_of(
    run: TrialRun, state: TrialState, ending: Ending, tested: Tested | None, notice: str, *, kept: Kept = NOTHING
) -> Outcome:
    """The record; with scores, examples and kept states only where all went well."""
    device = run.execution.device
    if device.startswith("cuda") and not torch.cuda.is_available():
        device = "cpu"  # where nothing but the failure happened
    record = Record(
        trial=run.trial,
        status=ending.status,
        reason=ending.reason,
        metric=tested.metric if tested else "",
        higher_is_better=state.higher_is_better,
        tests=tested.tests if tested else {},
        curve=state.curve,
        selection=state.selection,
        selected_update=state.selected_update,
        adapt_ms=tested.adapt_ms if tested else None,
        peak_memory_mb=round(max(state.memory_mb, peak_memory_mb(device)), 1),
        strategy=state.strategy,
        distinct_tasks=state.distinct_tasks,
        environment_steps=state.environment_steps,
        provenance=provenance_of(run, state, ending, "; ".join(filter(None, (notice, unfinished(state)))), device),
    )
    clocks = {f"{name}_seconds": round(seconds, 4) for name, seconds in state.seconds.items()}
    record = msgspec.structs.replace(record, **clocks)
    if tested and ending.status == "ok":
        return Outcome(record, tested.scores, tested.examples, *kept)
    return Outcome(record, {})


def unfinished(state: TrialState) -> str:
    """What to say of validations without a finite score, where others have one; empty if there were none."""
    if not state.best or not state.not_finite:
        return ""
    first, *more = state.not_finite
    others = f" (and {len(more)} more)" if more else ""
    return f"a validation score was not finite, and was skipped: {first}{others}"


def provenance_of(run: TrialRun, state: TrialState, ending: Ending, notice: str, device: str) -> Provenance:
    """The machine and the code, and how the trial was computed there."""
    trial, execution, origin = run.trial, run.execution, run.registry.origin
    return msgspec.structs.replace(
        environment(device),
        threads=execution.threads,
        choice=state.choice,
        resumed=state.resumed,
        traceback=ending.traceback,
        deterministic=execution.deterministic,
        rematerialise=execution.rematerialise,
        plain_layers=execution.plain_layers,
        bits=bits(device, execution.deterministic, state.strategy, state.layers),
        notice=notice,
        digests=run.digests,
        load=None if run.load is None or (now := load_now()) is None else (run.load, now),
        defaults=defaults_of(run),
        plugins=PluginOrigins(origin("algorithm", trial.algorithm), origin("suite", trial.suite)),
    )


def defaults_of(run: TrialRun) -> Defaults:
    """Which parameters have their factory's default; none where there is no such plugin."""

    def names(kind: str, name: str, values: dict[str, Any]) -> tuple[str, ...]:
        try:
            known = run.registry.get(kind, name).parameters
        except UserError:
            return ()
        return tuple(each for each, of in known.items() if each in values and values[each] == of.default)

    trial = run.trial
    return Defaults(
        names("suite", trial.suite, trial.suite_parameters),
        names("algorithm", trial.algorithm, trial.algorithm_parameters),
    )

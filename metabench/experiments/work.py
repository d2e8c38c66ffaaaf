"""What a worker process does with a trial. Imports torch only there, so that the driver stays small."""

from __future__ import annotations

from collections.abc import Callable

from metabench.records.checkpoints import CheckpointStore
from metabench.records.record import Outcome, Progress
from metabench.records.trials import Execution, Trial


def work(
    trial: Trial,
    execution: Execution,
    report: Callable[[Progress], None],
    *,
    keeper: CheckpointStore,
    stopping: Callable[[], bool],
) -> Outcome:
    """See engine.run_trial."""
    from metabench.engine.run import run_trial

    return run_trial(trial, execution, report, keeper=keeper, stopping=stopping)

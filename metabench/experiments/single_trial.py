"""One trial in this process, from a file to a file: for job arrays, and for trying things out."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import msgspec

from metabench.errors import UserError
from metabench.experiments.interrupts import asked_to_stop
from metabench.experiments.options import Options
from metabench.experiments.setup import open_registry, plugin_files, use_data
from metabench.experiments.work import work
from metabench.records import store
from metabench.records.checkpoints import FolderCheckpointStore
from metabench.records.files import DamagedError, set_aside
from metabench.records.locks import Claim, TrialLocks
from metabench.records.record import Record, StoppedError
from metabench.records.trials import Execution, Trial


def run_trial_file(path: Path, place: Path, options: Options, threads: int) -> tuple[Record | None, int]:
    """Run the trial in a file and write its record; the record, or None and the signal that stopped it.

    A record that is there already is left as it is, unless it is damaged. Where it lies in a results folder, as
    NAME/ID/record.json, no two workers run the same trial. Raises UserError.
    """
    trial = read_trial(path)
    use_data(options)
    open_registry(options)
    claims = None
    if place.name == "record.json" and place.parent.name == trial.id:
        claims = TrialLocks(place.parent.parent)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if claims is None and present(place, trial):
            return None, 0
        verdict = claims.claim(trial) if claims else Claim.ACQUIRED
    except OSError as error:
        raise UserError(f"Cannot write to '{place.parent}': {error.strerror or error}.") from None
    if verdict is Claim.BUSY:
        raise UserError(f"Trial '{trial.id}' is being run by another process, into the same folder.")
    if verdict is Claim.DONE:
        return None, 0
    try:
        return run_here(trial, place, options, threads)
    finally:
        if claims:
            claims.release_all()


def run_here(trial: Trial, place: Path, options: Options, threads: int) -> tuple[Record | None, int]:
    """See run_trial_file."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    execution = Execution(
        device=options.device,
        threads=threads,
        strategy=options.strategy,
        plugins=plugin_files(options),
        deterministic=options.deterministic,
        **options.checkpoints,
    )
    keeper = FolderCheckpointStore(place.parent)
    trains = threading.Event()

    def hurry() -> None:
        if not trains.is_set():  # it only prepares: there is nothing to keep
            raise KeyboardInterrupt

    with asked_to_stop(hurry) as asked:
        try:
            outcome = work(trial, execution, lambda sign: trains.set(), keeper=keeper, stopping=lambda: bool(asked()))
        except (StoppedError, KeyboardInterrupt):
            return None, asked()
        try:
            store.write_outcome(place, outcome)
        except OSError as error:
            raise UserError(f"Cannot write '{place}': {error.strerror or error}.") from None
    if outcome.record.is_final:
        keeper.path.unlink(missing_ok=True)
    return outcome.record, 0


def present(place: Path, trial: Trial) -> bool:
    """Whether this trial's record is there; a damaged one is set aside. Raises UserError for another trial's."""
    if not place.exists():
        return False
    try:
        record = store.decode(place.read_bytes(), place, named=False)
    except DamagedError:
        set_aside(place)
        return False
    if record.trial.id != trial.id:
        raise UserError(f"'{place}' holds the record of another trial, '{record.trial.id}'. Choose another place.")
    return True


def read_trial(path: Path) -> Trial:
    """The trial in a file; raises UserError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Trial)
    except OSError as error:
        raise UserError(f"Cannot read the trial '{path}': {error.strerror or error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(
            f"'{path}' is not a trial: {error}. `metabench run --dry-run --write-trials` makes one."
        ) from None

"""One trial in this process, from a file to a file: `metabench worker`, for job arrays."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec

from metabench.errors import UserError, attempt
from metabench.experiments.execution import make_execution, run_trial, usable_device
from metabench.experiments.interrupts import asked_to_stop
from metabench.experiments.options import Options
from metabench.experiments.setup import open_registry, use_data
from metabench.processes import one_thread_per_library
from metabench.records import store
from metabench.records.checkpoints import FolderCheckpointStore
from metabench.records.files import DamagedError, set_aside
from metabench.records.locks import Claim, TrialLocks
from metabench.records.matching import changes
from metabench.records.record import Progress, Record, StoppedError
from metabench.records.trials import Execution, Trial


def run_trial_file(path: Path, place: Path, options: Options, threads: int) -> tuple[Record | None, int]:
    """Run the trial in a file and write its record to `place`; (record, 0), or (None, the signal that stopped it).

    A record that is there already is kept, unless it is damaged: then (None, 0). In a results folder, as
    NAME/ID/record.json, a lock keeps two workers from running the same trial. Raises UserError.
    """
    trial = read_trial(path)
    use_data(options)
    files = open_registry(options).files
    locks = None
    if place.name == "record.json" and place.parent.name == trial.id:
        locks = TrialLocks(place.parent.parent)
    with attempt(f"write to '{place.parent}'"):
        place.parent.mkdir(parents=True, exist_ok=True)
        if locks is None and present(place, trial):
            return None, 0
        verdict = locks.claim(trial) if locks else Claim.ACQUIRED
    if verdict is Claim.BUSY:
        raise UserError(f"Trial '{trial.id}' is being run by another process, into the same folder.")
    if verdict is Claim.DONE:
        return None, 0
    try:
        return run_and_write(trial, place, make_execution(options, usable_device(options), threads, files))
    finally:
        if locks:
            locks.release_all()


def changed_since(path: Path, place: Path, options: Options) -> list[str]:
    """What of the code is another now than in the record at `place`: "the code of suite 'mine'"."""
    from metabench.engine.digests import code_digests, code_now

    trial = read_trial(path)
    record = store.decode(place.read_bytes(), place, named=False)
    return changes(record, code_digests(code_now(open_registry(options), [trial]), trial))


def run_and_write(trial: Trial, place: Path, execution: Execution) -> tuple[Record | None, int]:
    """See run_trial_file."""
    one_thread_per_library()
    keeper = FolderCheckpointStore(place.parent)
    trains = threading.Event()

    def on_progress(sign: Progress) -> None:
        if sign.phase == "train":
            trains.set()

    def hurry() -> None:
        if not trains.is_set():  # it only prepares: there is nothing to keep
            raise KeyboardInterrupt

    with asked_to_stop(hurry) as asked:
        try:
            outcome = run_trial(trial, execution, on_progress, keeper=keeper, stopping=lambda: bool(asked()))
        except (StoppedError, KeyboardInterrupt):
            return None, asked()
        with attempt(f"write '{place}'"):
            store.write_outcome(place, outcome)
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
        with attempt(f"read the trial '{path}'"):
            return msgspec.json.decode(path.read_bytes(), type=Trial)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(
            f"'{path}' is not a trial: {error}. `metabench run --dry-run --write-trials` makes one."
        ) from None

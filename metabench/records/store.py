"""results/<experiment>/<trial id>/: record.json, and beside it scores.json (per task) and perhaps examples.json.

The record is written last and renamed into place, so a trial is finished exactly if its record can be read.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from metabench.errors import UserError, attempt
from metabench.records.checkpoints import NAME as CHECKPOINT
from metabench.records.files import DamagedError, DamageWarning, checksum, set_aside, write_atomically
from metabench.records.record import RECORD_VERSION, Examples, Outcome, Record, Scores
from metabench.records.states import STATE, with_states

EXAMPLES = "examples.json"


def ensure_writable(root: Path) -> None:
    """Make the folder and show that it can be written to, before any trial runs."""
    with attempt(f"write to the results folder '{root}'", "Choose another with --out."):
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass


def writing(root: Path) -> AbstractContextManager[None]:
    """A context in which a write that fails is a UserError."""
    return attempt(f"write to '{root}'", "What is there already is kept; fix this, and the same command goes on.")


def write(root: Path, outcome: Outcome) -> None:
    """Add a finished trial: the scores first, the record last, each atomically; then its checkpoint can go."""
    folder = root / outcome.record.trial.id
    write_outcome(folder / "record.json", outcome)
    if outcome.record.is_final:  # a failed trial may go on from it: --retry-failed
        (folder / CHECKPOINT).unlink(missing_ok=True)


def write_outcome(path: Path, outcome: Outcome) -> None:
    """A record, and beside it scores.json, examples.json and what it has learnt, if there are any. Raises OSError."""
    scores = msgspec.json.encode(outcome.scores)
    write_atomically(path.with_name("scores.json"), scores)
    sums = {"scores_sha256": checksum(scores)}
    if outcome.examples is not None:
        examples = msgspec.json.encode(outcome.examples)
        write_atomically(path.with_name(EXAMPLES), examples)
        sums["examples_sha256"] = checksum(examples)
    write_atomically(path, seal(msgspec.structs.replace(with_states(path, outcome), **sums)))


def seal(record: Record) -> bytes:
    """A record as JSON, with the checksum of what it says."""
    fields = msgspec.to_builtins(record)
    fields["checksum"] = checksum_of(fields)
    return msgspec.json.format(msgspec.json.encode(fields), indent=1)


def checksum_of(fields: dict[str, Any]) -> str:
    """Of a record's canonical JSON without its checksum: spaces and the order of names do not matter."""
    rest = {name: value for name, value in fields.items() if name != "checksum"}
    return checksum(msgspec.json.encode(rest, order="sorted"))


def decode(content: bytes, path: Path, named: bool = True) -> Record:
    """The record in a file's content, whose folder is `named` by the trial.

    Raises DamagedError, or UserError for one by a newer metabench.
    """
    try:
        fields = msgspec.json.decode(content, type=dict[str, Any])
        version = fields.get("version", 1)
        if isinstance(version, int) and version > RECORD_VERSION:
            raise UserError(
                f"'{path}' was written by a newer metabench (record version {version}, "
                f"this one reads up to {RECORD_VERSION}). Upgrade metabench to read it."
            )
        if (version != 1 or "checksum" in fields) and fields.get("checksum") != checksum_of(fields):
            raise DamagedError("its checksum does not match")
        record = msgspec.convert(fields, Record)
        if named and record.trial.id != path.parent.name:
            raise DamagedError(f"it is the record of '{record.trial.id}'")
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise DamagedError(in_our_words(error, content)) from None
    return record


def in_our_words(error: Exception, content: bytes) -> str:
    """What is wrong with a file of JSON, for who does not know how it is read."""
    if isinstance(error, msgspec.ValidationError):
        where = str(error).rpartition("`$.")[2].rstrip("`")
        return f"its '{where}' is not what a record has there" if " - at `$." in str(error) else "it is no record"
    if not content.strip():
        return "it is empty"
    if "truncated" in str(error):
        return "it is cut short"
    return "it is no JSON"


def record_of(root: Path, trial_id: str) -> Record | None:
    """The record of a trial, its scores checked too; None where there is none. Raises DamagedError."""
    path = root / trial_id / "record.json"
    content = read(path)
    if content is None:
        return None
    record = decode(content, path)
    read_scores(root, record)
    return record


def read(path: Path) -> bytes | None:
    """A file in a results folder; None where there is none. Raises DamagedError, or UserError with the reason."""
    with attempt(f"read '{path}'", "Fix this, or choose another folder with --out."):
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except IsADirectoryError:
            raise DamagedError(f"'{path.name}' is a folder") from None


def set_aside_damaged(root: Path, trial_id: str) -> Path:
    """Rename a record that cannot be used; its new name."""
    return set_aside(root / trial_id / "record.json")


def records(root: str | Path) -> Iterator[Record]:
    """Every readable record, in the order of the trials' ids; an unreadable one is skipped with a warning."""
    for path in sorted(existing(root).glob("*/record.json")):
        try:
            yield decode(path.read_bytes(), path)
        except (DamagedError, OSError) as error:
            warnings.warn(f"Skipped '{path}', which cannot be used: {error}", DamageWarning, stacklevel=2)


def damaged(root: str | Path) -> dict[str, str]:
    """By trial id, in order: what is wrong with a record, or with its scores."""
    found = {}
    for path in sorted(existing(root).glob("*/record.json")):
        try:
            record_of(path.parent.parent, path.parent.name)
        except DamagedError as error:
            found[path.parent.name] = str(error)
    return found


def existing(root: str | Path) -> Path:
    """The folder, or a clear error."""
    path = Path(root)
    if os.path.isfile(path):
        raise UserError(f"'{path}' is a file, not a results folder; `metabench rerun` makes one of a pack.")
    if not os.path.isdir(path):  # unlike Path.is_dir, never an error
        raise UserError(f"There is no results folder '{path}'. `metabench run --out {path}` makes one.")
    return path


def is_final(record: Record | None, retry_failed: bool) -> bool:
    """Whether a trial need not run: it has a record, and not one of a failure that is to be tried again."""
    return record is not None and (record.is_final or not retry_failed)


def read_scores(root: str | Path, record: Record) -> bytes:
    """The content of scores.json, as it was written. Raises DamagedError."""
    content = read(Path(root) / record.trial.id / "scores.json")
    if content is None:
        if record.scores_sha256 or record.status == "ok":
            raise DamagedError("its scores are missing")
        return b"{}"
    if record.scores_sha256 and checksum(content) != record.scores_sha256:
        raise DamagedError("its scores are not what was written")
    return content


@contextmanager
def skipping(what: str) -> Iterator[None]:
    """A warning where `what` is damaged, in place of an error."""
    try:
        yield
    except (DamagedError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = str(error) if isinstance(error, DamagedError) else in_our_words(error, b"?")
        warnings.warn(f"Skipped {what}: {reason}", DamageWarning, stacklevel=4)


def scores(root: str | Path, record: Record) -> Scores:
    """The per-task scores of one trial; empty for one that failed, or, with a warning, where they are damaged."""
    with skipping(f"the scores of '{record.trial.id}'"):
        return rectangular(msgspec.json.decode(read_scores(root, record), type=Scores))
    return {}


def examples(root: str | Path, record: Record) -> Examples | None:
    """The test tasks of a trial that can be shown; None where there are none or they are not what was written."""
    if not record.examples_sha256:
        return None
    with skipping(f"the examples of '{record.trial.id}'"):
        content = read(Path(root) / record.trial.id / EXAMPLES)
        if content is None or checksum(content) != record.examples_sha256:
            raise DamagedError("they are not what was written")
        return msgspec.json.decode(content, type=Examples)
    return None


def read_state(root: str | Path, record: Record) -> bytes | None:
    """The content of state.pt, as it was written; None where none was kept. Raises DamagedError."""
    if not record.state_sha256:
        return None
    content = read(Path(root) / record.trial.id / STATE)
    if content is not None and checksum(content) != record.state_sha256:
        raise DamagedError("it is not what was written")
    return content


def rectangular(scores: Scores) -> Scores:
    """The scores themselves; raises DamagedError unless every inner step has one for each of the tasks."""
    for metrics in scores.values():
        steps, tasks = {len(each) for each in metrics.values()}, {len(s) for each in metrics.values() for s in each}
        if len(steps) != 1 or len(tasks) != 1 or 0 in tasks:
            raise DamagedError("its metrics do not have the same inner steps and tasks")
    return scores

"""What a trial has learnt, beside its record: state.pt to be used, training.pt for a longer trial to go on from."""

from __future__ import annotations

from pathlib import Path

import msgspec

from metabench.records.checkpoints import TRAINING
from metabench.records.files import checksum, write_atomically
from metabench.records.record import Outcome, Record

STATE = "state.pt"
UNCOMMITTED = f"""# Written by metabench: trained states are for this machine, not for git.
.gitignore
{STATE}
{TRAINING}
"""


def with_states(path: Path, outcome: Outcome) -> Record:
    """Write what is to be kept beside the record's path; the record that says so.

    What cannot be written costs nothing but itself: the record has a notice. Raises OSError where what another record
    left cannot be removed.
    """
    record = outcome.record
    for name, content in ((STATE, outcome.state), (TRAINING, outcome.training)):
        if content is None:
            path.with_name(name).unlink(missing_ok=True)  # of a record that this one replaces
            continue
        try:
            if path.parent.name == record.trial.id:
                keep_from_git(path.parent.parent)
            write_atomically(path.with_name(name), content)
        except OSError as error:
            record = with_notice(record, f"its {name} could not be kept: {error.strerror or error}")
            continue
        if name == STATE:
            record = msgspec.structs.replace(record, state_sha256=checksum(content))
    return record


def keep_from_git(root: Path) -> None:
    """See that no state in a results folder is committed with the records. Raises OSError."""
    if not (root / ".gitignore").exists():
        write_atomically(root / ".gitignore", UNCOMMITTED.encode())


def with_notice(record: Record, notice: str) -> Record:
    """The record, with one more thing that went wrong and was survived."""
    before = record.provenance.notice
    said = msgspec.structs.replace(record.provenance, notice="; ".join(filter(None, (before, notice))))
    return msgspec.structs.replace(record, provenance=said)

"""A training that goes on from a shorter one is the longer one, bit for bit; where it cannot, it says why."""

from __future__ import annotations

import msgspec
import pytest

from metabench.engine.kept_state import read_state
from metabench.engine.run import run_trial
from metabench.records import store
from metabench.records.checkpoints import TRAINING, FolderCheckpointStore, header_in
from metabench.records.trials import Budget, Execution
from tests.engine.test_resume import same, trial_of

SHORT = Budget(updates=4, meta_batch_size=2, validations=2, validation_tasks=4, test_tasks=4, test_steps=1)
LONG = msgspec.structs.replace(SHORT, updates=8, validations=4)
KEEPING = Execution(strategy="threaded", keep_state=True, keep_training_state=True, checkpoint_seconds=None)


def run(registry, root, algorithm, budget, suite="sinusoid", execution=KEEPING, **fields):
    trial = trial_of(registry, algorithm, suite, budget=budget, **fields)
    keeper = FolderCheckpointStore(root / trial.id)
    outcome = run_trial(trial, execution, lambda sign: None, registry, keeper=keeper)
    store.write(root, outcome)
    return outcome


@pytest.mark.parametrize(
    ("algorithm", "suite"),
    [("maml", "sinusoid"), ("metasgd", "sinusoid"), ("l2l-maml", "sinusoid"), ("finetune", "glyphs")],
)
def test_some_and_then_more_is_all_of_it(registry, tmp_path, algorithm, suite):
    run(registry, tmp_path / "one", algorithm, SHORT, suite)
    more = run(registry, tmp_path / "one", algorithm, LONG, suite)
    whole = run(registry, tmp_path / "other", algorithm, LONG, suite)
    assert more.record.provenance.resumed == (4,)
    assert more.record.provenance.notice == ""
    assert whole.record.provenance.resumed == ()
    assert same(more, whole)
    assert [point.update for point in more.record.curve] == [0, 2, 4, 6, 8]
    assert more.record.train_seconds >= more.record.curve[2].train_seconds
    (_, mine), (_, theirs) = (read_state(each.state) for each in (more, whole))
    assert str(mine) == str(theirs)


def test_it_goes_on_from_the_longest(registry, tmp_path):
    for updates in (2, 6, 4):
        run(registry, tmp_path, "maml", msgspec.structs.replace(SHORT, updates=updates, validations=updates // 2))
    assert run(registry, tmp_path, "maml", LONG).record.provenance.resumed[-1] == 6


OTHER = [
    ({"budget": msgspec.structs.replace(LONG, validations=2)}, "validated after other numbers of updates"),
    ({"budget": msgspec.structs.replace(LONG, validation_tasks=6)}, ""),
    ({"budget": msgspec.structs.replace(LONG, updates=2, validations=1)}, ""),
    ({"budget": LONG, "precision": "float64"}, ""),
]


@pytest.mark.parametrize(("fields", "said"), OTHER)
def test_another_training_is_not_gone_on_from(registry, tmp_path, fields, said):
    """Where it is the same but for the points at which it was validated, that is said."""
    run(registry, tmp_path, "maml", SHORT)
    provenance = run(registry, tmp_path, "maml", **fields).record.provenance
    assert provenance.resumed == ()
    assert said in provenance.notice
    assert bool(said) == bool(provenance.notice)


@pytest.mark.parametrize("algorithm", ["reptile", "maml++"])
def test_a_schedule_over_all_updates_is_not_gone_on_from(registry, tmp_path, algorithm):
    run(registry, tmp_path, algorithm, SHORT)
    provenance = run(registry, tmp_path, algorithm, LONG).record.provenance
    assert provenance.resumed == ()
    assert provenance.notice == (
        f"did not go on from the training of 4 updates: what '{algorithm}' does at an update depends on how many "
        "there are in all"
    )


def test_other_code_and_damage_are_not_gone_on_from(registry, tmp_path):
    short = run(registry, tmp_path, "maml", SHORT)
    path = tmp_path / short.record.trial.id / TRAINING
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    long = run(registry, tmp_path, "maml", LONG)
    assert long.record.provenance.notice == "did not go on from a shorter training: its checksum does not match"
    line, _, state = content.partition(b"\n")
    header = msgspec.json.decode(line)
    header["code"]["algorithm"] = "0123456789ab"
    path.write_bytes(msgspec.json.encode(header) + b"\n" + state)
    again = run(registry, tmp_path, "maml", LONG)
    assert "the code has changed" in again.record.provenance.notice
    assert long.record.status == again.record.status == "ok"
    assert same(long, again)


def test_it_is_kept_only_if_asked_for(registry, tmp_path):
    outcome = run(registry, tmp_path, "maml", SHORT, execution=Execution(keep_state=True))
    folder = tmp_path / outcome.record.trial.id
    assert sorted(path.name for path in folder.iterdir()) == [
        "examples.json",
        "record.json",
        "scores.json",
        "state.pt",
    ]
    assert header_in(folder / TRAINING) is None

"""Damaged records and scores are set aside and their trials run again, or refused in one line; never a traceback."""

from __future__ import annotations

import json
import pickle
import shutil
import warnings
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import metabench
from metabench.errors import UserError
from metabench.experiments.experiment import still_to_run
from metabench.records import requests
from metabench.records.trials import Trial
from tests.cli_helpers import call, fingerprint, refused
from tests.malformed import SAME, brief, finished, tries


def damaged(root: Path, trials: tuple[Trial, ...], victim: Trial, name: str, content: bytes | None) -> str:
    """Damage one file: its trial alone is to be run, a dry run changes nothing, else it is set aside. The notice.

    A content of None is a folder in the file's place.
    """
    place = root / victim.id / name
    original, record = place.read_bytes(), (root / victim.id / "record.json").read_bytes()
    if content is None:
        place.unlink()
        place.mkdir()
    else:
        place.write_bytes(content)
    try:
        before = fingerprint(root)
        pending, notices = still_to_run(root, trials, False, dry=True)
        assert fingerprint(root) == before
        assert [trial.id for trial in pending] == [victim.id]
        assert len(notices) == 1
        assert still_to_run(root, trials, False, dry=False)[0] == pending
        (aside,) = (root / victim.id).glob("record.json.damaged-*")
        if name == "record.json" and content is not None:
            assert aside.read_bytes() == content
        assert not (root / victim.id / "record.json").exists()
        assert still_to_run(root, trials, False, dry=True) == (pending, ())
        return notices[0]
    finally:
        for left in (*(root / victim.id).glob("*.damaged-*"), place):
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
        place.write_bytes(original)
        (root / victim.id / "record.json").write_bytes(record)


@pytest.fixture
def root(tmp_path, trials) -> Path:
    finished(tmp_path / "r", trials)
    return tmp_path / "r"


@given(st.data())
@tries(60)
def test_records_cut_short_or_altered_at_any_byte(root, trials, data):
    victim = data.draw(st.sampled_from(trials))
    content = (root / victim.id / "record.json").read_bytes()
    position = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        altered = content[:position]
    else:
        other = data.draw(st.integers(1, 255)) ^ content[position]
        altered = content[:position] + bytes([other]) + content[position + 1 :]
    try:
        assume(json.loads(altered) != json.loads(content))  # a space for a space
    except (ValueError, RecursionError):
        pass
    try:
        damaged(root, trials, victim, "record.json", altered)
    except UserError as error:
        assert "was written by a newer metabench" in str(error)  # noqa: PT017


def paths_of(value: object, path: tuple = ()) -> list[tuple]:
    """The places in a JSON document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in items for place in paths_of(each, (*path, key)))]


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=4,
)


@given(st.data())
@tries(50)
def test_records_with_another_value(root, trials, data):
    victim = data.draw(st.sampled_from(trials))
    fields = json.loads((root / victim.id / "record.json").read_bytes())
    path = data.draw(st.sampled_from([path for path in paths_of(fields) if path and path != ("version",)]))
    inner = fields
    for key in path[:-1]:
        inner = inner[key]
    value = data.draw(json_values)
    assume(value != inner[path[-1]] or type(value) is not type(inner[path[-1]]))
    inner[path[-1]] = value
    damaged(root, trials, victim, "record.json", json.dumps(fields).encode())


@pytest.mark.parametrize("version", [0, 1, -1, 1.0, True, None, "2", "", [], {}, 1.5, 99, 2**80])
def test_records_of_another_version(folder, root, trials, version):
    fields = json.loads((root / trials[0].id / "record.json").read_bytes())
    content = json.dumps(fields | {"version": version}).encode()
    if isinstance(version, int) and version > 2:
        (root / trials[0].id / "record.json").write_bytes(content)
        line = refused(root, "run", "--dry-run", "--out", ".", *SAME)
        assert f"newer metabench (record version {version}" in line
    else:
        damaged(root, trials, trials[0], "record.json", content)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"\0", b"null", b"[]", b"{}", b"3", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b"{}{}"),
        *(b'{"version": 1}', b'{"version": 2}', b'{"version": 2, "checksum": 3}', b'{"x": ' + b"9" * 5000 + b"}"),
        *(b'{"x": 1e999}', b'{"x": NaN}', b'{"x": "\\ud800"}', pickle.dumps({"version": 2}), None),
    ],
    ids=brief,
)
@pytest.mark.parametrize("name", ["record.json", "scores.json"])
def test_records_and_scores_that_are_something_else(root, trials, name, content):
    notice = damaged(root, trials, trials[1], name, content)
    assert notice.startswith(f"The record of {trials[1].id} cannot be used (")
    assert "\n" not in notice


def test_the_record_of_another_trial(root, trials):
    for other in trials[1:]:
        content = (root / other.id / "record.json").read_bytes()
        assert f"it is the record of '{other.id}'" in damaged(root, trials, trials[0], "record.json", content)


@given(st.data())
@tries(40)
def test_scores_cut_short_or_altered_at_any_byte(root, trials, data):
    victim = data.draw(st.sampled_from(trials))
    content = (root / victim.id / "scores.json").read_bytes()
    position = data.draw(st.integers(0, len(content) - 1))
    other = bytes([data.draw(st.integers(1, 255)) ^ content[position]])
    altered = data.draw(st.sampled_from([content[:position], content[:position] + other + content[position + 1 :]]))
    damaged(root, trials, victim, "scores.json", altered)


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"{}", b"null", b'{"transductive": {}}', b'{"transductive": {"mse": []}}',
    b'{"transductive": {"mse": [[1, 2], [3]]}}', b'{"transductive": {"mse": [[1], [2]], "b": [[1]]}}',
    b'{"transductive": {"mse": [[null]]}}', b"[" * 100_000, b'{"transductive": {"mse": [[]]}}'])  # fmt: skip
def test_reports_of_old_records_whose_scores_no_checksum_keeps(root, trials, tmp_path, content):
    path = root / trials[0].id
    fields = json.loads((path / "record.json").read_bytes()) | {"version": 1}
    (path / "record.json").write_text(
        json.dumps({k: v for k, v in fields.items() if "checksum" not in k} | {"scores_sha256": ""}), encoding="utf-8"
    )
    (path / "scores.json").write_bytes(content)
    before = fingerprint(root)
    pages = (
        [("report", str(root), "--out", "page", "--formats", "svg")]
        if len(content) < 20 or b"null" in content
        else []
    )
    for command in (("status", str(root)), *pages):
        result = call(tmp_path, *command)
        assert (result.returncode, result.stderr) == (0, "")
    with warnings.catch_warnings(action="ignore"):
        assert len(metabench.load_tasks(root)) >= 3 * 12
    assert fingerprint(root) == before


@pytest.mark.parametrize("wrong", ["--device=cuda:99", "--device=meta", "--data=none", "--plugin=none", "--jobs=0"])
def test_a_run_that_is_refused_sets_nothing_aside(root, trials, tmp_path, wrong):
    (root / trials[0].id / "record.json").write_bytes(b'{"version"')
    refused(tmp_path, "run", "--out", str(root), *SAME, wrong)


@pytest.mark.slow
def test_every_command_on_a_damaged_folder(root, trials, tmp_path):
    """In a process of its own, with warnings as they come."""
    (root / trials[0].id / "record.json").write_bytes(b'{"version"')
    (root / trials[1].id / "scores.json").write_bytes(b"no")
    (root / trials[2].id / "checkpoint.pt").write_bytes(b"\xff\n\xff")
    (root / requests.PLANS).mkdir()
    (root / requests.PLANS / "x.json").write_bytes(b"[" * 5000)
    before = fingerprint(root)
    words_ = ("--out", str(root), *SAME)
    for command in (
        ("run", "--dry-run", *words_),
        ("status", str(root)),
        ("report", str(root), "--out", "page", "--formats", "svg"),
    ):
        result = call(tmp_path, *command)
        assert result.returncode == 0, result
        assert "Traceback" not in result.stdout + result.stderr
        assert fingerprint(root) == before

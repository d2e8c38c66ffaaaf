"""Packs: what is packed is read as the folder is, and no file of a stranger's leaves its place."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import msgspec
import pandas as pd
import pytest

import metabench
from metabench.errors import UserError
from metabench.records import requests, store
from metabench.records.packs import MANIFEST, Manifest, manifest_of, opened, unpacked, write_pack
from metabench.report.build import build_report
from tests import builders
from tests.sketches import sketched

GOOD = Manifest(name="one", commands=("metabench run",), versions={"torch": "2"}, plugins=("plugins/0/mine.py",))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "results" / "one"
    trials = [builders.trial(name, "s+rotate=30", seed) for name in ("a", "b") for seed in range(2)]
    for place, trial in enumerate(trials):
        cells = [[0.1 * place + 0.01 * task for task in range(5)]]
        store.write(folder, builders.outcome(trial, {"transductive": cells}))
    requests.record_request(folder, trials, requests.Request("metabench run --algos a,b"))
    for name in ("state.pt", "training.pt", "checkpoint.pt"):
        (folder / trials[0].id / name).write_bytes(b"large")
    return folder


def test_a_pack_is_read_as_its_folder_is(root, tmp_path):
    assert write_pack(root, GOOD, {"plugins/0/mine.py": b"x = 1\n"}, tmp_path / "p.zip") == 4
    for load in (metabench.load, metabench.load_tasks):
        pd.testing.assert_frame_equal(load(tmp_path / "p.zip"), load(root))
    with sketched():
        one, other = (build_report([path], formats=["svg"]).files for path in (root, tmp_path / "p.zip"))
    assert one == other
    assert (unpacked(tmp_path / "p.zip") / "plugins/0/mine.py").read_bytes() == b"x = 1\n"
    assert manifest_of(tmp_path / "p.zip") == GOOD
    files = {path.name for path in opened(tmp_path / "p.zip").glob("*-*/*")}
    assert {"record.json", "scores.json"} <= files <= {"record.json", "scores.json", "examples.json"}
    first = (tmp_path / "p.zip").read_bytes()
    write_pack(root, GOOD, {"plugins/0/mine.py": b"x = 1\n"}, tmp_path / "p.zip")
    assert (tmp_path / "p.zip").read_bytes() == first


def made(path: Path, manifest: object = GOOD, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        if manifest is not None:
            archive.writestr(MANIFEST, msgspec.json.encode(manifest))
        for name, content in files.items():
            archive.writestr(name, content)
    return path


ESCAPES = ("../out", "/out", "results/../../out", "a\\..\\out", "C:/out", "results/./x", "results//x", ".hidden/x",
           "results/one/a:b", "results/one/ü", "x" * 300)  # fmt: skip


@pytest.mark.parametrize("name", ESCAPES)
def test_nothing_leaves_the_archive(tmp_path, name):
    (tmp_path / "in").mkdir()
    path = made(tmp_path / "in" / "p.zip", **{"results/one/x": b"", name: b"evil"})
    with pytest.raises(UserError, match="which no pack has"):
        opened(path) and unpacked(path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["cache", "in"]
    assert not any(each.is_file() for each in (tmp_path / "cache").rglob("*"))


def test_a_link_twice_the_same_name_and_a_lie_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(MANIFEST, msgspec.json.encode(GOOD))
        link = zipfile.ZipInfo("results/one/link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
        archive.writestr(MANIFEST, msgspec.json.encode(GOOD))
        archive.writestr("results/one/x", "1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("results/one/x", "2")
    for name, says in (("link", "no plain file"), ("twice", "twice")):
        with pytest.raises(UserError, match=says):
            unpacked(tmp_path / f"{name}.zip")


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        (None, "it has no pack.json"),
        ({"format": 99, "name": "one", "commands": [], "versions": {}, "plugins": []}, "newer metabench"),
        ({"name": "../one", "commands": [], "versions": {}, "plugins": []}, "have no name"),
        ({"name": "one", "commands": [], "versions": {}, "plugins": ["../../evil.py"]}, "which no pack has"),
        ({"name": "one"}, "missing required field"),
        ("text", "Expected `object`"),
        (["x" * 2_000_000], "too large"),
    ],
)
def test_a_manifest_that_is_none_is_one_line(tmp_path, manifest, says):
    path = made(tmp_path / "p.zip", manifest)
    for read in (opened, metabench.load):
        with pytest.raises(UserError, match=says) as refused:
            read(path)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive" * 100])
def test_what_is_no_archive_is_one_line(tmp_path, content):
    (tmp_path / "p.zip").write_bytes(content)
    with pytest.raises(UserError, match="Cannot use the pack"):
        metabench.load(tmp_path / "p.zip")


def test_one_that_is_cut_short_or_altered_is_refused(root, tmp_path):
    write_pack(root, GOOD, {}, tmp_path / "p.zip")
    whole = bytearray((tmp_path / "p.zip").read_bytes())
    (tmp_path / "short.zip").write_bytes(whole[: len(whole) // 2])
    whole[len(whole) // 2] ^= 255
    (tmp_path / "bad.zip").write_bytes(whole)
    for name in ("short", "bad"):
        with pytest.raises(UserError, match="Cannot use the pack"):
            metabench.load(tmp_path / f"{name}.zip")


def test_a_pack_that_could_not_be_read_is_not_written(root, tmp_path):
    with pytest.raises(UserError, match="Cannot pack"):
        write_pack(root, GOOD, {"plugins/0/m\u00fcne.py": b""}, tmp_path / "p.zip")
    assert not (tmp_path / "p.zip").exists()
    assert write_pack(root, GOOD, {"plugins/0/my plugin@home.py": b""}, tmp_path / "p.zip") == 4
    assert unpacked(tmp_path / "p.zip").is_dir()


def test_a_damaged_member_is_one_line(root, tmp_path):
    path = tmp_path / "p.zip"
    write_pack(root, GOOD, {"plugins/0/mine.py": bytes(range(256)) * 20}, path)
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("plugins/0/mine.py")
    content = bytearray(path.read_bytes())
    at = entry.header_offset + 30 + len(entry.filename)
    content[at : at + entry.compress_size] = b"\xff" * entry.compress_size
    path.write_bytes(content)
    with pytest.raises(UserError, match="Cannot use the pack"):
        unpacked(path)

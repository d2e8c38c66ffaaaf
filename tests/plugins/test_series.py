"""Time series of one's own: every layout gives the same tasks; what is no series is named."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
import torch

from metabench.api import DataError
from metabench.engine.seeds import random_generator
from metabench.testing.conformance import check_suite
from metabench.testing.suite_task_checks import SuiteCase
from metabench_plugins.suites.series import series


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


def waves() -> dict[str, list[np.ndarray]]:
    """By class 3 series of different lengths."""
    rng = np.random.default_rng(0)
    return {f"c{place}": [np.round(rng.normal(size=20 + each), 3) for each in range(3)] for place in range(15)}


def csv_folder(root):
    for name, rows in waves().items():
        (root / "csv" / name).mkdir(parents=True)
        for number, row in enumerate(rows):
            header = "value\n" if number else ""
            (root / "csv" / name / f"{number}.csv").write_text(header + "\n".join(map(str, row)), encoding="utf-8")
    return root / "csv"


def npz_archive(root):
    with zipfile.ZipFile(root / "series.zip", "w") as archive:
        for name, rows in waves().items():
            for number, row in enumerate(rows):
                content = io.BytesIO()
                np.savez(content, series=row[:, None])
                archive.writestr(f"{name}/{number}.npz", content.getvalue())
    return root / "series.zip"


def ucr(root):
    (root / "ucr").mkdir()
    for part, numbers in (("TRAIN", (0,)), ("TEST", (1, 2))):
        rows = [
            "\t".join([name, *map(str, row), *["NaN"] * (22 - len(row))])
            for number in numbers
            for name, all_rows in waves().items()
            for row in [all_rows[number]]
        ]
        (root / "ucr" / f"Waves_{part}.tsv").write_text("\n".join(rows), encoding="utf-8")
    return root / "ucr"


GIVEN = {"ways": 3, "queries": 2, "length": 16}


def test_every_layout_gives_the_same_tasks(tmp_path):
    suites = [series(path=str(make(tmp_path)), **GIVEN) for make in (csv_folder, npz_archive, ucr)]
    tasks = [suite.sample("train", 4, random_generator("series")) for suite in suites]
    assert tasks[0].query.x.shape == (4, 6, 1, 16)
    assert all(torch.equal(tasks[0].query.x, each.query.x) for each in tasks)
    assert [len(suites[2].groups(split)) for split in ("train", "validation", "test")] == [9, 3, 3]
    assert torch.allclose(tasks[0].query.x.mean(3), torch.zeros(()), atol=1e-6)
    for model in ("fcn", "mlp"):
        assert series(path=str(tmp_path / "csv"), model=model, **GIVEN).model()(tasks[0].query.x[0]).shape == (6, 3)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("c0/0.csv", b"1,2\n3\n", "cannot be used: .*inhomogeneous"),
        ("c0/0.csv", b"1\nNaN\n", "'c0/0.csv' is no series of at least two moments, all of them numbers"),
        ("c0/0.csv", b"1,2\n3,4\n", "its series have 1 and 2 channels"),
        ("c0/0.npz", b"PK", "cannot be used: "),
        ("Waves.tsv", b"c0\t1\tx\n", "Waves.tsv, row 1: could not convert string to float"),
    ],
)
def test_what_is_no_series_is_one_line(tmp_path, name, content, words):
    folder = csv_folder(tmp_path)
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        series(path=str(folder), **GIVEN).prepare()
    assert str(caught.value).startswith("Suite 'series': ")
    assert "\n" not in str(caught.value)


def test_the_kit_passes(tmp_path, registry):
    results = check_suite(SuiteCase(series(path=str(npz_archive(tmp_path)), **GIVEN), "series", registry))
    assert [result for result in results if result.verdict == "failed"] == []

"""metabench data: what is here and what is not, and fetching it."""

from __future__ import annotations

import pytest

from metabench.cli.commands import console
from metabench.registry.data_sets import data_sets
from metabench.units import in_bytes


def test_it_lists_what_is_here_with_its_size_source_and_licence(here, tmp_path, monkeypatch):
    monkeypatch.setattr(console, "_width", 400)
    (tmp_path / "mini-imagenet").mkdir()
    (tmp_path / "mini-imagenet" / "a.zip").write_bytes(b"x" * 2_000_000)
    result = here("data", "--data", str(tmp_path), METABENCH_CACHE=str(tmp_path / "cache"))
    assert result.returncode == 0, result.stderr
    rows = {line.split()[1]: line for line in result.stdout.splitlines() if "│" in line}
    assert "2 MB" in rows["mini-imagenet"]
    assert "no; a download of 169 MB" in " ".join(result.stdout.split())
    assert "no; see its source" in " ".join(result.stdout.split())
    assert "MIT" in rows["omniglot"]


def test_fetch_prepares_and_says_first_what_it_takes(here, tmp_path, monkeypatch):
    environment = {"METABENCH_CACHE": str(tmp_path / "cache"), "METABENCH_OFFLINE": "1"}
    monkeypatch.delenv("METABENCH_DATA", raising=False)
    result = here("data", "fetch", "cifar-fs", **environment)
    assert result.returncode == 2
    assert "cifar-fs: downloads 169 MB from https://www.cs.toronto.edu" in result.stdout
    assert "cifar-fs: takes 354 MB in" in result.stdout
    assert "METABENCH_OFFLINE is set" in " ".join(result.stderr.split())
    assert here("data", "fetch", "linear-svm", **environment).stdout == "The data of 'linear-svm' are ready.\n"


@pytest.mark.parametrize("words", [("fetch",), ("get", "omniglot"), ("fetch", "no-suite")])
def test_what_it_cannot_do_is_one_line(here, words):
    result = here("data", *words)
    assert result.returncode == 2
    assert result.stderr.startswith("metabench: ")


def test_every_suite_with_data_is_registered_and_its_facts_are_complete(registry):
    known = data_sets()
    assert {suite for each in known for suite in each.suites} <= registry.suites.keys()
    assert all(each.source and each.licence and each.files for each in known)


def test_sizes_are_written_as_people_write_them():
    given = (0, 999, 15_000_000, 1_270_000_000, 16_500_000_000)
    assert list(map(in_bytes, given)) == ["0 B", "999 B", "15 MB", "1.3 GB", "16 GB"]

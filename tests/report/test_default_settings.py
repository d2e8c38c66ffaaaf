"""Algorithms that nobody's recipe speaks of are listed, and only they."""

from __future__ import annotations

from metabench.records import store
from metabench.report.build import build_report
from tests import builders
from tests.sketches import sketched


def test_the_report_lists_who_ran_on_default_settings(tmp_path):
    for seed in (0, 1):
        for name, default in (("known", False), ("stranger", True)):
            trial = builders.trial(name, seed=seed, default_settings=default)
            store.write(tmp_path, builders.outcome(trial, {"transductive": [[0.5, 0.6], [0.7, 0.8]]}))
    with sketched():
        report = build_report([tmp_path], formats=["svg"])
    line = "Caution: default settings on s, as its recipe says nothing of them: stranger."
    assert line in report.notes
    for page in ("report.md", "index.html"):
        assert line in report.files[page].decode()

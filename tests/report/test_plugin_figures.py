"""A figure of a plugin: data in, data out, drawn as our own; what is broken costs a report one figure."""

from __future__ import annotations

import pytest

from metabench.records import store
from metabench.registry.figures import registered_figures
from metabench.report.build import build_report
from tests import builders

PLUGIN = '''
from metabench.api import Axis, Plot, Series, hookimpl

def hardest(scores):
    """The worst task of each seed.

    More of it.
    """
    last = scores.tasks[scores.tasks["step"] == scores.tasks["step"].max()]
    worst = last.groupby(["algorithm", "seed"])["score"].min()
    series = [Series(name, worst[name].index, worst[name].to_list()) for name in scores.algorithms]
    return Plot(Axis("seed"), Axis(f"worst {scores.metric}", share=True), series, "KIND")

def broken(scores):
    raise RuntimeError("no figure today")

def nothing(scores):
    return None

@hookimpl
def register_figures():
    return {"hardest-task": hardest, "scores": hardest, "broken": broken, "nothing": nothing}
'''


@pytest.fixture
def folder(tmp_path):
    for name, level in (("a", 0.2), ("b", 0.4)):
        for seed in range(2):
            cells = {"transductive": [[0.1, 0.1], [level + 0.1 * seed, 0.9]]}
            curve = builders.points({0: 0.1, 5: level})
            store.write(
                tmp_path / "results", builders.outcome(builders.trial(name, "toys", seed), cells, curve=curve)
            )
    return tmp_path / "results"


@pytest.mark.parametrize("kind", ["lines", "points"])
def test_a_plugin_adds_a_figure(folder, tmp_path, monkeypatch, kind):
    (tmp_path / "mine.py").write_text(PLUGIN.replace("KIND", kind), encoding="utf-8")
    monkeypatch.setenv("METABENCH_PLUGINS", str(tmp_path / "mine.py"))
    with pytest.warns(UserWarning, match="Figure 'broken' is left out on toys: RuntimeError: no figure today"):
        report = build_report([folder], formats=["svg"])
    picture = report.figures["toys-plugin-hardest-task"]
    assert (picture.title, picture.caption) == ("Hardest task", "The worst task of each seed.")
    assert picture.words == "b from 0.4 to 0.5; a from 0.2 to 0.3"
    assert sorted(each[1:] for each in picture.titles.values() if len(each) > 1) == [
        ["seed 0, worst accuracy 20.00%", "seed 1, worst accuracy 30.00%"],
        ["seed 0, worst accuracy 40.00%", "seed 1, worst accuracy 50.00%"],
    ]
    assert report.figures["toys-scores"].words != report.figures["toys-plugin-scores"].words == picture.words
    assert "toys-plugin-nothing" not in report.figures
    assert "Hardest task" in report.files["index.html"].decode()


def test_a_plugin_without_figures_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("raise SystemExit(1)", encoding="utf-8")
    monkeypatch.setenv("METABENCH_PLUGINS", str(tmp_path / "mine.py"))
    assert registered_figures() == {}

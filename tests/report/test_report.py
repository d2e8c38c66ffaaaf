"""The report: a pure function of the records, its numbers theirs, its page safe and self-contained."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import re
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy.stats import t as student

from metabench.cli.tables import results_table
from metabench.errors import UserError
from metabench.records import store
from metabench.records.provenance import Provenance
from metabench.records.record import Outcome, Record, TestScore
from metabench.records.trials import Budget, Trial
from metabench.report import formatting, write_report
from metabench.report.analysis import statistics_tables, summary
from metabench.report.analysis.summary import summary_table
from metabench.report.build import build_report
from metabench.report.collect import configurations, labels
from metabench.report.figures import catalogue, style
from metabench.report.page import model
from metabench.report.statistics import intervals
from tests import builders
from tests.builders import failure
from tests.sketches import EMPTY, sketched

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("one report")]

HOSTILE = 'the plugin said <script>alert("x")</script> | $x_1$ `no`'
TASKS = 60


def trial(algorithm: str, suite: str, seed: int, **changes) -> Trial:
    usual = {
        "algorithm_parameters": {"inner_lr": 0.4},
        "suite_parameters": {"ways": 5},
        "budget": Budget(updates=100, test_tasks=TASKS, test_steps=3),
    }
    return builders.trial(algorithm, suite, seed, **usual | changes)


def outcome(of: Trial, level: float, metric: str = "accuracy") -> Outcome:
    """A made-up record: better with every step and update, tasks in common with its suite's other trials."""
    steps = of.budget.test_steps + 1
    task = np.random.default_rng(len(of.suite)).normal(size=TASKS)
    own = np.random.default_rng([of.seed, *of.id.encode()])
    rise = 0.3 * level * np.arange(steps)[:, None] / steps
    cells = level + rise + 0.05 * level * (task + own.normal(size=(steps, TASKS)) + 0.3 * own.normal())
    trained = of.algorithm != "scratch"
    protocols = configurations.protocols(builders.record(of))
    curve = builders.points({u: level * (1 + u / 300) for u in range(0, 101, 20)}, 0.1, start=of.seed)
    return builders.outcome(
        of,
        {protocol: cells if protocol == "transductive" else 0.9 * cells for protocol in protocols},
        metric,
        curve=curve if trained else [],
        selection="best on validation" if trained else "initial",
        train_seconds=10.0 + of.seed if trained else 0.0,
        adapt_ms=4.0 + of.seed,
        peak_memory_mb=400.0 + of.seed,
        strategy="vectorised",
        provenance=Provenance(python="3.11", cpu="<b>fast</b>", cores=2),
    )


def everything() -> list[Outcome]:
    """Two suites, three seeds, two protocols, two configurations of one algorithm, failures, a lone seed."""
    found = [
        failure(trial("reptile", "waves", 2), "diverged", "the training loss was nan at update 7 of 100"),
        failure(trial("broken", "glyphs", 0, protocol="both"), "error", HOSTILE),
        outcome(trial("lonely", "glyphs", 0, protocol="both"), 0.4),
    ]
    for seed in range(3):
        for name, level in (("maml", 0.6), ("fomaml", 0.6), ("scratch", 0.3)):
            found.append(outcome(trial(name, "glyphs", seed, protocol="both"), level))
        for rate in (0.01, 0.1):
            slow = trial("maml", "waves", seed, algorithm_parameters={"inner_lr": rate})
            found.append(outcome(slow, 0.5 * (1 + rate), "mse"))
        if seed < 2:
            found.append(outcome(trial("reptile", "waves", seed), 3.0, "mse"))
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("results") / "trial <run>"
    root.mkdir()
    for each in everything():
        store.write(root, each)
    return root


@pytest.fixture(scope="module")
def report(results, tmp_path_factory) -> Path:
    return write_report(results, tmp_path_factory.mktemp("report") / "out").parent


@pytest.fixture(scope="module")
def page(report) -> str:
    return (report / "index.html").read_text(encoding="utf-8")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def by_hand(results: Path, algorithm: str, suite: str, protocol: str) -> tuple[float, float]:
    """Mean and half-width of one unambiguous configuration, from its scores, by the long formulas."""
    cells = [
        store.scores(results, record)[protocol][record.metric][-1]
        for record in store.records(results)
        if (record.trial.algorithm, record.trial.suite, record.status) == (algorithm, suite, "ok")
    ]
    seeds = len(cells)
    grand = sum(map(sum, cells)) / (seeds * TASKS)
    rows_, columns = [sum(row) / TASKS for row in cells], [sum(column) / seeds for column in zip(*cells)]
    if seeds == 1:
        spread = sum((value - grand) ** 2 for value in cells[0]) / (TASKS - 1)
        return grand, student.ppf(0.975, TASKS - 1) * (spread / TASKS) ** 0.5
    of_seed = TASKS * sum((mean - grand) ** 2 for mean in rows_) / (seeds - 1)
    of_task = seeds * sum((mean - grand) ** 2 for mean in columns) / (TASKS - 1)
    rest = [(cells[s][t] - rows_[s] - columns[t] + grand) ** 2 for s in range(seeds) for t in range(TASKS)]
    error = sum(rest) / ((seeds - 1) * (TASKS - 1))
    total = of_seed + max(of_task - error, 0)
    share = of_seed / total
    degrees = 1 / (share / (seeds - 1) + (1 - share) / (TASKS - 1))
    return grand, student.ppf(0.975, degrees) * (total / (seeds * TASKS)) ** 0.5


@pytest.mark.parametrize("algorithm", ["maml", "fomaml", "scratch", "lonely"])
@pytest.mark.parametrize("protocol", ["transductive", "inductive"])
def test_the_scores_are_those_of_the_records(results, report, page, algorithm, protocol):
    mean, half = by_hand(results, algorithm, "glyphs", protocol)
    found = [
        row for row in rows(report / "tables/summary.csv")
        if (row["suite"], row["algorithm"], row["protocol"]) == ("glyphs", algorithm, protocol)
    ]  # fmt: skip
    assert len(found) == 1
    assert float(found[0]["score"]) == pytest.approx(mean, rel=1e-9)
    assert float(found[0]["ci95"]) == pytest.approx(half, rel=1e-9)
    shown = formatting.with_interval(mean, half, "accuracy")
    assert shown in page
    assert shown in (report / "report.md").read_text(encoding="utf-8")


def test_times_seeds_and_memory_are_those_of_the_records(report):
    waves = {row["algorithm"]: row for row in rows(report / "tables/summary.csv") if row["suite"] == "waves"}
    assert set(waves) == {"maml (inner_lr=0.01)", "maml (inner_lr=0.1)", "reptile"}
    reptile = waves["reptile"]
    assert (reptile["seeds"], reptile["ok"]) == ("3", "2")
    assert float(reptile["train_seconds"]) == 10.5
    assert float(reptile["adapt_ms"]) == 4.5
    assert float(reptile["peak_memory_mb"]) == 401.0
    assert [row["algorithm"] for row in waves.values()][-1] == "reptile", "the largest error is the worst"


def test_the_best_and_what_is_not_separated_from_it(results):
    found = configurations.collect(store.records(results), results)
    best: dict[tuple[str, str], configurations.Configuration] = {}
    for group, (standing, _) in zip(found, summary.standings(found)):
        if standing == "best":
            assert best.setdefault((group.suite, group.protocol), group) is group
    for group, (standing, behind) in zip(found, summary.standings(found)):
        if behind is None:
            assert standing in ("best", "")
            continue
        winner = best[group.suite, group.protocol]
        common = sorted(group.final.keys() & winner.final.keys())
        assert behind.mean == pytest.approx(np.mean([group.final[seed] - winner.final[seed] for seed in common]))
        assert (standing == "not separated") == (behind.low <= 0 <= behind.high) == (behind.p >= 0.05)
    assert len(best) == 3


def test_every_trial_is_counted_and_the_failed_are_listed(results, report, page):
    assert {row["trial_id"] for row in rows(report / "tables/trials.csv")} == {
        record.trial.id for record in store.records(results)
    }
    count = len(list(store.records(results)))
    assert f"{count} trials ({count - 2} ok)" in page
    for text in (page, (report / "report.md").read_text(encoding="utf-8")):
        assert "the training loss was nan at update 7 of 100" in text
        assert "1 seed: interval over tasks only." in text


def test_names_are_text_and_never_markup(page, report):
    assert len(re.findall("<script", page)) == len(re.findall("</script", page)) == 2, "the trials, and ours"
    (data,) = re.findall(r'<script type="application/json"[^>]*>(.*)</script>', page)
    assert "<" not in data
    assert HOSTILE in {value for value in json.loads(data)["pool"] if isinstance(value, str)}
    assert html.escape(HOSTILE, quote=False).split("(")[0] in page
    assert "<title>trial &lt;run&gt;" in page
    assert "<b>fast" not in page
    markdown = (report / "report.md").read_text(encoding="utf-8")
    assert "<script" not in markdown
    assert r"\| $x_1$ \`no\`" in markdown


def test_the_page_fetches_nothing(page):
    assert "default-src 'none'" in page
    assert not re.search(r"https?:", page)
    assert not re.search(r"<(link|img|iframe|object|embed)\b(?![^>]*data:,)", page)
    assert not re.search(r"@import|url\((?!#)", page)
    assert re.findall(r'\ssrc="', page) == []


def test_every_figure_has_words_and_its_own_ids(page, report):
    drawn = re.findall(r'<svg [^>]*role="img" aria-label="([^"]+)"', page)
    files = {path.name for path in (report / "figures").iterdir()}
    named = {name.removesuffix(".svg") for name in files if name.endswith(".svg")}
    packed = re.findall(r'data-deflated="([^"]+)"', page)
    unpacked = [zlib.decompress(base64.b64decode(each)).decode() for each in packed]
    assert len(drawn) == 2 * 4, "four of a suite at once, the others when they are asked for"
    assert len(drawn) + len(packed) == len(named)
    assert all(each.startswith("<svg ") and 'role="img" aria-label="' in each for each in unpacked)
    assert max(map(len, drawn)) <= 300
    assert files == {f"{name}.{form}" for name in named for form in ("svg", "png", "pdf")}
    kinds = ("scores", "learning", "adaptation", "clock")
    assert named >= {f"{suite}-{kind}" for suite in ("glyphs", "waves") for kind in kinds}
    for name in files:
        assert f'<a href="figures/{name}">' in page
    assert any("scratch (not trained: test score) at" in words for words in drawn)
    page += "".join(unpacked)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', page))
    assert used <= set(ids)


AGAIN = """
import sys
from metabench.records.store import records
from metabench.report import write_report
from metabench.report.analysis.summary import summary_table

results, out = sys.argv[1:]
summary_table(records(results), results)
write_report(results, out)
sys.exit("torch" in sys.modules)
"""


def test_the_same_records_give_the_same_bytes_and_no_torch_is_imported(results, report, tmp_path):
    """In another process, where strings have other hashes and nothing was drawn before."""
    again = tmp_path / "elsewhere"
    assert subprocess.run([sys.executable, "-c", AGAIN, results, again]).returncode == 0
    names = sorted(path.relative_to(report) for path in report.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert [name for name in names if (report / name).read_bytes() != (again / name).read_bytes()] == []


def linked(report: Path) -> set[str]:
    """The files that index.html and report.md show or link to."""
    html, text = ((report / name).read_text("utf-8") for name in ("index.html", "report.md"))
    found = {*re.findall(r'(?:href|src)="([^"#:]+)"', html), *re.findall(r"\]\(([^)#:]+)\)", text)}
    return {name for name in found if name.startswith(("figures/", "tables/"))}


def figures(report: Path) -> set[str]:
    return {path.relative_to(report).as_posix() for path in (report / "figures").iterdir()}


def test_every_figure_and_table_that_is_linked_is_there(report):
    assert figures(report) <= linked(report)
    assert all((report / name).is_file() for name in linked(report))


@pytest.mark.parametrize("form", ["png", "pdf"])
def test_figures_come_in_the_formats_that_are_asked_for(tmp_path, form):
    results = tmp_path / "one"
    store.write(results, outcome(trial("maml", "glyphs", 0), 0.6))
    tmp_path /= "out"
    write_report(results, tmp_path, formats=[form])
    assert figures(tmp_path) == {name for name in linked(tmp_path) if name.startswith("figures/")}
    assert {Path(name).suffix for name in figures(tmp_path)} == {f".{form}"}
    assert f"--formats {form}" in (tmp_path / "report.md").read_text("utf-8")
    with pytest.raises(UserError, match="Unknown format of figures 'gif'"):
        write_report(results, tmp_path, formats=["gif"])
    with pytest.raises(UserError, match="Unknown style of figures 'serf'"):
        write_report(results, tmp_path, style="serf")


def test_nothing_to_report_and_nowhere_to_write(results, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"^There is no finished trial in '.*empty'\. `metabench run"):
        write_report(tmp_path / "empty", tmp_path / "out")
    (tmp_path / "file").write_text("", encoding="utf-8")
    lone = tmp_path / "lone"
    store.write(lone, failure(trial("maml", "glyphs", 0), "error", "no"))
    with pytest.raises(UserError, match=r"^Cannot write the report to '.*file/out': Not a directory\. [^\n]*$"):
        write_report(lone, tmp_path / "file" / "out")
    assert "0 of 1" in write_report(lone, tmp_path / "out", formats=["svg"]).read_text(encoding="utf-8"), (
        "a folder of failures has a page too"
    )


def test_what_is_alone_is_not_the_best_of_anything():
    table = pd.DataFrame({"suite": list("aab"), "protocol": "p", "score": 0.5, "standing": ["best", "", "best"]})
    assert model.contested(table)["standing"].to_list() == ["best", "", ""]


def test_the_terminal_table(results):
    table = summary_table(store.records(results), results)
    assert table.names[:7] == ("suite", "algorithm", "metric", "score", "standing", "ok", "transductive")
    assert table.headings[3:6] == ("score", "verdict", "seeds")
    mean, half = by_hand(results, "lonely", "glyphs", "inductive")
    shown = ("glyphs", "lonely", "accuracy", formatting.with_interval(mean, half, "accuracy"), "1", "no")
    assert shown in {(*row[:4], *row[5:7]) for row in table.rows}
    assert {row[2] for row in table.rows} == {"accuracy", "mse ↓", "–"}
    assert {row[4] for row in table.rows} == {"best", "not separated", "behind", "–"}
    assert [row[4] == "best" for row in table.rows] == list(table.best)
    assert summary_table([], results).rows == ()


def test_one_metric_stands_in_the_heading_with_an_arrow(tmp_path):
    for seed in range(2):
        store.write(tmp_path, outcome(trial("maml", "waves", seed), 0.5, metric="mse"))
    table = summary_table(store.records(tmp_path), tmp_path)
    assert "metric" not in table.names
    assert table.headings[table.names.index("score")] == "mse ↓"
    assert table.best == (False,), "alone"


@pytest.mark.parametrize("width", [40, 80, 120, 300])
def test_the_terminal_has_the_columns_that_matter_and_fit(results, width):
    table = summary_table(store.records(results), results)
    shown = [table.headings[place] for place in results_table(table).fitting(width)[0]]
    assert width < 80 or {"algorithm", "score", "suite", "verdict"} <= set(shown)
    assert width < 120 or "train s ± SD" in shown
    wide = len(shown) == len(table.headings)
    assert wide == (width == 300)
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(results_table(table))
    seen = console.export_text()
    assert seen.count("glyphs") == sum(row[0] == "glyphs" for row in table.rows), "no row is folded"


def test_both_formats_read_the_same(page, report):
    """report.md says of how to read it what the page says, as far as it has the same columns, and of its figures."""
    terms = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page)
    listed = re.findall(r"^- \*\*(.*?)\*\*: (.*)$", (report / "report.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert "Behind the best" in dict(terms)
    said = {name: html.unescape(words) for name, words in terms}
    captions = re.findall(r"<figcaption><b>(.*?)\.</b> (.*)", page)
    said |= {name: html.unescape(words) for name, words in captions}
    assert len(listed) == len(dict(listed)) == 3 + 4
    assert all(said[name] == html.unescape(words).replace("\\", "") for name, words in listed)


def test_what_was_compared_has_every_setting(tmp_path):
    store.write(tmp_path, outcome(trial("maml", "glyphs", 0, precision="bf16"), 0.5))
    with sketched():
        index = write_report(tmp_path, tmp_path / "out", formats=["svg"])
    page = index.read_text(encoding="utf-8").partition('id="what-was-compared"')[2]
    listed = {(row["setting"], row["value"]) for row in rows(index.parent / "tables/settings.csv")}
    for setting in ("inner_lr=0.4", "ways=5", "updates=100", "protocol=transductive", "precision=bf16"):
        assert setting in page
        assert tuple(setting.split("=")) in listed


def test_a_report_of_many_algorithms_is_short_and_light(tmp_path, monkeypatch):
    """Five hundred words a suite, figures and all: they are not drawn here, but stand for what is said of them. And a
    tenth of a megabyte: test_figures.py weighs the figures."""
    suites, kinds = ("glyphs", "waves"), catalogue.kinds()
    for name in (f"maml-{number}" for number in range(27)):
        for suite in suites:
            store.write(tmp_path, outcome(trial(name, suite, 0), 0.5))

    def drawn(job: catalogue.Job) -> tuple[catalogue.Picture, ...]:
        return tuple(
            catalogue.Picture(
                f"{job.slug}-{kind.name}", kind.section, kind.title, kind.caption, "", "", {"svg": b""}, EMPTY, {}
            )
            for kind in kinds
        )

    monkeypatch.setattr(model, "draw", lambda jobs: [drawn(job) for job in jobs])
    monkeypatch.setattr(statistics_tables, "tables", lambda groups: {})
    files = build_report([tmp_path], formats=["svg"]).files
    page, text = (files[name].decode() for name in ("index.html", "report.md"))
    assert len(page) < 100_000 * len(suites)
    assert len(re.findall(r"^\| maml-17 ", text, re.MULTILINE)) == 1 + len(suites)
    assert len([word for word in text.split() if re.search(r"\w", word)]) < 500 * len(suites)


def test_scores_that_cannot_be_read_are_a_reason_and_not_a_crash(tmp_path):
    good = outcome(trial("maml", "glyphs", 0), 0.5)
    store.write(tmp_path, good)
    (tmp_path / good.record.trial.id / "scores.json").write_text(
        '{"transductive": {"accuracy": [[null]]}}', encoding="utf-8"
    )
    found = configurations.collect(store.records(tmp_path), tmp_path)
    assert [reason for _, _, reason in configurations.shortfalls(found)] == [
        "its per-task scores are missing or not finite"
    ]


def test_an_algorithm_that_needs_no_other_query_points_competes_under_what_was_asked(tmp_path):
    store.write(tmp_path, outcome(trial("maml", "glyphs", 0), 0.5))
    better = outcome(trial("protonet", "glyphs", 0), 0.8)
    (test,) = better.record.tests.values()
    record = {"tests": {"inductive": TestScore(transductive=False, score=test.score, ci95=0.1, adaptation={})}}
    fields = {name: getattr(better.record, name) for name in Record.__struct_fields__}
    store.write(tmp_path, Outcome(Record(**{**fields, **record}), {"inductive": better.scores["transductive"]}))
    found = configurations.collect(store.records(tmp_path), tmp_path)
    standings = {group.algorithm: standing for group, (standing, _) in zip(found, summary.standings(found))}
    assert standings == {"maml": "", "protonet": "best"}


def test_labels_say_only_what_differs():
    def of(*trials: Trial) -> list[labels.Label]:
        known = labels.labels(builders.record(each) for each in trials)
        return [known[each.id] for each in trials]

    one, seed = trial("maml", "glyphs", 0), trial("maml", "glyphs", 1)
    wide = trial("maml", "glyphs", 0, suite_parameters={"ways": 20})
    long = trial("maml", "glyphs", 0, budget=Budget(updates=7))
    assert of(one, seed) == [("glyphs", "maml")] * 2
    assert of(one, wide) == [("glyphs (ways=5)", "maml"), ("glyphs (ways=20)", "maml")]
    first, second = of(trial("maml", "glyphs", 0, budget=Budget()), long)
    assert (first.algorithm, second.algorithm) == ("maml (updates=1000)", "maml (updates=7)")
    kinds = [trial("maml", "glyphs", 0, algorithm_parameters={"a": value}) for value in (1, 1.0, "1", True, "true")]
    assert len({label.algorithm for label in of(*kinds)}) == 5
    assert list(labels.slugs(["a b", "a-b", "<>"]).values()) == ["a-b", "a-b-2", "suite"]


def test_intervals_at_the_edges():
    same = intervals.interval(np.ones((3, 5)))
    assert (same.mean, same.half) == (1.0, 0.0)
    lone = intervals.interval(np.array([[1.0, 2.0, 3.0]]))
    assert lone.half == pytest.approx(student.ppf(0.975, 2) / 3**0.5)
    assert np.isnan(intervals.interval(np.full((2, 3), np.nan)).half)
    apart = intervals.difference({0: np.array([1.0, 2.0])}, {1: np.array([1.0, 2.0, 3.0])})
    assert (apart.mean, apart.seeds, apart.tasks) == (0.0, 0, 2)


def test_shifting_and_scaling_scores_does_the_same_to_their_interval():
    cells = np.random.default_rng(1).normal(size=(4, 50))
    before, after = intervals.interval(cells), intervals.interval(10 - 3 * cells)
    assert after.mean == pytest.approx(10 - 3 * before.mean)
    assert after.half == pytest.approx(3 * before.half)


def test_numbers_as_they_are_read():
    assert formatting.with_interval(0.95304, 0.00541, "accuracy") == "95.30 ± 0.54%"
    assert formatting.with_interval(0.38149, 0.035, "mse") == "0.381 ± 0.035"
    assert formatting.with_interval(0.456, 0.0268, "accuracy") == "45.6 ± 2.7%"
    assert formatting.with_interval(0.456, 0.123, "accuracy") == "46 ± 12%"
    assert formatting.with_interval(2.1e-5, 3e-6, "mse") == "2.1e-05 ± 3e-06"
    assert formatting.with_interval(1234.5, 31.2, "return") == "1234 ± 31"
    assert formatting.behind(-0.031, (-0.052, 0.0), "accuracy") == "−3.1 [−5.2, 0.0]"
    assert formatting.behind(-0.12, (-0.24, -0.003), "accuracy") == "−12 [−24, −0.3]", "0 is not in it"
    assert formatting.difference(-0.031, 0.0042, "accuracy") == "−3.10 ± 0.42 points"
    assert formatting.with_interval(None, None, "mse") == formatting.with_interval(float("nan"), 1.0, "mse") == "–"
    assert [formatting.amount(value) for value in (1234.5, 12.34, 0.5, None)] == ["1,234", "12.3", "0.50", "–"]


def test_an_algorithm_looks_the_same_in_every_figure():
    names = [f"algorithm {index}" for index in range(25)]
    assert len({(look.color, look.marker) for look in style.looks(names).values()}) == 25
    assert style.looks(reversed(names)) == style.looks(names)

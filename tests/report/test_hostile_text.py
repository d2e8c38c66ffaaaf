"""Reports escape whatever plugins and records say."""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser
from itertools import groupby

import pytest

from metabench.records import store
from metabench.records.provenance import Provenance, StrategyChoice
from metabench.records.record import Outcome
from metabench.report import write_report
from tests import builders

HOSTILE = [
    "<script>alert(1)</script>", "a | b\n| c | d |", "![x](javascript:alert(1))", "</td></table><h1>",
    "`code` **bold**", '" onload="alert(1)', "{{ 7 * 7 }}{% raw %}", "&lt;b&gt;",
    "\u2028<svg/onload=alert(1)>", "-->]]><img src=x>", "\\| \\\\| <", "$x$ \\frac{1}", "\x00\x1b[31m",
]  # fmt: skip


class Elements(HTMLParser):
    """The elements of a page as a browser sees them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs


def hostile(text: str, algorithm: str, suite: str, seed: int) -> Outcome:
    """The outcome of a trial that says a text wherever it may; the last seed failed."""
    trial = builders.trial(algorithm, suite, seed, algorithm_parameters={text: text})
    if seed == 2:
        return builders.failure(trial, reason=text, provenance=Provenance(traceback=text))
    facts = Provenance(cpu=text, choice=StrategyChoice(text, {text: 1.0}, text))
    scores = {"transductive": [[0.1, 0.2, 0.3], [0.2, 0.3, 0.5]]}
    return builders.outcome(trial, scores, metric=text, provenance=facts, higher_is_better=True)


@pytest.mark.slow
def test_reports_escape_what_plugins_and_records_say(tmp_path):
    root = tmp_path / "results <i>"
    for number, text in enumerate(HOSTILE):
        for seed in range(3):
            store.write(root, hostile(text, f"a{number % 7}", f"s{number // 7}", seed))
    page = Elements(write_report(root, tmp_path / "page", formats=["svg"]).read_text(encoding="utf-8"))
    assert page.tags["script"] == 2  # ours, and the trials as JSON
    assert not {"img", "i"} & set(page.tags)
    assert page.tags["h1"] == 1
    assert not any(
        name.startswith("on") or (value or "").startswith("javascript:") for name, value in page.attributes
    )
    notes = (tmp_path / "page" / "report.md").read_text(encoding="utf-8")
    for element in ("<script", "<img", "<svg", "<h1", "![x](java"):
        assert element not in notes
    lines = [line.replace("\\\\", "").replace("\\|", "") for line in notes.splitlines()]
    tables = [list(table) for is_table, table in groupby(lines, lambda line: line.startswith("|")) if is_table]
    assert len(tables) > 2
    for head, *rows in tables:
        assert {row.count("|") for row in rows} == {head.count("|")}, head


@pytest.mark.slow
def test_a_report_in_a_locale_that_is_not_utf8(tmp_path, metabench):
    for seed in range(2):
        scores = {"transductive": [[0.1, 0.2], [0.2, 0.3]]}
        store.write(
            tmp_path / "r", builders.outcome(builders.trial(seed=seed, algorithm_parameters={"é": 1}), scores)
        )
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    result = metabench("report", "r", "--formats", "png", **locale)
    assert result.returncode == 0, result.stderr
    assert "±" in (tmp_path / "reports" / "r" / "report.md").read_text(encoding="utf-8")

"""Reports escape whatever plugins and records say."""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser

from metabench.records import store
from metabench.records.provenance import Provenance, StrategyChoice
from metabench.records.record import Outcome, Record, TestScore
from metabench.records.trials import Trial
from metabench.report import write_report

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
    own: dict[str, object] = {text: text}
    trial = Trial(algorithm=algorithm, algorithm_parameters=own, suite=suite, suite_parameters={}, seed=seed)
    if seed == 2:
        return Outcome(Record(trial=trial, status="error", reason=text, provenance=Provenance(traceback=text)), {})
    test = TestScore(transductive=False, score=0.5, ci95=0.1, adaptation={text: [0.7, 0.5]})
    facts = Provenance(cpu=text, choice=StrategyChoice(text, {text: 1.0}, text))
    record = Record(trial=trial, status="ok", metric=text, tests={"transductive": test}, provenance=facts)
    return Outcome(record, {"transductive": {text: [[0.1, 0.2, 0.3], [0.2, 0.3, 0.5]]}})


def test_reports_escape_what_plugins_and_records_say(tmp_path):
    root = tmp_path / "results <i>"
    for number, text in enumerate(HOSTILE):
        for seed in range(3):
            store.write(root, hostile(text, f"a{number % 7}", f"s{number // 7}", seed))
    page = Elements(write_report(root, tmp_path / "page").read_text())
    assert page.tags["script"] == 2  # ours, and the trials as JSON
    assert not {"img", "i"} & set(page.tags)
    assert page.tags["h1"] == 1
    assert not any(
        name.startswith("on") or (value or "").startswith("javascript:") for name, value in page.attributes
    )
    notes = (tmp_path / "page" / "report.md").read_text()
    for element in ("<script", "<img", "<svg", "<h1", "![x](java"):
        assert element not in notes
    tables = [line for line in notes.splitlines() if line.startswith("|")]
    rows = [line.replace("\\\\", "").replace("\\|", "").count("|") for line in tables]
    assert set(rows) == {3, 6, 16}  # as many cells as the tables' heads have

"""Every number on the pages of the committed results, computed once more from the records on a short path of its own.

Nothing of `metabench.report` is used for it but the way in which numbers are written (`formatting`).
"""

from __future__ import annotations

import html
import itertools
import json
import math
import re
from bisect import bisect_left as bisect
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats

from metabench.report import formatting
from metabench.report.build import Report, build_report
from tests.sketches import sketched

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("every number")]  # what it looks at is made once

ROOT = Path(__file__).parents[2]
OTHER = {"papers", "papers-navigation", "estimators", "cheetah", "crossing"}
"""Several problems of one suite, one algorithm, or one seed; test_papers.py holds what is shown of published numbers,
and test_crossing_page.py and test_acting_page.py what their pages say."""
RESULTS = sorted({folder.name for folder in ROOT.glob("results/*")} - OTHER)
ALPHA = 0.05
MOST_TASKS = 10**4
Cells = dict[str, np.ndarray]


class Reader(HTMLParser):
    """The texts of table cells, list items, leading paragraphs and `aria-label`s, by their section's id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.section, self.table, self.open = "", "", ""
        self.rows: dict[tuple[str, str], list[list[str]]] = {}
        self.sentences: dict[str, list[str]] = {}
        self.labels: dict[str, list[str]] = {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag == "section":
            self.section = found.get("id", "")
        if tag == "svg" and "aria-label" in found:
            self.labels.setdefault(self.section, []).append(found["aria-label"])
        if tag == "div" and found.get("role") == "region":
            self.table = found["aria-label"]
        if tag == "tr":
            self.rows.setdefault((self.section, self.table), []).append([])
        if tag in ("td", "th") and (self.section, self.table) in self.rows:
            self.rows[self.section, self.table][-1].append("")
        if tag in ("p", "li"):
            self.sentences.setdefault(self.section, []).append("")
        if tag in ("td", "th", "p", "li"):
            self.open = tag

    def handle_endtag(self, tag):
        if tag == self.open:
            self.open = ""

    def handle_data(self, data):
        if self.open in ("td", "th"):
            self.rows[self.section, self.table][-1][-1] += data
        elif self.open:
            self.sentences[self.section][-1] += data


class Suite:
    """One suite's trials, as raw JSON."""

    def __init__(self, name: str, folders: list[Path]) -> None:
        self.name = name
        self.records: dict[str, list[dict]] = {}
        self.steps: dict[str, np.ndarray] = {}
        scores: dict[str, list] = {}
        pairs = [(json.loads((folder / "record.json").read_text(encoding="utf-8")), folder) for folder in folders]
        for record, folder in sorted(pairs, key=lambda each: each[0]["trial"]["seed"]):
            if record["status"] == "unfit":
                continue
            assert record["status"] == "ok"
            algorithm = record["trial"]["algorithm"]
            self.records.setdefault(algorithm, []).append(record)
            found = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
            scores.setdefault(algorithm, []).append(judged(found)[record["metric"]])
        self.steps = {algorithm: np.array(each).swapaxes(0, 1) for algorithm, each in scores.items()}  # [step, s, t]
        any_record = next(iter(self.records.values()))[0]
        self.metric, self.sign = any_record["metric"], 1 if any_record["higher_is_better"] else -1
        self.final: Cells = {algorithm: each[-1] for algorithm, each in self.steps.items()}
        self.order = sorted(self.final, key=lambda name: -self.sign * self.final[name].mean())
        self.shared = shared(self)

    def score(self, value: float) -> str:
        return formatting.score(float(value), self.metric)

    def mean(self, algorithm: str, field: str) -> float:
        return float(np.mean([record[field] for record in self.records[algorithm]]))

    def time(self, algorithm: str, field: str) -> str:
        found = [record[field] for record in self.records[algorithm]]
        return formatting.timing(float(np.mean(found)), float(np.std(found, ddof=1)))

    def curve(self, algorithm: str, field: str) -> np.ndarray:
        """[seeds, points]"""
        return np.array([[point[field] for point in record["curve"]] for record in self.records[algorithm]], float)

    def trained(self, algorithm: str) -> bool:
        return len(self.records[algorithm][0]["curve"]) > 1


def judged(by_protocol: dict) -> dict:
    """What there is of the one protocol."""
    (found,) = by_protocol.values()
    return found


def parts(cells: np.ndarray) -> tuple[float, float, float]:
    """Mean squares of seeds, tasks and the rest."""
    seeds, tasks = cells.shape
    rows, columns, all_ = cells.mean(1, keepdims=True), cells.mean(0, keepdims=True), cells.mean()
    return (
        tasks * rows.var(ddof=1),
        seeds * columns.var(ddof=1),
        float(((cells - rows - columns + all_) ** 2).sum()) / ((seeds - 1) * (tasks - 1)),
    )


class Shared(NamedTuple):
    """What all pairs say of the variance of a pair's seeds: worth so many degrees of freedom."""

    degrees: float = 0.0
    variance: float = 0.0


NOTHING = Shared()


def shared(suite: Suite) -> Shared:
    """Smyth (2004), by the moments of the logarithm of a gamma variable and by bisection."""
    pairs = [suite.final[a].mean(1) - suite.final[b].mean(1) for a, b in itertools.combinations(suite.order, 2)]
    variances, freedom, units = (
        np.array([np.var(each, ddof=1) for each in pairs]),
        len(pairs[0]) - 1,
        len(suite.order),
    )
    if units < 3:
        return Shared()
    logs = np.log(np.maximum(variances, np.median(variances) / 1e5))
    seen, chance = logs.var(ddof=1), stats.loggamma.var(freedom / 2)
    limit = seen * (units - 1) / stats.chi2.ppf(0.1, units - 1)
    few, many = (log_spread(max(each - chance, 1e-6)) for each in (limit, seen))
    scale = logs.mean() - mean_log(freedom) + mean_log(many)
    return Shared(few, math.exp(scale))


def mean_log(degrees: float) -> float:
    """Of a chi-squared variable over its degrees of freedom."""
    return float(stats.loggamma.mean(degrees / 2) - math.log(degrees / 2))


def log_spread(variance: float) -> float:
    """The degrees of freedom for which log(chi-squared) has this variance."""
    low, high = -12.0, 16.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if stats.loggamma.var(math.exp(middle) / 2) > variance else (low, middle)
    return math.exp(low)


def variances(squares: tuple[float, float, float], seeds: int, tasks: int, prior: Shared) -> tuple[float, ...]:
    """Of the grand mean, by seeds and by tasks, and the degrees of freedom of either."""
    of_seed, of_task, rest = squares
    known = prior.degrees + seeds - 1
    seed = (prior.degrees * prior.variance + (seeds - 1) * of_seed / tasks) / known / seeds
    return seed, max(of_task - rest, 0) / seeds / tasks, known, tasks - 1


def width(
    squares: tuple[float, float, float], seeds: int, tasks: int, prior: Shared = NOTHING, comparisons: int = 1
) -> tuple[float, float, float]:
    """Half-width of the interval for the grand mean, standard error and degrees of freedom."""
    seed, task, of_seeds, of_tasks = variances(squares, seeds, tasks, prior)
    total = seed + task
    u = seed / total if total else 1.0
    degrees = 1 / (u / of_seeds + (1 - u) / of_tasks)
    level = 0.95 ** (1 / comparisons)
    near, far = (
        math.hypot(
            *(stats.t.ppf((1 + at) / 2, d) * math.sqrt(part) for part, d in ((seed, of_seeds), (task, of_tasks)))
        )
        for at in (0.95, level)
    )
    return stats.t.ppf(0.975, degrees) * math.sqrt(total) * (far / near if near else 1.0), math.sqrt(total), degrees


def interval(cells: np.ndarray) -> tuple[float, float]:
    """Mean and half-width at 95%."""
    return cells.mean(), width(parts(cells), *cells.shape)[0]


def gap_to(suite: Suite, a: str, b: str) -> tuple[float, float]:
    """What `a` gains over `b`, and half the interval that holds with those of all pairs."""
    cells, pairs = suite.sign * (suite.final[a] - suite.final[b]), math.comb(len(suite.order), 2)
    return cells.mean(), width(parts(cells), *cells.shape, suite.shared, pairs)[0]


def behind(suite: Suite) -> dict[str, tuple[float, float, float]]:
    """Algorithm -> what it lacks to the best mean, and low and high of what it lacks to the best, whoever that is."""
    apart = {(a, b): gap_to(suite, a, b) for a, b in itertools.permutations(suite.order, 2)}
    beaten = {a for (a, b), (gap, half) in apart.items() if gap + half < 0}
    found = {}
    for a in suite.order:
        others = [b for b in suite.order if b != a]
        high = min(0.0, *(sum(apart[a, b]) for b in others))
        low = min(0.0, high, *(apart[a, b][0] - apart[a, b][1] for b in others if b not in beaten))
        lead = apart[a, suite.order[0]][0] if a != suite.order[0] else 0.0
        found[a] = (suite.sign * lead, *sorted((suite.sign * low, suite.sign * high)))
    return found


def close(suite: Suite) -> list[str]:
    return [name for name, (_, low, high) in behind(suite).items() if low <= 0 <= high and name != suite.order[0]]


def needs(cells: np.ndarray, comparisons: int, prior: Shared) -> tuple[float, str]:
    """What this design finds 8 times in 10, and what would find the difference that was seen."""
    seeds, tasks = cells.shape
    of_seed, of_task, rest = parts(cells)
    seed, task = max(of_seed - rest, 0) / tasks, max(of_task - rest, 0) / seeds

    def finds(s: int, t: int) -> float:
        half, error, degrees = width((t * seed + rest, s * task + rest, rest), s, t, prior, comparisons)
        return half + stats.t.ppf(0.8, degrees) * error

    more = next((str(s) for s in range(2, 201) if finds(s, tasks) <= abs(cells.mean())), "more than 200")
    wider = f"more than {MOST_TASKS:,}"
    if finds(seeds, MOST_TASKS) <= abs(cells.mean()):
        wider = f"{bisect(range(MOST_TASKS), True, 2, key=lambda t: finds(seeds, t) <= abs(cells.mean())):,}"
    return finds(seeds, tasks), f"{more} seeds, or {wider} tasks"


def sentences(suite: Suite) -> list[str]:
    """What stands on the suite's card."""
    others, near, gaps = suite.order[1:], close(suite), behind(suite)
    best = f"{suite.order[0]} ({formatting.with_interval(*interval(suite.final[suite.order[0]]), suite.metric)})"
    some, more = (near[:4], f"{len(near) - 4} more") if len(near) > 4 else (near[:-1], "".join(near[-1:]))
    listed = " and ".join(filter(None, (", ".join(some), more)))
    verb, unit = "is" if len(near) == 1 else "are", " points" * formatting.is_share(suite.metric)
    gap, *ends = gaps[others[0]]
    if not near:
        following = f"next is {others[0]}, {formatting.behind(gap, tuple(ends), suite.metric)}{unit}"
        lead = f"{best} is significantly better than every other; {following}."
    elif near == others:
        lead = f"{best} has the best mean; none of the others is separated from it."
    else:
        lead = f"{best} has the best mean; {listed} {verb} not separated from it, the others are."
    train, adapt = (suite.time(suite.order[0], field) for field in ("train_seconds", "adapt_ms"))
    cautions = []
    budgets = {name: each[0]["trial"]["budget"] for name, each in suite.records.items() if suite.trained(name)}
    tasks = {name: budget["updates"] * budget["meta_batch_size"] for name, budget in budgets.items()}
    for name, count in tasks.items():
        if count < max(tasks.values()):
            cautions.append(f"{name} saw {Fraction(count, max(tasks.values()))} of the tasks.")
    changes = {name: suite.sign * (steps[-1] - steps[0]) for name, steps in suite.steps.items()}
    worse = [name for name in suite.order if changes[name].mean() + interval(changes[name])[1] < 0]
    cautions += [f"Adaptation makes {', '.join(worse)} worse."] * bool(worse)
    return [lead, f"{suite.order[0]}: trained in {train} s, adapts to a task in {adapt} ms.", *cautions]


HEADINGS = (
    "algorithm", "score", "behind the best", "seeds", "seed SD", "transductive", "updates", "tasks seen",
    "inner gradients", "test steps", "train", "adapt", "memory", "precision", "strategy",
)  # fmt: skip


def table(suite: Suite) -> tuple[list[list[str]], str]:
    """The rows of scores, without what is alike in all of them; and that as a sentence."""
    gaps, rows = behind(suite), []
    for name in suite.order:
        first, seeds = suite.records[name][0], suite.final[name].shape[0]
        budget, (mean, half) = first["trial"]["budget"], interval(suite.final[name])
        gap, *ends = gaps[name]
        shown, mark = formatting.behind(gap, tuple(ends), suite.metric), " ≈" * (name in close(suite))
        if name == suite.order[0]:
            shown, mark = "–", " best"
        strategies = sorted({record["strategy"] for record in suite.records[name] if record["strategy"]})
        tasks = budget["updates"] * budget["meta_batch_size"] * suite.trained(name)
        steps = first["trial"]["algorithm_parameters"].get("inner_steps")
        rows.append([
            name + mark, formatting.with_interval(mean, half, suite.metric), shown, f"{seeds}",
            suite.score(suite.final[name].mean(1).std(ddof=1)),
            "yes" if judged(first["tests"])["transductive"] else "no",
            f"{budget['updates'] if suite.trained(name) else 0:,}", f"{tasks:,}",
            "–" if steps is None else f"{tasks * steps:,}", f"{budget['test_steps']}",
            suite.time(name, "train_seconds"), suite.time(name, "adapt_ms"),
            formatting.amount(max(record["peak_memory_mb"] for record in suite.records[name])),
            first["trial"]["precision"], ", ".join(strategies) or "–",
        ])  # fmt: skip
    alike = {at for at in range(3, len(HEADINGS)) if len({row[at] for row in rows}) == 1}
    said = ", ".join(f"{HEADINGS[at]} {rows[0][at]}" for at in sorted(alike) if rows[0][at] != "–")
    return [[text for at, text in enumerate(row) if at not in alike] for row in rows], f"For all: {said}."


def figures(suite: Suite) -> dict[str, list[str]]:
    """Title of a figure -> the clauses of its words, in any order."""
    score, order, final = suite.score, suite.order, suite.final
    best, trained = order[0], [name for name in order if suite.trained(name)]
    others = order[1:]
    plain = {name: suite.curve(name, "score").mean(0) for name in order}
    seconds = {name: suite.curve(name, "train_seconds").mean(0)[-1] for name in trained}
    updates = {name: suite.curve(name, "update")[0, -1] for name in trained}

    def ends(unit) -> list[str]:
        moved = [f"{n} from {score(plain[n][0])} to {score(plain[n][-1])} in {unit(n)}" for n in trained]
        return moved + [f"{n} (not trained) at {score(plain[n].mean())}" for n in order if n not in trained]

    found = {
        "Test score": [f"{n} {formatting.with_interval(*interval(final[n]), suite.metric)}" for n in order],
        "Learning curves": ends(lambda n: f"{updates[n]:,.0f} updates"),
        "Score against training time": ends(lambda n: f"{formatting.amount(seconds[n])} s"),
        "Adaptation": [
            f"{n} from {score(suite.steps[n][0].mean())} before the first to {score(final[n].mean())} "
            f"after {len(suite.steps[n]) - 1}" for n in order
        ],
    }  # fmt: skip
    wins = {n: suite.sign * (final[n] - final[best]) for n in others}
    chances = {n: np.where(gap > 0, 1.0, np.where(gap < 0, 0.0, 0.5)) for n, gap in wins.items()}
    gaps, near = behind(suite), close(suite)
    found["Difference to the best"] = [
        f"{n} {formatting.behind(gaps[n][0], gaps[n][1:], suite.metric)}{', not separated' * (n in near)}"
        for n in others
    ]
    found["Probability of improvement"] = []
    for n, cells in chances.items():
        half, *_ = width(parts(cells), *cells.shape, comparisons=len(others))
        mark = ", not separated" * bool(abs(cells.mean() - 0.5) <= half)
        found["Probability of improvement"].append(
            f"{n} {formatting.with_interval(cells.mean(), half, 'accuracy')}{mark}"
        )
    middle = np.median(np.concatenate([each.ravel() for each in final.values()]))
    shares = {n: (suite.sign * final[n] >= suite.sign * middle).mean() for n in order}
    found["Performance profiles"] = [f"{n} {100 * share:.0f}%" for n, share in shares.items()]
    found["Performance profiles"][0] = f"tasks that reach {score(middle)}: {found['Performance profiles'][0]}"
    ranks = stats.rankdata(np.stack([-suite.sign * final[n].mean(0) for n in order]), axis=0).mean(1)
    found["Average ranks"] = [", ".join(f"{n} {rank:.2f}" for rank, n in sorted(zip(ranks, order)))]
    found["Scores of single tasks"] = [
        "{} median {}, half of the tasks from {} to {}".format(
            n, *(score(np.quantile(final[n].mean(0), q)) for q in (0.5, 0.25, 0.75))
        ) for n in order
    ]  # fmt: skip
    mine = final[best].mean(0)
    found["Which tasks are hard for whom"] = [
        f"{best} scores better than {n} on {(suite.sign * (mine - final[n].mean(0)) > 0).mean():.0%} of "
        f"{len(mine):,} tasks, correlation {np.corrcoef(mine, final[n].mean(0))[0, 1]:.2f}".replace("-", "−")
        for n in others[:4]
    ]
    return found | costs(suite, plain, trained)


def costs(suite: Suite, plain: Cells, trained: list[str]) -> dict[str, list[str]]:
    """The figures of speed."""
    better = np.max if suite.sign > 0 else np.min
    points = {n: [suite.curve(n, field) for field in ("update", "train_seconds", "score")] for n in suite.order}

    def within(name: str, limit: float, field: int) -> str:
        spent, scores = points[name][field], points[name][2]
        return suite.score(np.mean([better(row[cost <= limit]) for row, cost in zip(scores, spent)]))

    quickest = min(points[n][1][:, -1].max() for n in trained)
    fewest = min(points[n][0][:, -1].max() for n in trained)
    equal = [f"within {formatting.amount(quickest)} s {n} {within(n, quickest, 1)}" for n in suite.order]
    equal += [f"within {fewest:,.0f} updates {n} {within(n, fewest, 0)}" for n in suite.order]
    low = max(suite.sign * each[0] for each in plain.values())
    high = max(suite.sign * np.mean([better(row) for row in points[n][2]]) for n in trained)
    targets = []
    for goal in (suite.sign * (low + share * (high - low)) for share in (0.5, 0.75, 0.9)):
        for name in trained:
            hit = [
                next((cost for cost, value in zip(*row) if suite.sign * value >= suite.sign * goal), math.inf)
                for row in zip(*points[name][1:])
            ]
            reached, median = sum(map(math.isfinite, hit)), float(np.median(hit))
            took = f"in {formatting.amount(median)} s" if median < math.inf else "not by most" if reached else "never"
            targets.append(f"{name} to {suite.score(goal)} {took} (reached by {reached} of {len(hit)} seeds)")
    cost = []
    for n in suite.order:
        cost.append(f"{n} adaptation (ms a task) {formatting.amount(suite.mean(n, 'adapt_ms'))}")
        memory = max(record["peak_memory_mb"] for record in suite.records[n])
        cost.append(f"{n} peak memory (MB) {formatting.amount(memory)}")
        if n in trained:
            rates = [
                r["trial"]["budget"]["updates"] * r["trial"]["budget"]["meta_batch_size"] / r["train_seconds"]
                for r in suite.records[n]
            ]
            cost.append(f"{n} training (tasks a second) {formatting.amount(float(np.mean(rates)))}")
    return {"Scores at equal cost": equal, "Time to a target": targets, "Score and cost": cost}


class Seen(NamedTuple):
    """A report, and the suites it is about."""

    reader: Reader
    text: str
    report: Report
    suites: list[Suite]
    committed: Reader
    """The page in the repository."""


@pytest.fixture(scope="module", params=RESULTS)
def seen(request) -> Seen:
    with sketched():
        report = build_report([ROOT / "results" / request.param], formats=["svg"])
    folders: dict[str, list[Path]] = {}
    for file in ROOT.glob(f"results/{request.param}/*/record.json"):
        folders.setdefault(json.loads(file.read_text(encoding="utf-8"))["trial"]["suite"], []).append(file.parent)
    text = report.files["index.html"].decode()
    committed = Reader((ROOT / "reports" / request.param / "index.html").read_text("utf-8"))
    return Seen(Reader(text), text, report, [Suite(name, found) for name, found in folders.items()], committed)


def test_there_are_reports():
    assert "quickstart" in RESULTS


def test_tables(seen):
    for suite in seen.suites:
        rows, alike = table(suite)
        assert seen.reader.rows[suite.name, f"Scores on {suite.name}"][1:] == rows
        assert any(alike in said for said in seen.reader.sentences[suite.name])


def test_the_committed_page_has_these_numbers(seen):
    scores = [(suite.name, f"Scores on {suite.name}") for suite in seen.suites]
    for place in (*([("answers", "All suites")] if len(scores) > 1 else []), *scores):
        assert seen.committed.rows[place] == seen.reader.rows[place]


def test_cards(seen):
    said = seen.reader.sentences["answers"]
    expected = [sentence for suite in seen.suites for sentence in sentences(suite)]
    assert [sentence for sentence in expected if sentence not in said] == []
    for kind in ("of the tasks.", "Adaptation makes"):
        assert sum(kind in each for each in said) == sum(kind in each for each in expected)


def test_the_matrix(seen):
    """Of more than one suite."""
    if len(seen.suites) == 1:
        assert ("answers", "All suites") not in seen.reader.rows
        return
    head, *rows = seen.reader.rows["answers", "All suites"]
    for at, suite in enumerate(sorted(seen.suites, key=lambda each: each.name)):
        assert head[1 + at].startswith(suite.name)
        expected = {n: formatting.with_interval(*interval(suite.final[n]), suite.metric) for n in suite.order}
        assert {row[0]: row[1 + at] for row in rows} == expected


def test_what_the_intervals_rest_on(seen):
    for suite in seen.suites:
        seeds, more = len(suite.final[suite.order[0]]), suite.shared.degrees
        said = (
            f"Between seeds a difference has {seeds - 1} degree{'s' * (seeds > 2)} of freedom of its own and "
            f"{'over 100' if more > 100 else f'{more:.1f}'} that all pairs share (Smyth 2004)."
        )
        assert any(said in sentence for sentence in seen.reader.sentences[suite.name]) == bool(more)


def test_all_pairs(seen):
    significant = 0
    for suite in seen.suites:
        names, *rows = seen.reader.rows[suite.name, f"All pairs on {suite.name}"]
        assert names[1:] == [row[0] for row in rows] == suite.order
        for a, row in zip(suite.order, rows):
            for b, text in zip(suite.order, row[1:]):
                gap = float((suite.final[a] - suite.final[b]).mean())
                shown = formatting.difference(gap, None, suite.metric).removesuffix(" points")
                assert text == ("" if a == b else shown)
                if a != b:
                    gap, half = gap_to(suite, a, b)
                    significant += abs(gap) > half
    assert seen.text.count('class="significant"') == significant


def test_what_is_not_separated(seen):
    reader, suites = seen.reader, seen.suites
    for suite in suites:
        expected = []
        for name in close(suite):
            cells = suite.final[name] - suite.final[suite.order[0]]
            smallest, needed = needs(cells, math.comb(len(suite.order), 2), suite.shared)
            share, (gap, *ends) = formatting.is_share(suite.metric), behind(suite)[name]
            seen = f"{100 * smallest:.3g} points" if share else formatting.decimal(smallest)
            expected.append([name, formatting.behind(gap, tuple(ends), suite.metric), seen, needed])
        shown = reader.rows.get((suite.name, f"Not separated on {suite.name}"), [[]])[1:]
        assert [[row[0], row[1], *row[3:]] for row in shown] == expected


def test_figures(seen):
    """Every clause of every figure's words; examples have a test of their own (test_examples.py)."""
    for suite in seen.suites:
        expected, titles = figures(suite), set()
        for picture in seen.report.figures.values():
            title, words = picture.title, picture.words
            if not picture.alternative.startswith(f"{title} on {suite.name}: "):
                continue
            titles.add(title)
            for clause in expected.get(title, ()):
                assert clause in words, (title, suite.name)
            said = len(re.split("; ", words)) - (2 if title == "Average ranks" else 0)
            if title == "Average ranks":
                said = 1
            if title in expected:
                assert said == len(expected[title]), (title, "says more than was computed")
        assert set(expected) <= titles


def test_all_trials(seen):
    text, suites = seen.text, seen.suites
    found = re.search(r'<script type="application/json" id="trials-data">(.*?)</script>', text, re.DOTALL)
    trials = {each["cells"][0]: each for each in json.loads(html.unescape(found[1]))["trials"]}
    records = [record for suite in suites for each in suite.records.values() for record in each]
    assert len(trials) == len(records)
    for record in records:
        trial, name = record["trial"], f"{record['trial']['suite']}-{record['trial']['algorithm']}-s"
        (shown,) = [each for each in trials.values() if each["cells"][0].startswith(f"{name}{trial['seed']}-")]
        score = judged(record["tests"])["score"]
        assert shown["cells"][1:6] == [
            trial["algorithm"], trial["suite"], trial["seed"], "ok",
            [formatting.score(score, record["metric"]), float(f"{score:.6g}")],
        ]  # fmt: skip
        for cell, field in zip(shown["cells"][6:], ("train_seconds", "adapt_ms", "peak_memory_mb")):
            value = formatting.amount(record[field]) if "memory" in field else formatting.rounded(record[field], 2)
            assert cell == [value, float(f"{record[field]:.6g}")]
        for point, (update, seconds, loss, value) in zip(record["curve"][-25:], shown["curve"], strict=True):
            assert update == point["update"]
            assert (seconds, value) == pytest.approx((point["train_seconds"], point["score"]), rel=1e-5)
            assert loss is None or loss == pytest.approx(point["train_loss"], rel=1e-5)


def test_the_headline(seen):
    reader, suites = seen.reader, seen.suites
    records = [record for suite in suites for each in suite.records.values() for record in each]
    algorithms = {record["trial"]["algorithm"] for record in records}
    suites_ = f"{len(suites)} suite{'s' * (len(suites) > 1)}"
    assert (
        f"{len(records)} trials (all ok): {len(algorithms)} algorithms on {suites_}, "
        f"{len({record['trial']['seed'] for record in records})} seeds, "
        f"{records[0]['trial']['budget']['test_tasks']} test tasks."
    ) in reader.sentences[""]

"""The figures of speed, of single tasks and of examples: their numbers are those of the records."""

from __future__ import annotations

import io
import re
import statistics as plain
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from xml.etree.ElementTree import fromstring

import msgspec
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from PIL import Image

from metabench.records import store
from metabench.records.record import Example, Examples, Outcome, Record
from metabench.records.trials import Budget
from metabench.report import figures
from metabench.report.analysis import speed
from metabench.report.collect import configurations
from metabench.report.figures import catalogue, encoding, style, tooltips
from metabench.report.figures.convergence import norms
from metabench.report.figures.scores import Kind
from metabench.report.page import inline_svg
from tests import builders

KINDS = catalogue.kinds()
TASKS, UPDATES, STEPS = 40, 100, 3

# By algorithm: validation scores at updates 0, 20 ... 100, a row a seed; seconds an update.
CURVES = {
    "quick": ([[0.2, 0.4, 0.5, 0.5, 0.55, 0.5], [0.22, 0.3, 0.4, 0.5, 0.52, 0.6]], 0.1),
    "slow": ([[0.2, 0.3, 0.5, 0.7, 0.75, 0.8], [0.22, 0.4, 0.5, 0.6, 0.7, 0.75]], 0.4),
    "never": ([[0.2, 0.2, 0.21, 0.22, 0.2, 0.2], [0.22, 0.2, 0.2, 0.2, 0.2, 0.2]], 0.2),
    "untrained": ([[0.2], [0.22]], 0.0),
}


def made(algorithm: str, seed: int, curve: list[float], pace: float, **changes) -> Outcome:
    """A record with this validation curve, and test scores that go with its end."""
    metric = changes.pop("metric", "accuracy")
    protocols = changes.pop("protocols", ("transductive",))
    trial = builders.trial(
        algorithm,
        changes.pop("suite", "toys"),
        seed,
        budget=Budget(updates=UPDATES, test_tasks=TASKS, test_steps=STEPS, meta_batch_size=8),
        protocol="both" if len(protocols) > 1 else protocols[0],
    )
    rng = np.random.default_rng([seed, *algorithm.encode()])
    task = np.random.default_rng(5).normal(size=TASKS)
    rise = np.linspace(curve[0], max(curve), STEPS + 1)[:, None]
    cells = rise * np.exp(0.2 * (task + rng.normal(size=(STEPS + 1, TASKS))))
    return builders.outcome(
        trial,
        {protocol: cells if protocol == "transductive" else 0.9 * cells for protocol in protocols},
        metric,
        curve=builders.points({20 * i: score for i, score in enumerate(curve)}, pace),
        selection="best on validation" if pace else "initial",
        train_seconds=UPDATES * pace,
        adapt_ms=2.0 + seed,
        peak_memory_mb=300.0 + seed,
        examples=changes.pop("examples", None),
    )


def stored(root: Path, outcomes: list[Outcome]) -> tuple[configurations.Configuration, ...]:
    for each in outcomes:
        store.write(root, each)
    return configurations.collect(store.records(root), root)


def everything() -> list[Outcome]:
    return [
        made(name, seed, curve, pace) for name, (curves, pace) in CURVES.items() for seed, curve in enumerate(curves)
    ]


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> tuple[configurations.Configuration, ...]:
    return stored(tmp_path_factory.mktemp("results"), everything())


def draw(kind, members):
    """The figure, its words and its bytes."""
    looks = style.looks(group.algorithm for group in members)
    with style.drawing("test"):
        drawn = kind.draw(members, looks)
        return drawn and (*drawn, encoding.encoded(drawn[0], "svg"))


def kind(name: str) -> Kind:
    return next(each for each in KINDS if each.name == name)


def by_hand() -> dict[float, dict[str, list[float]]]:
    """Target -> algorithm -> updates to it a seed, infinite for never."""
    low = max(plain.mean(curve[0] for curve in curves) for curves, _ in CURVES.values())
    high = max(plain.mean(map(max, curves)) for curves, _ in CURVES.values())
    found = {}
    for target in (low + share * (high - low) for share in speed.SHARES):
        found[target] = {
            name: [next((20.0 * i for i, score in enumerate(curve) if score >= target), np.inf) for curve in curves]
            for name, (curves, _) in CURVES.items()
        }
    return found


def test_time_to_a_target_is_that_of_the_curves(known):
    frame = speed.targets(known)
    table = speed.table(known).set_index("algorithm")
    for (target, wanted), share in zip(by_hand().items(), speed.SHARES):
        for name, updates in wanted.items():
            rows = frame[(frame["algorithm"] == name) & (frame["share"] == share)].sort_values("seed")
            assert rows["target"].to_numpy() == pytest.approx([target] * 2)
            assert rows["updates"].fillna(np.inf).to_list() == updates
            pace = CURVES[name][1] or 1.0
            assert rows["seconds"].fillna(np.inf).to_list() == pytest.approx([pace * each for each in updates])
            assert rows["reached"].to_list() == [np.isfinite(each) for each in updates]
            middle = plain.median(updates)
            assert table[f"updates_to_{share:.0%}"[:-1]].fillna(np.inf)[name] == middle
            assert table[f"reached_{share:.0%}"[:-1]][name] == sum(map(np.isfinite, updates))


def test_a_miss_is_never_and_no_number(known):
    figure, words, _ = draw(kind("to-target"), known)
    assert words.count("never to ") == len(speed.SHARES)
    assert len(re.findall(r"never to [\d.]+% never \(reached by 0 of 2 seeds\)", words)) == len(speed.SHARES)
    assert "untrained" not in words
    for axes in figure.axes:
        assert [text.get_text() for text in axes.get_xticklabels()][-1] == "never"


def test_the_dots_of_time_to_a_target_are_the_seeds(known):
    figure, _, _ = draw(kind("to-target"), known)
    looks = style.looks(CURVES)
    trained = [name for name in sorted(CURVES) if name != "untrained"]
    for row, pace_of in enumerate((lambda name: CURVES[name][1], lambda name: 1.0)):
        for column, wanted in enumerate(by_hand().values()):
            axes = figure.axes[row * len(speed.SHARES) + column]
            drawn: dict[str, list[float]] = {name: [] for name in trained}
            for dots in axes.collections:
                if dots.get_linewidths()[0] == 0:  # a miss is a cross
                    for x, height in dots.get_offsets():
                        drawn[trained[int(height)]].append(float(x))
                        assert to_hex(dots.get_facecolor()[0]) == looks[trained[int(height)]].color
            for name in trained:
                hits = sorted(pace_of(name) * each for each in wanted[name] if np.isfinite(each))
                assert sorted(drawn[name]) == pytest.approx(hits), name


def test_scores_at_equal_cost_are_those_of_the_curves(known):
    table = speed.table(known).set_index("algorithm")
    quickest = min(UPDATES * pace for _, pace in CURVES.values() if pace)
    assert set(table["equal_seconds"]) == {quickest}
    assert set(table["equal_updates"]) == {UPDATES}
    for name, (curves, pace) in CURVES.items():
        last = int(min(UPDATES, quickest / pace if pace else 0) // 20)
        at_time = plain.mean(max(curve[: last + 1]) for curve in curves)
        assert table["validation_at_equal_seconds"][name] == pytest.approx(at_time)
        assert table["validation_at_equal_updates"][name] == pytest.approx(plain.mean(map(max, curves)))
        assert table["validation"][name] == table["validation_at_equal_updates"][name]
    long = speed.equal_time(known)
    assert set(long["time_of"]) == {"quick", "slow", "never"}
    mine = long[(long["time_of"] == "quick") & (long["algorithm"] == "slow")]["validation"].item()
    assert mine == pytest.approx(plain.mean([0.3, 0.4]))
    _, words, _ = draw(kind("equal-cost"), known)
    assert "within 10.0 s slow 35.00%" in words
    assert "within 100 updates slow 77.50%" in words


def test_rates_latency_and_memory_are_those_of_the_records(known):
    table = speed.table(known).set_index("algorithm")
    assert table["tasks_per_second"]["slow"] == pytest.approx(8 / 0.4)
    assert table["updates_per_second"]["quick"] == pytest.approx(10)
    assert np.isnan(table["tasks_per_second"]["untrained"])
    assert table["updates"]["untrained"] == 0
    assert set(table["adapt_ms"]) == {2.5}
    assert set(table["peak_memory_mb"]) == {301.0}
    _, words, _ = draw(kind("cost"), known)
    assert "slow training (tasks a second) 20.0" in words
    assert "untrained training" not in words


def test_for_errors_lower_is_nearer_the_target(tmp_path):
    falling = [made("down", 0, [4.0, 3.0, 2.0], 1.0, metric="mse"), made("up", 0, [4.5, 4.4, 4.2], 1.0, metric="mse")]
    table = speed.table(stored(tmp_path, falling)).set_index("algorithm")
    assert table["target_50"]["down"] == 3.0
    assert (table["updates_to_50"]["down"], table["reached_50"]["up"]) == (20, 0)
    assert np.isnan(table["updates_to_50"]["up"])


def test_the_distribution_is_that_of_the_tasks(known):
    figure, words, _ = draw(kind("distribution"), known)
    for group in known:
        values = np.mean(list(group.final.values()), axis=0)
        low, middle, high = (f"{100 * q:.2f}%" for q in np.percentile(values, [25, 50, 75]))
        assert f"{group.algorithm} median {middle}, half of the tasks from {low} to {high}" in words
        dots = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 1]
        assert any(line.get_xdata()[0] == pytest.approx(np.median(values)) for line in dots)


def test_pairs_are_over_the_same_tasks(known):
    figure, words, _ = draw(kind("pairs"), known)
    finals = {group.algorithm: np.mean(list(group.final.values()), axis=0) for group in known}
    best = max(finals, key=lambda name: finals[name].mean())
    rivals = sorted((name for name in finals if name != best), key=lambda name: -finals[name].mean())
    for axes, rival in zip(figure.axes, rivals):
        wins = sum(a > b for a, b in zip(finals[best], finals[rival])) / TASKS
        related = np.corrcoef(finals[best], finals[rival])[0, 1]
        assert f"{best} scores better than {rival} on {wins:.0%} of {TASKS} tasks, correlation {related:.2f}" in words
        drawn = np.asarray(axes.collections[0].get_offsets())
        assert drawn == pytest.approx(np.stack([finals[rival], finals[best]], axis=1))


def test_transductive_beside_inductive(tmp_path, known):
    assert draw(kind("protocols"), known) is None
    both = ("transductive", "inductive")
    outcomes = [made("a", seed, [0.2, 0.5], 1.0, protocols=both) for seed in range(3)]
    members = stored(tmp_path, [*outcomes, made("b", 0, [0.2, 0.4], 1.0)])
    _, words, _ = draw(kind("protocols"), members)
    gap = np.mean([0.1 * np.array(each.scores["transductive"]["accuracy"][-1]) for each in outcomes])
    assert f"a transductive by +{100 * gap:.2f} ± " in words
    assert "b transductive" not in words


def curve_examples() -> Examples:
    x = np.linspace(-1, 1, 30)
    tasks = [
        Example(support_x=[0.0, 0.5], support_y=[0.0, 0.5 * a], query_x=x.tolist(), query_y=(a * x).tolist(),
                predicted=[(0 * x).tolist(), (a * x / 2).tolist()])
        for a in (1.0, -2.0)
    ]  # fmt: skip
    return Examples(protocol="transductive", steps=[0, STEPS], tasks=tasks)


def image_examples(classes: int = 3) -> Examples:
    import base64
    import zlib

    def packed(count: int) -> str:
        return base64.b64encode(zlib.compress(bytes(range(16)) * count, 9)).decode()

    true = [float(i % classes) for i in range(6)]
    task = Example(support_x=packed(3), support_y=[0.0, 1.0, 2.0], query_x=packed(6), query_y=true,
                   predicted=[[0.0] * 6, [*true[:4], 0.0, 0.0]])  # fmt: skip
    return Examples(protocol="transductive", steps=[0, STEPS], shape=[1, 4, 4], tasks=[task, task])


def test_curves_are_those_that_were_kept(tmp_path):
    kept = curve_examples()
    outcomes = [made(name, 0, [2.0, 1.0], 1.0, metric="mse", examples=kept) for name in ("a", "b")]
    figure, words, svg = draw(kind("curves"), stored(tmp_path, outcomes))
    assert len(figure.axes) == 4
    assert len(svg) < 200_000
    true, before, after, support = figure.axes[1].lines
    assert list(true.get_ydata()) == kept.tasks[1].query_y
    assert list(support.get_ydata()) == [0.0, -1.0]
    assert list(before.get_ydata()) == kept.tasks[1].predicted[0]
    assert list(after.get_ydata()) == kept.tasks[1].predicted[1]
    for outcome in outcomes:
        first, last = (outcome.scores["transductive"]["mse"][step][0] for step in (0, STEPS))
        assert f"{outcome.record.trial.algorithm} {first:.3f} to {last:.3f}" in words


def test_a_sheet_counts_what_was_right(tmp_path):
    outcomes = [made(name, 0, [0.2, 0.5], 1.0, examples=image_examples()) for name in ("a", "b")]
    figure, words, svg = draw(kind("sheet"), stored(tmp_path, outcomes))
    assert "test task 1: a 4 of 6 query images right" in words
    assert b"<image" in svg
    boxed = [text for text in figure.axes[0].texts if text.get_bbox_patch()]
    assert [text.get_text() for text in boxed] == ["1"] * 4, "two that are not class 1, by both"
    assert draw(kind("curves"), stored(tmp_path, outcomes)) is None


def test_examples_of_another_form_are_left_out(tmp_path):
    bad = image_examples()
    tasks = [Example(support_x="no base64!", support_y=[0.0], query_x=[0.0], query_y=[0.0], predicted=[])]
    for index, change in enumerate(
        ({"tasks": tasks}, {"shape": [1, 5, 5]}, {"shape": [4]}, {"steps": [0, 99]}, {"tasks": []}, {"shape": []})
    ):
        fields = {name: getattr(bad, name) for name in bad.__struct_fields__}
        members = stored(tmp_path / str(index), [made("a", 0, [0.2, 0.5], 1.0, examples=Examples(**fields | change))])
        assert members[0].score() is not None
        assert draw(kind("sheet"), members) is None
        assert draw(kind("curves"), members) is None


@pytest.mark.parametrize("each", KINDS, ids=lambda each: each.name)
def test_nothing_breaks_where_little_is_known(each, tmp_path):
    lone = [made("a", 0, [0.2, 0.5], 1.0)]
    flat = [made("a", 0, [0.5], 0.0), made("b", 0, [0.5, 0.5], 1.0)]
    bare = [Outcome(_without_curve(made(name, 0, [0.5, 0.6], 1.0).record), made(name, 0, [0.5, 0.6], 1.0).scores)
            for name in ("a", "b")]  # fmt: skip
    perfect = [made("a", 0, [0.5, 0.6], 1.0), made("b", 0, [0.5, 0.6], 1.0)]
    ones = {"transductive": {"accuracy": [[1.0] * TASKS] * (STEPS + 1)}}
    perfect = [Outcome(of.record, ones) for of in perfect]
    zeros = {"transductive": {"mse": [[0.0] * TASKS] * (STEPS + 1)}}
    exact = [made("a", 0, [4.0, 3.0], 1.0, metric="mse"),
             Outcome(made("b", 0, [4.0, 3.0], 1.0, metric="mse").record, zeros)]  # fmt: skip
    failed = builders.failure(made("c", 0, [0.5], 0.0).record.trial)
    for index, outcomes in enumerate((lone, flat, bare, perfect, exact)):
        members = stored(tmp_path / str(index), [*outcomes, failed])
        assert {group.algorithm for group in members if not group.steps} == {"c"}
        drawn = draw(each, [group for group in members if group.steps])
        assert drawn is None or (drawn[1] and "nan" not in drawn[1])


def _without_curve(record: Record) -> Record:
    return Record(**{name: getattr(record, name) for name in record.__struct_fields__} | {"curve": []})


@pytest.mark.parametrize("each", KINDS, ids=lambda each: each.name)
def test_the_same_records_give_the_same_figure(each, known):
    """And whatever has an algorithm's color in it belongs to an algorithm."""
    one, other = draw(each, known), draw(each, known)
    assert (one is None) == (other is None)
    if one:
        assert one[1:] == other[1:]
        assert one[1]
        colors = {look.color for look in style.looks(group.algorithm for group in known).values()}
        drawn = one[0].findobj(lambda artist: isinstance(artist, Line2D | Text))
        owned = [artist for artist in drawn if to_hex(artist.get_color()) in colors]
        assert all(str(artist.get_gid()).startswith(style.MARK) for artist in owned)


@pytest.mark.slow
def test_a_thousand_trials_fit(tmp_path):
    """Ten algorithms at a hundred seeds: every figure can be drawn, and none is a burden to a page."""
    rng = np.random.default_rng(0)
    made_up = [
        made(f"algorithm-{name}", seed, np.sort(rng.uniform(0.2, 0.2 + 0.08 * name, 6)).tolist(), 0.1 * (1 + name))
        for name in range(10)
        for seed in range(100)
    ]
    members = stored(tmp_path, made_up)
    for each in KINDS:
        if drawn := draw(each, members):
            assert len(drawn[2]) < 400_000, each.name


FIGURE = """
from metabench.report.figures import style
from metabench.report.figures.convergence import norms
from metabench.report.figures.scores import Kind
from metabench.report.page import inline_svg


def draw(groups, looks):
    figure, axes = style.canvas(2)
    axes.plot([0, 1], [0, 1])
    return figure, f"{len(groups)} algorithms"


KINDS = (Kind("7 Other", "stranger", "A stranger", draw, "Found by its module."),)
"""


def test_a_figure_is_added_by_its_file_alone(known, tmp_path, monkeypatch):
    (tmp_path / "stranger_figures.py").write_text(FIGURE, encoding="utf-8")
    monkeypatch.setattr(figures, "__path__", [*figures.__path__, str(tmp_path)])
    names = [kind.name for kind in catalogue.kinds()]
    monkeypatch.delitem(sys.modules, "metabench.report.figures.stranger_figures")
    assert names == [*(kind.name for kind in KINDS), "stranger"]
    kind = catalogue.kinds()[-1]
    picture = catalogue.picture(
        kind, catalogue.Job("toys", "toys", known, style.looks(group.algorithm for group in known))
    )
    assert (picture.file, picture.section) == ("toys-stranger", "7 Other")
    assert picture.alternative == f"A stranger on toys: {len(known)} algorithms."
    assert b"<svg" in picture.content["svg"]


@pytest.mark.parametrize(("name", "width"), [("sans", 4.8), ("serif", 3.4)])
def test_a_style_is_a_font_and_a_width_and_what_figures_share_is_written_once(known, name, width):
    looks = style.looks(group.algorithm for group in known)
    job = catalogue.Job("toys", "toys", known, looks, ("svg",), style.STYLES[name])
    picture = catalogue.picture(kind("scores"), job)
    assert f'width="{72 * width:g}pt"'.encode() in picture.content["svg"]
    assert style.STYLES[name].font.replace(" ", "").encode() in picture.content["svg"], "in a file letters are drawn"
    shared = inline_svg.Shared()
    element = inline_svg.element(picture.drawing, "f1", 'with "quotes" & <', picture.titles, shared)
    once = str(shared.element())
    assert inline_svg.element(picture.drawing, "f1", 'with "quotes" & <', picture.titles, shared) == element
    assert shared.element() == once
    found = fromstring(element)
    assert {group.algorithm for group in known} <= {text.text for text in found.iter("text")}
    assert ("serif" in once) == (name == "serif")
    assert found.get("aria-label") == 'with "quotes" & <'
    shapes = {path.get("id") for path in fromstring(once).iter("path")}
    own = {each.get("id") for each in found.iter() if each.get("id")}
    used = {each.get("href").removeprefix("#") for each in found.iter("use")}
    assert used <= own | shapes
    assert all(each.startswith("f1-") for each in own)
    assert not any(color in element + once for color in (style.INK, style.GRID))
    points = [each.text for each in found.iter("title") if "accuracy" in (each.text or "")]
    assert len(points) == (2 + 3) * len(known), "of each algorithm the seeds, the mean and the ends of its interval"
    assert all(re.fullmatch(r"accuracy [\d.]+%", point) for point in points), "a row is no value"


def test_a_figure_of_many_algorithms_is_light_on_a_page(tmp_path):
    """A kilobyte an algorithm: a page of 27 on three suites, with four figures of each shown, is then below a MB."""
    names = [f"algorithm-{number}" for number in range(27)]
    members = stored(tmp_path, [made(name, 0, [0.2, 0.3, 0.5, 0.6, 0.7, 0.8], 1.0) for name in names])
    looks, shared = style.looks(names), inline_svg.Shared()
    for name in ("scores", "learning"):
        picture = catalogue.picture(kind(name), catalogue.Job("toys", "toys", members, looks, ()))
        element = inline_svg.element(picture.drawing, "f0", picture.alternative, picture.titles, shared)
        assert len(element) < 1_000 * len(names), name
    assert len(shared.element()) < 16_000, "ten colors, and sizes of markers"


def test_convergence_is_drawn_where_norms_are_known():
    """There is no logarithm of zero, and no norm before the first update."""
    records = []
    for found in ((4.0, 2.0, 0.0), (8.0, 6.0, 1.0)):
        points = builders.points({0: 0.1, 10: 0.2, 20: 0.3, 30: 0.4})
        curve = [
            msgspec.structs.replace(point, gradient_norm=norm)
            for point, norm in zip(points, (None, *found), strict=True)
        ]
        records.append(builders.record(builders.trial(), curve=curve))
    updates, values = norms(SimpleNamespace(scored_records=records))
    assert updates.tolist() == [10, 20]
    assert values.tolist() == [[4.0, 2.0], [8.0, 6.0]]


@pytest.mark.parametrize(("low", "high"), [(0.3, 0.9), (0.02, 7), (1e-6, 1e4)])
def test_a_logarithmic_axis_is_read_as_plain_numbers(low, high):
    with style.drawing("test"):
        figure, axes = style.canvas(2)
        axes.plot([0, 1], [low, high])
        style.log("y", axes)
        figure.draw_without_rendering()
    shown = [tick.get_text() for tick in axes.get_yticklabels() if low <= tick.get_position()[1] <= high]
    assert 1 <= len([float(text) for text in shown]) <= 12


def test_what_xml_has_no_place_for_ends_no_page():
    figure = Figure()
    figure.subplots().set_title("a\x01b\ufffe & <")
    assert "</svg>" in inline_svg.element(encoding.drawing(figure), "f1", "words", {}, inline_svg.Shared())


def test_pixels_know_how_many_are_an_inch():
    figure = Figure(figsize=(2, 1), dpi=150)
    with Image.open(io.BytesIO(encoding.encoded(figure, "png"))) as image:
        inches = np.array(image.size) / image.info["dpi"]
    assert inches == pytest.approx([2, 1], rel=0.01)


def test_a_place_among_names_has_no_number_and_what_stands_behind_the_numbers_its_name():
    axis = Figure().subplots().xaxis
    axis.set_ticks([0, 1], labels=["sgd", "adam"])
    assert tooltips.reading(axis, 1.0, named=False) == ""
    axis.set_ticks([0, 1_000, 1_100], labels=["0", "1,000", "never"])
    assert [tooltips.reading(axis, at, named=False) for at in (500.0, 1_100.0)] == ["500", "never"]


def test_a_tip_has_the_unit_of_its_axis(known):
    looks = style.looks(group.algorithm for group in known)
    picture = catalogue.picture(kind("differences"), catalogue.Job("toys", "toys", known, looks))
    values = {
        float(point.split()[-1].replace("−", "-")) for _, *points in picture.titles.values() for point in points
    }
    means = sorted(group.score().mean for group in known)
    assert {round(100 * (mean - means[-1]), 2) for mean in means[:-1]} <= values, "in points"


@pytest.mark.parametrize("name", ["scores", "learning", "differences", "distribution"])
def test_marks_are_their_algorithm_s_whatever_their_color(known, name):
    looks = style.looks(group.algorithm for group in known)
    blue = {algorithm: replace(look, color="#0173b2") for algorithm, look in looks.items()}
    one, other = (catalogue.picture(kind(name), catalogue.Job("toys", "toys", known, each)) for each in (looks, blue))
    assert one.titles == other.titles
    assert len({owner for owner, *_ in one.titles.values()}) >= len(looks) - 1, "the best has no difference to itself"

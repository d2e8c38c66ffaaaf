"""Figures of speed: time and updates to a target, scores at equal cost, what adapting costs beside the score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from metabench.report import formatting
from metabench.report.analysis import speed
from metabench.report.collect.configurations import Configuration, first_of_each
from metabench.report.figures import ends, style
from metabench.report.figures.scores import Drawn, Kind, strokes
from metabench.report.figures.style import Look

NEVER = 1.16
"""Where a miss is drawn, as a share of the longest time."""


def to_target(groups: Sequence[Configuration], looks: Mapping[str, Look]) -> Drawn | None:
    """Seconds above, updates below, a panel for each target: a dot a seed, a bar at the median, a cross for never."""
    members = [group for group in speed.once(groups) if speed.is_trained(group)]
    goals = speed.targets_of(speed.once(groups))
    if not goals:
        return None
    figure, panels = style.panels(2, len(goals), 1.6 + 0.44 * len(members), share_y="all")
    words = []
    for column, (share, target) in enumerate(goals.items()):
        hits = [[speed.reached(record, target) for record in speed.validated(group)] for group in members]
        for index, unit in enumerate(("seconds of meta-updates", "meta-updates")):
            axes = panels[index, column]
            costs = [[(hit.train_seconds, hit.update)[index] if hit else None for hit in seeds] for seeds in hits]
            longest = max(speed.spent(group)[index] for group in members) or 1.0
            rows(axes, [(group, looks[group.algorithm]) for group in members], costs, longest)
            axes.set_xlabel(unit if column == len(goals) // 2 else "", fontsize=style.SMALL)
        goal = formatting.score(target, members[0].metric)
        style.title(panels[0, column], f"{goal}\n{style.wrap(f'({share:.0%} of the way)', style.fit(18))}")
        for group, seeds in zip(members, hits):
            time = speed.median(hit.train_seconds if hit else None for hit in seeds)
            count = sum(hit is not None for hit in seeds)
            took = "not by most" if count else "never"
            if formatting.known(time):
                took = f"in {formatting.amount(time)} s"
            of_seeds = formatting.count(len(seeds), "seed")
            words.append(f"{group.algorithm} to {goal} {took} (reached by {count} of {of_seeds})")
    return figure, "; ".join(words)


def rows(
    axes: Axes, members: Sequence[tuple[Configuration, Look]], costs: Sequence[Sequence[float | None]], longest: float
) -> None:
    """One target: a row an algorithm, misses (None) at the right."""
    for height, ((_, look), seeds) in enumerate(zip(members, costs)):
        hit = [cost for cost in seeds if cost is not None]
        middle = speed.median(seeds)
        axes.scatter(hit, [height] * len(hit), s=13, **look.ink, marker=look.marker, alpha=0.7, linewidths=0)
        axes.plot([middle, middle], [height - 0.3, height + 0.3], **look.ink, linewidth=1.8)
        if missed := len(seeds) - len(hit):
            axes.scatter([NEVER * longest], [height], s=18, **look.ink, marker="x", linewidths=1.1)
            if missed < len(seeds):
                place = (NEVER * longest, height)
                axes.annotate(f"{missed}", place, (4, 0), textcoords="offset points", va="center", fontsize=6)
    axes.set_xlim(-0.04 * longest, 1.3 * longest)
    style.name_rows(axes, [group.algorithm for group, _ in members])
    ticks = [tick for tick in MaxNLocator(3).tick_values(0, longest) if 0 <= tick <= style.fit(90) / 100 * longest]
    axes.set_xticks([*ticks, NEVER * longest], [*(f"{tick:,g}" for tick in ticks), "never"])
    axes.tick_params(axis="x", labelsize=6.5)


def equal_cost(groups: Sequence[Configuration], looks: Mapping[str, Look]) -> Drawn | None:
    """The best validation score within the time of the quickest, and within the updates of the shortest training."""
    members = speed.once(groups)
    seconds, updates = speed.least(members)
    if not formatting.known(seconds):
        return None
    sides = (
        (f"within {formatting.amount(seconds)} s", partial(speed.best_of_seed, seconds=seconds)),
        (f"within {updates:,.0f} updates", partial(speed.best_of_seed, updates=updates)),
    )
    figure, panels = style.panels(1, 2, max(1.8, 0.9 + 0.3 * len(members)), share_x="all", share_y="all")
    words, means = [], []
    for axes, (title, value) in zip(panels[0], sides):
        for height, group in enumerate(members):
            look = looks[group.algorithm]
            seeds = [value(record) for record in speed.validated(group)]
            means.append(speed.mean(seeds))
            axes.scatter(seeds, [height + 0.24] * len(seeds), s=9, **look.ink, alpha=0.7, linewidths=0)
            axes.plot([means[-1]], [height], **look.ink, marker=look.marker, markersize=6)
            words.append(f"{title} {group.algorithm} {formatting.score(means[-1], group.metric)}")
        style.title(axes, title)
    for axes in panels[0]:
        style.scale("x", axes, means, members[0], prefix="validation ")
        style.name_rows(axes, [group.algorithm for group in members])
    return figure, "; ".join(words)


COSTS: tuple[tuple[str, Callable[[Configuration], float]], ...] = (
    ("adaptation\n(ms a task)", lambda group: speed.mean(record.adapt_ms for record in group.scored_records)),
    ("peak memory\n(MB)", speed.peak_memory),
    ("training\n(tasks a second)", speed.tasks_per_second),
)


def cost(groups: Sequence[Configuration], looks: Mapping[str, Look]) -> Drawn | None:
    """Test score against the time to adapt to one task, the peak memory and the tasks a second of training."""
    members = first_of_each(groups)
    shown = [(name, values) for name, of in COSTS if any(map(formatting.known, values := [of(g) for g in members]))]
    if not shown:
        return None
    figure, panels = style.panels(1, len(shown), 2.4, share_y="all")
    words, means = [], []
    for axes, (name, values) in zip(panels[0], shown):
        for group, value in zip(members, values):
            score, look = group.score(), looks[group.algorithm]
            if not formatting.known(value):
                continue
            axes.errorbar(
                value,
                score.mean,
                yerr=ends.arms(score, group),
                capsize=2,
                markersize=6,
                **strokes(look, opened=False),
            )
            means.append(score.mean)
            words.append(f"{group.algorithm} {name.replace(chr(10), ' ')} {formatting.amount(value)}")
        axes.set_xlim(0, 1.15 * max(filter(formatting.known, values)) or 1.0)
        axes.set_xlabel("\n".join(style.wrap(line, style.fit(18)) for line in name.splitlines()))
        axes.locator_params(axis="x", nbins=style.fit(4))
    for axes in panels[0]:
        style.scale("y", axes, means, members[0])
    for axes in panels[0, 1:]:
        axes.set_ylabel("")
    for group in members:
        look = looks[group.algorithm]
        panels[0, 0].plot([], [], **look.ink, marker=look.marker, linestyle="", label=group.algorithm)
    style.legend(figure, panels[0, 0])
    return figure, "; ".join(words)


KINDS: tuple[Kind, ...] = (
    Kind("4 Speed and cost", "to-target", "Time to a target", to_target,
         "Training until validation first reaches a target: a dot per seed, a bar at the median, a cross for seeds "
         "that never do."),
    Kind("4 Speed and cost", "equal-cost", "Scores at equal cost", equal_cost,
         "The best validation score within the time of the quickest training, and within the updates of the "
         "shortest; small dots are the seeds."),
    Kind("4 Speed and cost", "cost", "Score and cost", cost,
         "Test score against the time to adapt to one task (all inner steps), peak memory, and tasks a second of "
         "meta-training."),
)  # fmt: skip

"""The figures of one suite in every format, with their words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from metabench.report.collect.configurations import Configuration
from metabench.report.figures import examples, ranks, scores, speed, style, tasks, tooltips
from metabench.report.figures.scores import Kind

FIRST, TRAINING, COMPARED = "1 Scores", "2 Training and adaptation", "3 Who is better, and how surely"
COST, TASKS, EXAMPLES = "4 Speed and cost", "5 Single tasks", "6 Examples"
KINDS: tuple[tuple[str, Kind], ...] = (
    *((FIRST, kind) for kind in scores.KINDS[:2]),
    *((TRAINING, kind) for kind in scores.KINDS[2:]),
    *((COMPARED, kind) for kind in ranks.KINDS),
    *((COST, kind) for kind in speed.KINDS),
    *((TASKS, kind) for kind in tasks.KINDS),
    *((EXAMPLES, kind) for kind in examples.KINDS),
)
"""Every sort of figure under its heading, in the order of the page. A module of figures is added here alone."""


@dataclass(frozen=True)
class Picture:
    """A figure in its formats, and what it says in words."""

    file: str
    """Its name below figures/, without the ending."""
    group: str
    title: str
    caption: str
    alternative: str
    svg: bytes
    png: bytes
    pdf: bytes
    titles: tooltips.Titles


Looks = Mapping[str, style.Look]


def pictures(suite: str, slug: str, groups: Sequence[Configuration], looks: Looks) -> tuple[Picture, ...]:
    """The figures of a suite; none where nothing was scored."""
    if not groups:
        return ()
    drawn = (picture(place, suite, slug, groups, looks) for place in range(len(KINDS)))
    return tuple(each for each in drawn if each)


def picture(place: int, suite: str, slug: str, groups: Sequence[Configuration], looks: Looks) -> Picture | None:
    """The figure of one of the KINDS; None where there is nothing of its sort to show."""
    group, kind = KINDS[place]
    file = f"{slug}-{kind.name}"
    with style.drawing(file):
        drawn = kind.draw(groups, looks)
        if drawn is None:
            return None
        figure, words = drawn
        titles = tooltips.tag(figure, looks)
        style.fixed(figure)
        alternative = f"{kind.title} on {suite}: {words}."
        svg, png, pdf = style.svg(figure), style.png(figure), style.pdf(figure)
    return Picture(file, group, kind.title, kind.caption, alternative, svg, png, pdf, titles)

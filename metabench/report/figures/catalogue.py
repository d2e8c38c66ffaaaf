"""The figures of every suite in every format, with their words, drawn by several processes."""

from __future__ import annotations

import multiprocessing
import os
import pkgutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from typing import NamedTuple

from markupsafe import escape

from metabench.processes import hidden_main
from metabench.report import figures
from metabench.report.collect.configurations import Configuration
from metabench.report.figures import encoding, plots, style, tooltips
from metabench.report.figures.scores import Kind

MAX_SUITES_IN_PROCESS = 2
"""Suites up to which a process would take longer to start than to draw."""


@dataclass(frozen=True)
class Picture:
    """A figure in its formats, and what it says in words."""

    file: str
    """Its name below figures/, without the ending."""
    section: str
    title: str
    caption: str
    words: str
    """What it shows, number by number."""
    alternative: str
    """As much of it as an alternative text has room for."""
    content: dict[str, bytes]
    """Files by format."""
    drawing: bytes
    """What the page shows: SVG whose letters are the reader's."""
    titles: tooltips.Titles

    def _repr_svg_(self) -> str:
        """Itself, in a notebook."""
        return self.drawing.decode()


class Pictures(dict[str, Picture]):
    """Figures by name; all of them, with their captions, in a notebook."""

    def _repr_html_(self) -> str:
        shown = []
        for name, picture in self.items():
            svg, caption = picture._repr_svg_(), escape(f"{name}: {picture.caption}")
            shown.append(f"<figure>{svg[svg.index('<svg') :]}<figcaption>{caption}</figcaption></figure>")
        return "".join(shown)


Looks = Mapping[str, style.Look]


class Job(NamedTuple):
    """One suite, its scored configurations, best first, and how each algorithm is drawn."""

    suite: str
    slug: str
    groups: Sequence[Configuration]
    looks: Looks
    formats: tuple[str, ...] = tuple(encoding.FORMATS)
    """Those that are wanted as files."""
    dress: style.Dress = style.STYLES["sans"]
    others: Sequence[Configuration] = ()
    """Scored configurations of other suites, for what is trained on one suite and tested on another."""


def kinds() -> list[Kind]:
    """Every sort of figure, in the order of the page: a module beside this one is found by its KINDS; those of
    plugins come last."""
    names = [f"{figures.__name__}.{info.name}" for info in pkgutil.iter_modules(figures.__path__)]
    known = [kind for name in names for kind in getattr(import_module(name), "KINDS", ())]
    return [*sorted(known, key=lambda kind: kind.section), *plots.plugin_kinds()]


def draw(jobs: Sequence[Job]) -> list[tuple[Picture, ...]]:
    """The figures of each, the same whoever draws them."""
    workers = min(len(jobs), os.cpu_count() or 1)
    if workers > 1 and len(jobs) > MAX_SUITES_IN_PROCESS:
        spawn = multiprocessing.get_context("spawn")
        with suppress(BrokenProcessPool), hidden_main(), ProcessPoolExecutor(workers, spawn) as pool:
            return list(pool.map(pictures, jobs))
    return [pictures(job) for job in jobs]


def pictures(job: Job) -> tuple[Picture, ...]:
    """The figures of a suite; none where nothing was scored."""
    drawn = (picture(kind, job) for kind in (kinds() if job.groups else ()))
    return tuple(shown for shown in drawn if shown)


def brief(words: str, most: int = 220) -> str:
    """As many clauses as an alternative text has room for."""
    clauses = words.split("; ")
    kept = next(n for n in range(len(clauses), 0, -1) if n == 1 or len("; ".join(clauses[:n])) <= most)
    more = len(clauses) - kept
    return "; ".join(clauses[:kept])[: 2 * most] + (f"; and {more} more." if more else ".")


def picture(kind: Kind, job: Job) -> Picture | None:
    """The figure of one sort; None where there is nothing of it to show."""
    file = f"{job.slug}-{kind.name}"
    with style.drawing(file, job.dress):
        standing_out = style.strong(job.groups)
        looks = {name: replace(look, pale=name not in standing_out) for name, look in job.looks.items()}
        drawn = kind.draw([*job.groups, *job.others] if kind.across else job.groups, looks)
        if drawn is None:
            return None
        figure, words = drawn
        titles = tooltips.tag(figure, list(job.looks))
        encoding.fixed(figure)
        alternative = f"{kind.title} on {job.suite}: {brief(words)}"
        content = {form: encoding.encoded(figure, form) for form in job.formats}
        drawing = encoding.drawing(figure)
    return Picture(file, kind.section, kind.title, kind.caption, words, alternative, content, drawing, titles)

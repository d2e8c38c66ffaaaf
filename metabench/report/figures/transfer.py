"""The transfer gap of a suite that was trained on another: each algorithm, in-domain minus cross-domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.ticker import FuncFormatter

from metabench.report import formatting
from metabench.report.analysis.transfer import gaps
from metabench.report.collect.configurations import Configuration
from metabench.report.figures import scores, style
from metabench.report.figures.scores import Drawn, Kind
from metabench.report.figures.style import Look


def transfer(groups: Sequence[Configuration], looks: Mapping[str, Look]) -> Drawn | None:
    """A row for each algorithm, protocol and suite beside it; an open marker is the second protocol."""
    found = gaps(groups)
    if not found:
        return None
    figure, axes = style.canvas(max(1.8, 1.0 + 0.34 * len(found)))
    several = len({gap.near.suite for gap in found}) > 1
    protocols = list(dict.fromkeys(gap.far.protocol for gap in found))
    names, words = [], []
    for height, gap in enumerate(found):
        name = gap.far.algorithm + (f", {gap.far.protocol}" if len(protocols) > 1 else "")
        name += f", to {gap.near.suite}" if several else ""
        drawn = scores.strokes(looks[gap.far.algorithm], opened=gap.far.protocol != protocols[0])
        axes.errorbar(gap.gap.mean, height, xerr=gap.gap.half, capsize=3, markersize=6, **drawn)
        names.append(name)
        words.append(f"{name} {formatting.difference(gap.gap.mean, gap.gap.half, gap.far.metric)}")
    axes.axvline(0, color=style.INK, linewidth=0.9, linestyle=":")
    style.name_rows(axes, names, 30)
    unit = ""
    if formatting.is_share(found[0].far.metric):
        axes.xaxis.set_major_formatter(FuncFormatter(style.points))
        unit = ", points"
    first = "the other suite" if several else found[0].near.suite
    axes.set_xlabel(style.wrap(f"{found[0].far.metric}{unit}: {first} minus {found[0].far.suite}", style.fit(60)))
    return figure, f"{first} minus {found[0].far.suite}: {'; '.join(words)}"


KINDS = (
    Kind("3 Who is better, and how surely", "transfer", "Transfer gap", transfer,
         "Trained on the suite of the test, minus trained on another: the same test tasks, with a 95% interval over "
         "seeds and tasks.", across=True),
)  # fmt: skip

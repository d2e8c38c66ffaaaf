"""results/ -> a report: tables, figures and pages, a pure function of what was recorded. Imports no torch."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from metabench.errors import UserError, attempt, unknown
from metabench.records.columns import COLUMNS, Column
from metabench.records.files import write_atomically
from metabench.records.matching import mismatches
from metabench.records.record import skipped_pairs
from metabench.registry.published import load_published
from metabench.report import formatting, published
from metabench.report.analysis import findings, speed, statistics_tables, transfer
from metabench.report.analysis.summary import summary, trials
from metabench.report.collect import provenance, sweeps, tuning
from metabench.report.collect.configurations import collect
from metabench.report.collect.merge import merge, name_of
from metabench.report.figures.catalogue import Picture, Pictures
from metabench.report.figures.encoding import FORMATS
from metabench.report.figures.style import STYLES
from metabench.report.page import compared, model, trial_details
from metabench.report.page.matrices import matrix
from metabench.report.page.model import Page
from metabench.report.page.reading import reading
from metabench.report.page.render import render
from metabench.report.published import Beside


class Report(NamedTuple):
    """A report in memory."""

    files: dict[str, bytes]
    """Relative path -> content."""
    notes: tuple[str, ...]
    """What the reader should know before believing a comparison: mixtures, trials that are in two folders."""
    beside: tuple[Beside, ...]
    """Our numbers beside published ones."""
    tables: dict[str, pd.DataFrame]
    """What tables/ has as CSV, by name."""
    transfer: list[dict[str, str]]
    """Transfer gaps, as a reader sees them; see analysis.transfer."""
    figures: dict[str, Picture]
    """What figures/ has, by name."""


def figures(results: str | Path | Sequence[str | Path]) -> dict[str, Picture]:
    """Every figure of a report by its name, as `sinusoid-scores`: shown by a notebook, `.content["svg"]` as a file.

    Raises UserError where there is nothing to report.
    """
    folders = [results] if isinstance(results, str | Path) else results
    return Pictures(build_report(folders, formats=["svg"]).figures)


def write_report(
    results: str | Path | Sequence[str | Path],
    out: str | Path,
    against: str | None = None,
    formats: Sequence[str] = (),
    style: str = "sans",
) -> Path:
    """Write index.html, report.md, tables/ and figures/ into `out`; the same records give the same bytes.

    Several results folders are merged. `against` puts published numbers beside ours: "paper", or a TOML file.
    `formats` are those of the files in figures/; none: svg, pdf and png. The `style` of figures is "sans", or "serif"
    for a paper, as wide as a column. Returns the path of index.html. Raises UserError where there is nothing to
    report, or no writing to `out`.
    """
    folders = [results] if isinstance(results, str | Path) else results
    return save_report(build_report(folders, against, formats=formats, style=style), out)


def build_report(
    folders: Sequence[str | Path],
    against: str | None = None,
    columns: Sequence[Column] = COLUMNS,
    formats: Sequence[str] = (),
    style: str = "sans",
) -> Report:
    """See write_report; `columns` are those of its tables."""
    if style not in STYLES:
        raise UserError(unknown("style of figures", style, STYLES))
    for form in formats:
        if form not in FORMATS:
            raise UserError(unknown("format of figures", form, FORMATS))
    book = load_published(against) if against else None
    merged = merge(folders)
    records = merged.records
    if not records:
        named = "' or '".join(map(str, folders))
        raise UserError(f"There is no finished trial in '{named}'. `metabench run --out {folders[0]}` makes some.")
    fit = [record for record in records if record.status != "unfit"]
    if not fit:
        raise UserError(f"There is nothing to report in '{folders[0]}'. {' '.join(skipped_pairs(records))}")
    everything = collect(fit, merged.roots)
    groups = sweeps.chosen_of(everything)
    beside = tuple(published.against(groups, book)) if book else ()
    cautions = [
        *mismatches(fit), *tuning.cautions(groups), *sweeps.cautions(groups), *provenance.busy(fit), *merged.notes,
    ]  # fmt: skip
    mixtures = provenance.mixtures(fit)
    if book and not beside:
        cautions.append(published.nothing(groups, book))
    tables = {"summary": summary(groups, columns), "trials": trials(records, columns)}
    tables |= statistics_tables.tables(groups) | speed.tables(groups)
    tables |= transfer.tables(gaps := transfer.gaps(groups))
    tables |= sweeps.tables(groups) | {"settings": compared.settings(groups)}
    tables["provenance"] = pd.DataFrame(facts := provenance.provenance(fit))
    if book:
        tables["published"] = published.frame(beside)
    wanted = tuple(form for form in FORMATS if form in (formats or FORMATS))
    contested = model.contested(tables["summary"])
    page = Page(
        title=merged.name,
        line=model.headline(fit, everything),
        command=command(merged.roots.values(), against, formats, style),
        overall=tuple(findings.across(groups)),
        cautions=tuple(cautions),
        mixtures=tuple(mixtures),
        left_out=tuple(skipped_pairs(records)),
        matrix=matrix(contested),
        columns=tuple(columns),
        sections=model.sections(groups, contested, gaps, wanted, STYLES[style]),
        reading=reading(fit),
        transfer=transfer.shown(gaps),
        beside=beside,
        failures=compared.failed(everything),
        suites=compared.suites(groups),
        settings=compared.configurations(groups),
        tuning=tuning.lines(groups),
        provenance=facts,
        trials=trial_details.encoded(fit, columns),
        tables=tuple(tables),
        formats=wanted,
    )
    files = render(page) | {f"tables/{name}.csv": formatting.csv(table) for name, table in tables.items()}
    drawn = {picture.file: picture for section in page.sections for picture in section.pictures}
    return Report(files, (*cautions, *page.left_out, *mixtures), beside, tables, page.transfer, drawn)


def command(roots: Iterable[Path], against: str | None, formats: Sequence[str], style: str) -> str:
    """What makes a report again, where its results are in results/."""
    folders = dict.fromkeys(f"results/{name_of(root)}" for root in roots)
    options = ["--against", Path(against).name] if against else []
    options += ["--formats", ",".join(formats)] if formats else []
    options += ["--style", style] if style != "sans" else []
    return shlex.join(["metabench", "report", *folders, *options])


def save_report(report: Report, out: str | Path, refresh: float | None = None) -> Path:
    """Write its files; with `refresh` a browser loads the page again after so many seconds. Raises UserError."""
    out = Path(out)
    with attempt(f"write the report to '{out}'", "Choose another with --out."):
        for name, data in report.files.items():
            if refresh and name == "index.html":
                again = f'<head>\n<meta http-equiv="refresh" content="{refresh:.0f}">'
                data = data.replace(b"<head>", again.encode(), 1)
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(out / name, data)
    return out / "index.html"

"""results/ -> a report: tables, figures and pages, a pure function of what was recorded. Imports no torch."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from metabench.errors import UserError, unknown
from metabench.records.columns import COLUMNS, Column, shown_in
from metabench.records.files import write_atomically
from metabench.records.record import skipped_pairs

if TYPE_CHECKING:
    from pandas import DataFrame

    from metabench.records.record import Record

__all__ = ["Report", "build_report", "default_place", "save_report", "summary_table", "write_report"]


class TextTable(NamedTuple):
    """Texts for a terminal."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Report(NamedTuple):
    """A report in memory."""

    files: dict[str, bytes]
    """Relative path -> content."""
    notes: tuple[str, ...]
    """What the reader should know before believing a comparison: mixtures, trials that are in two folders."""
    published: list[dict[str, str]]
    """Our numbers beside published ones, as a reader sees them; see published.rows.shown."""
    tables: dict[str, DataFrame]
    """What tables/ has as CSV, by name."""


def write_report(
    results: str | Path | Sequence[str | Path],
    out: str | Path,
    against: str | None = None,
    formats: Sequence[str] = (),
) -> Path:
    """Write index.html, report.md, tables/ and figures/ into `out`; the same records give the same bytes.

    Several results folders are merged. `against` puts published numbers beside ours: "paper", or a TOML file.
    `formats` are those of the files in figures/; none: svg, pdf and png. Returns the path of index.html. Raises
    UserError where there is
    nothing to report, or no writing to `out`.
    """
    folders = [results] if isinstance(results, str | Path) else results
    return save_report(build_report(folders, against, formats=formats), out)


def build_report(
    folders: Sequence[str | Path],
    against: str | None = None,
    columns: Sequence[Column] = COLUMNS,
    formats: Sequence[str] = (),
) -> Report:
    """See write_report; `columns` are those of its tables."""
    from metabench.registry.published import load_published
    from metabench.report.analysis import speed, statistics_tables
    from metabench.report.analysis import summary as table
    from metabench.report.collect import configurations, default_settings, merge, provenance_differences, tuning
    from metabench.report.figures.style import FORMATS
    from metabench.report.page import model, render
    from metabench.report.published import comparison as published
    from metabench.report.published import rows as beside

    for form in formats:
        if form not in FORMATS:
            raise UserError(unknown("format of figures", form, FORMATS))
    book = load_published(against) if against else None
    merged = merge.merge(folders)
    records = merged.records
    if not records:
        named = "' or '".join(map(str, folders))
        raise UserError(f"There is no finished trial in '{named}'. `metabench run --out {folders[0]}` makes some.")
    fit = [record for record in records if record.status != "unfit"]
    if not fit:
        raise UserError(f"There is nothing to report in '{folders[0]}'. {' '.join(skipped_pairs(records))}")
    gathered = configurations.collect(fit, merged.roots)
    rows = published.against(gathered, book) if book else []
    lines = [
        *tuning.cautions(gathered),
        *default_settings.cautions(gathered),
        *merged.notes,
        *skipped_pairs(records),
        *provenance_differences.mixtures(fit),
    ]
    if book and not rows:
        lines.append(published.nothing(gathered, book))
    wanted = tuple(form for form in FORMATS if form in (formats or FORMATS))
    content, summary = model.compose(merged.name, fit, gathered, columns, wanted)
    shown = [beside.shown(row) for row in rows]
    tables = {"summary": summary, "trials": table.trials(records, columns)}
    tables |= statistics_tables.tables(gathered) | speed.tables(gathered)
    if book:
        tables["published"] = beside.frame(rows)
    content = replace(
        content,
        command=command(merged.roots.values(), against, formats),
        findings=(*content.findings, *lines),
        published=shown,
        tables=tuple(tables),
    )
    files = render.render(content) | {f"tables/{name}.csv": csv(each) for name, each in tables.items()}
    return Report(files, tuple(lines), shown, tables)


def command(roots: Iterable[Path], against: str | None, formats: Sequence[str]) -> str:
    """What makes a report again, where its results are in results/."""
    from metabench.report.collect.merge import name_of

    folders = dict.fromkeys(f"results/{name_of(root)}" for root in roots)
    options = ["--against", Path(against).name] if against else []
    options += ["--formats", ",".join(formats)] if formats else []
    return shlex.join(["metabench", "report", *folders, *options])


def save_report(report: Report, out: str | Path, refresh: float | None = None) -> Path:
    """Write its files; with `refresh` a browser loads the page again after so many seconds. Raises UserError."""
    out = Path(out)
    try:
        for name, data in report.files.items():
            if refresh and name == "index.html":
                again = f'<head>\n<meta http-equiv="refresh" content="{refresh:.0f}">'
                data = data.replace(b"<head>", again.encode(), 1)
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(out / name, data)
    except OSError as error:
        raise UserError(
            f"Cannot write the report to '{out}': {error.strerror or error}. Choose another with --out."
        ) from None
    return out / "index.html"


def default_place(folders: Sequence[str | Path]) -> Path:
    """reports/NAME, or reports/ONE+OTHER."""
    from metabench.report.collect.merge import name_of

    return Path("reports") / "+".join(dict.fromkeys(name_of(Path(folder)) for folder in folders))


def summary_table(records: Iterable[Record], results: str | Path, columns: Sequence[Column] = COLUMNS) -> TextTable:
    """A row per suite, algorithm and protocol of `records`, best first; `results` holds their scores."""
    from metabench.report import formatting
    from metabench.report.analysis.summary import summary
    from metabench.report.collect.configurations import collect

    shown = shown_in("terminal", columns)
    fit = [record for record in records if record.status != "unfit"]
    rows = summary(collect(fit, Path(results)), columns).to_dict("records") if fit else []
    return TextTable(
        tuple(f"{formatting.heading(column)} {column.unit * (not column.beside)}".strip() for column in shown),
        tuple(tuple(formatting.text(column, row) for column in shown) for row in rows),
    )


def csv(table: DataFrame) -> bytes:
    text: str = table.to_csv(index=False, lineterminator="\n")
    return text.encode()

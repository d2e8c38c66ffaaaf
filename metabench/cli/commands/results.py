"""metabench report | compare | watch | status | clean | verify: what is done with results."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metabench.cli.commands import app, command, console, print_json, say, working
from metabench.errors import UserError, attempt
from metabench.experiments.options import Options
from metabench.records.files import DamageWarning

if TYPE_CHECKING:
    from pandas import DataFrame

Results = Annotated[Path, typer.Argument(help="A results folder.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON, for other programs.")]


@app.command()
def report(
    results: Annotated[list[Path], typer.Argument(help="Results folders; several are merged.")],
    out: Annotated[Path | None, typer.Option(help="Where the report goes. Default: reports/NAME.")] = None,
    against: Annotated[
        str | None, typer.Option(help="Published numbers beside ours: paper, or a TOML file of them.")
    ] = None,
    formats: Annotated[str, typer.Option(help="Of the files in figures/. Default: svg,pdf,png.")] = "",
    style: Annotated[str, typer.Option(help="Of figures: sans, or serif and as wide as a paper's column.")] = "sans",
) -> None:
    """Turn results into index.html, report.md, tables and figures."""
    from metabench.cli.tables import WordTable
    from metabench.records.columns import PUBLISHED, shown_in
    from metabench.report.build import build_report, save_report
    from metabench.report.collect.merge import title
    from metabench.report.published import shown

    with working("drawing figures"), warnings.catch_warnings(action="ignore", category=DamageWarning):  # notes say so
        built = build_report(results, against, formats=[form for form in formats.split(",") if form], style=style)
    for note in built.notes:
        say(f"Note: {note}")
    if built.transfer:
        console.print(WordTable(list(built.transfer[0]), (list(row.values()) for row in built.transfer)))
    if built.beside:
        headings = [column.heading for column in shown_in("terminal", PUBLISHED)]
        console.print(WordTable(headings, ([row[name] for name in headings] for row in map(shown, built.beside))))
    say(f"Report: {save_report(built, out or Path('reports') / title(results))}")


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(help="A results folder.")],
    after: Annotated[Path, typer.Argument(help="The results folder of the same trials after a change.")],
    out: Annotated[Path | None, typer.Option(help="A file for it: NAME.md or NAME.csv.")] = None,
    fail_if_worse: Annotated[bool, typer.Option("--fail-if-worse", help="End with 1 if anything got worse.")] = False,
    as_json: Json = False,
) -> None:
    """What improved between two experiments, what got worse, and what is noise."""
    from metabench.cli.tables import WordTable
    from metabench.records.files import write_atomically
    from metabench.report.collect.merge import merge
    from metabench.report.compare import rows
    from metabench.report.compare.verdicts import compare as compared

    comparison = compared(merge([before]), merge([after]))
    content = rows.encoded(comparison, out) if out else b""
    if as_json:
        print_json({"changes": records_of(rows.frame(comparison)), "notes": rows.notes(comparison)})
    else:
        console.print(WordTable(rows.HEADINGS, rows.rows(comparison), spare=("seeds", "time", "validation")))
        say(rows.headline(comparison))
        for note in rows.notes(comparison):
            say(f"Note: {note}")
    if out:
        with attempt(f"write to '{out}'"):
            write_atomically(out, content)
        if not as_json:
            say(f"Comparison: {out}")
    if fail_if_worse and comparison.worse:
        raise typer.Exit(1)


@app.command()
def results(results: Results, as_json: Json = False) -> None:
    """The table of a results folder or a pack, as a run shows it at its end; or every trial as JSON."""
    from metabench.cli.tables import best_lines, results_table
    from metabench.records.frames import load
    from metabench.records.packs import opened
    from metabench.records.store import records
    from metabench.report.analysis.summary import summary_table

    if as_json:
        print_json(records_of(load(results)))
        return
    root = opened(results)
    summary = summary_table(records(root), root)
    if not summary.rows:
        raise UserError(f"There is no finished trial in '{results}'. `metabench run --out {results}` makes some.")
    console.print(results_table(summary))
    for line in best_lines(summary):
        say(line)


def records_of(frame: DataFrame) -> list[dict[str, Any]]:
    """The rows of a DataFrame as plain data; what is not known is null."""
    rows: list[dict[str, Any]] = json.loads(frame.to_json(orient="records", double_precision=15))
    return rows


@app.command()
def watch(
    results: Results,
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.5)] = 5.0,
    page: Annotated[bool, typer.Option("--page", help="Write the report each time; a browser follows.")] = False,
    out: Annotated[Path | None, typer.Option(help="Where that report goes. Default: reports/NAME.")] = None,
) -> None:
    """Follow a run from another terminal: progress, and the table so far. Ctrl-C ends it, and nothing else."""
    from metabench.cli.watch import step_back
    from metabench.cli.watch import watch as follow
    from metabench.report.collect.merge import title

    place = (out or Path("reports") / title([results])) if page or out else None
    if place or console.is_terminal:
        step_back()
    if place:
        say(f"Report: {place / 'index.html'}")
    follow(results, console, every, place)


@app.command()
def status(results: Results, as_json: Json = False) -> None:
    """What is done, running, failed and left in a results folder, and how long that may take."""
    from metabench.cli.tables import WordTable
    from metabench.records.folder import folder_status

    folder = folder_status(results)
    if as_json:
        print_json(folder._asdict())
        return
    say(folder.headline(results))
    for line in folder.failures:
        say(f"  {line}")
    if folder.running:
        console.print(WordTable(("running or interrupted", "where", "updates", "computed for"), folder.running))


@app.command()
def clean(
    results: Results,
    failed: Annotated[bool, typer.Option("--failed", help="Records of errors, timeouts and lost trials.")] = False,
    checkpoints: Annotated[bool, typer.Option("--checkpoints", help="Checkpoints of unfinished trials.")] = False,
    states: Annotated[bool, typer.Option("--states", help="Kept states: see load_learner.")] = False,
    damaged: Annotated[bool, typer.Option("--damaged", help="Files that were set aside as damaged.")] = False,
    trial: Annotated[list[str] | None, typer.Option(help="All of the trial with this id (may be repeated).")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the files and stop.")] = False,
) -> None:
    """Remove what is named, and nothing else."""
    from metabench.records.folder import clean as remove

    wanted = {"failed": failed, "checkpoints": checkpoints, "states": states, "damaged": damaged}
    paths = remove(results, **wanted, trials=trial or [], dry=dry_run)
    for path in paths:
        say(str(path))
    say(f"{len(paths)} files {'would be ' if dry_run else ''}removed.")


@command("verify")
def verify(
    options: Options,
    results: Results,
    sample: Annotated[int, typer.Option(help="How many trials to run again.", min=1)] = 3,
    jobs: Annotated[int, typer.Option(help="Trials at once.", min=1)] = 1,
) -> None:
    """Run a sample of the finished trials again and compare them with their records, bit for bit.

    Where another kernel computes than then (see `bits` in the record), within the scores' intervals.
    """
    from metabench.cli.tables import WordTable
    from metabench.experiments.verify import verify as compare

    verdicts = list(compare(results, sample, jobs, options))
    console.print(WordTable(("trial", "result", "what was seen"), verdicts))
    if any(verdict.result == "differs" for verdict in verdicts):
        raise typer.Exit(1)

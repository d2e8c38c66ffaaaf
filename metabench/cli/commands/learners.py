"""metabench score | adapt: what is done with trained learners."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from metabench.cli.commands import command, console, say
from metabench.records.trials import Protocol

Results = Annotated[Path, typer.Argument(help="A results folder whose trials' states were kept.")]

Changed = Annotated[
    bool, typer.Option("--changed-code", help="Even if the code of its algorithm or suite was changed since.")
]


@command("score")
def score(
    given: dict[str, Any],
    results: Results,
    algos: Annotated[str | None, typer.Option("--algos", "-a", help="Algorithms, with commas. Default: all.")] = None,
    protocol: Annotated[Protocol | None, typer.Option(help="Default: as each trial was tested.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A results folder for the records; may be the same one.")
    ] = None,
    changed_code: Changed = False,
) -> None:
    """Test trained learners on other suites, without training again: `--suites emnist`, or `omniglot:emnist`."""
    from metabench.cli.tables import results_table
    from metabench.experiments.read_options import read_options
    from metabench.experiments.scoring import score_folder
    from metabench.report.analysis.summary import summary_table

    with ExitStack() as stack:
        folder = out or Path(stack.enter_context(TemporaryDirectory()))
        records = []
        left_out: dict[str, list[str]] = {}
        for scored in score_folder(
            results, folder, read_options(None, {**given, "algos": algos}), protocol, changed_code
        ):
            if scored.record:
                records.append(scored.record)
            else:
                left_out.setdefault(f"on {scored.suite}: {scored.reason}", []).append(scored.source.trial.id)
        for why, whose in left_out.items():
            say(f"Left out: {whose[0] if len(whose) == 1 else f'{len(whose)} learners'} {why}")
        if records:
            console.print(results_table(summary_table(records, folder)))
    if out and records:
        say(f"Results: {out}\nReport:  metabench report {out}")
    if not records:
        raise typer.Exit(1)


@command("adapt")
def adapt(
    given: dict[str, Any],
    results: Results,
    query: Annotated[Path, typer.Option(help="A folder of images, or a CSV file: what to predict.")],
    images: Annotated[Path | None, typer.Option(help="The support set: a folder of images for each class.")] = None,
    csv: Annotated[Path | None, typer.Option(help="The support set: a CSV file with a target's column.")] = None,
    target: Annotated[str, typer.Option(help="That column. Default: the last.")] = "",
    invert: Annotated[bool, typer.Option("--invert", help="Dark becomes bright: for ink on paper.")] = False,
    algo: Annotated[str | None, typer.Option("--algo", "-a", help="The algorithm, of several in the folder.")] = None,
    suite: Annotated[str | None, typer.Option("--suite", "-s", help="The suite that it was trained on.")] = None,
    seed: Annotated[int | None, typer.Option(help="The trial's seed.")] = None,
    trial: Annotated[str | None, typer.Option(help="The trial's id, in place of these three.")] = None,
    steps: Annotated[int | None, typer.Option(help="Inner steps. Default: as in its test.", min=0)] = None,
    protocol: Annotated[Protocol | None, typer.Option(help="Default: as it was tested.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A CSV file for the predictions.")] = None,
    changed_code: Changed = False,
) -> None:
    """Adapt a trained learner to a task of your own, and predict: class folders of images, or rows of a CSV file."""
    from metabench.cli.tables import WordTable
    from metabench.errors import UserError, attempt
    from metabench.experiments.execution import usable_device
    from metabench.experiments.learners import find_record, learner_of
    from metabench.experiments.own_tasks import images as read_images
    from metabench.experiments.own_tasks import table as read_table
    from metabench.experiments.predictions import as_csv, predicted, summary
    from metabench.experiments.read_options import read_options
    from metabench.experiments.setup import plugin_files, use_data
    from metabench.records.files import write_atomically

    support = images or csv
    if not support or (images and csv):
        raise UserError("Say what the support set is: --images FOLDER or --csv FILE.")
    options = read_options(None, {**given, "device": given["device"] or "cpu"})
    use_data(options)
    record = find_record(results, {"algorithm": algo, "suite": suite, "seed": seed}, {}, trial)
    learner = learner_of(results, record, usable_device(options), plugin_files(options), changed_code)
    form = learner.form
    task = read_table(support, query, form, target) if csv else read_images(support, query, form, invert)
    found = predicted(learner, task, steps, protocol)
    say(f"Learner: {record.trial.id}, {len(task.support_x)} support points.")
    for note in (*task.notes, *found.notes):
        say(note)
    console.print(WordTable(found.headings, found.rows))
    if text := summary(task, found):
        say(text)
    if out:
        with attempt(f"write to '{out}'"):
            write_atomically(out, as_csv(found))
        say(f"Predictions: {out}")

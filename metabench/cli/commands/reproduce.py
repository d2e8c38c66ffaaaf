"""metabench reproduce."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metabench.cli.commands import command, console, say
from metabench.cli.commands.run import finish, show_plan
from metabench.errors import UserError

if TYPE_CHECKING:
    from metabench.experiments.reproduce import Listed, Reproduction

HEADINGS = ("row", "published", "updates", "training of a seed", "data", "source")


@command("reproduce")
def reproduce(
    given: dict[str, Any],
    row: Annotated[
        str, typer.Argument(help="Words that name a row of published numbers: 'ALGORITHM SUITE 5w1s'.")
    ] = "",
    list_rows: Annotated[bool, typer.Option("--list", help="Show the rows, or those that have the words.")] = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="With --list: time a few updates where no record tells the time.")
    ] = False,
    against: Annotated[str, typer.Option(help="Published numbers: paper, or a TOML file of them.")] = "paper",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the settings and stop.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show the comparison alone.")] = False,
) -> None:
    """Make a published number again: its settings, the trials, and ours beside theirs."""
    from metabench.experiments import reproduce as experiments

    if list_rows:
        table(experiments.listed_rows(row, given, against, measure))
        return
    if not row:
        raise UserError("Name a row of published numbers; `metabench reproduce --list` shows them.")
    made = experiments.reproduction(row, given, against, dry=dry_run)
    if not quiet:
        say(f"{made.row.name}: {made.row.numbers[0].source}")
    for notice in () if quiet else made.planned.notices:
        say(notice)
    if dry_run:
        show_settings(made)
        return
    failed = False
    try:
        finish(made.planned, watch=False, quiet=quiet)
    except typer.Exit as ended:  # some trial failed; what there is can be compared
        failed = bool(ended.exit_code)
    compare(made)
    if failed:
        raise typer.Exit(1)


def table(found: Iterable[Listed]) -> None:
    """The rows, with what each costs here and whether its data are here."""
    from metabench.cli.tables import WordTable
    from metabench.report.formatting import amount, with_interval

    def line(one: Listed) -> tuple[str, ...]:
        first = one.row.numbers[0]
        numbers = " / ".join(with_interval(each.value, each.half, each.metric) for each in one.row.numbers)
        cost = "not measured" if one.seconds is None else f"about {amount(one.seconds / 60)} min"
        updates = f"{one.trial.budget.updates:,}" if one.trial else "–"
        return one.row.name, numbers, updates, cost, "no" if one.problem else "here", first.source

    listed = list(found)
    console.print(WordTable(HEADINGS, map(line, listed)))
    for problem in dict.fromkeys(one.problem for one in listed if one.problem):
        say(f"Note: {problem}")


def show_settings(made: Reproduction) -> None:
    """What would be run."""
    for name, value in made.planned.trials[0].settings().items():
        say(f"  {name} = {value}")
    show_plan(made.planned)


def compare(made: Reproduction) -> None:
    """Ours, theirs, the gap, the verdict, and every difference that remains."""
    from metabench.experiments.reproduce import reproduced_records
    from metabench.report.published import beside_row, paragraph

    rows = beside_row(reproduced_records(made), made.planned.out, made.row.numbers, made.book)
    if not rows:
        say("There is no score to compare.")
    for each in rows:
        say("")
        for line in paragraph(each):
            say(line)

"""The matrix: wrong plugin x check. A filled dot fails, an open one waits for it, a dash does not apply."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from metabench.registry.discovery import Registry, load_registry
from metabench.testing import Result
from metabench.testing.checks import Check
from metabench.testing.conformance import ALGORITHM, SUITE, kit_of
from metabench.testing.other_processes import digests_elsewhere
from tests.testing.zoo import algorithms, suites

HERE = Path(__file__).parent
MARKS = {"failed": "●", "passed": "·", "skipped": "–"}


@cache
def registry() -> Registry:
    """The zoo, and what is installed."""
    return load_registry((str(HERE / "algorithms.py"), str(HERE / "suites.py")))


@cache
def results(kind: str, name: str) -> tuple[Result, ...]:
    """Of every check on one of the zoo."""
    mine = registry()
    others = mine._replace(algorithms={}) if kind == "suite" else mine._replace(suites={})
    first, second = elsewhere(kind)
    return tuple(kit_of(others, name, elsewhere=lambda: (first[name], second[name])).results())


@cache
def elsewhere(kind: str) -> list[dict[str, dict[str, str]]]:
    """What two other processes compute: all of the zoo at once, which is quicker than one by one."""
    module = suites if kind == "suite" else algorithms
    return digests_elsewhere(kind, sorted(module.ZOO), [str(HERE / f"{kind}s.py")])


def mark(result: Result) -> str:
    """A verdict in one character."""
    return "○" if result.message.startswith("not looked at") else MARKS[result.verdict]


def table(kind: str, checks: tuple[Check, ...], names: dict) -> str:
    """In markdown, a row a plugin."""
    head = f"| {kind} | named for it | {' | '.join(str(i) for i, _ in enumerate(checks, 1))} |"
    lines = [head, "|---" * (len(checks) + 2) + "|"]
    for name, (_, check) in names.items():
        number = 1 + [one.name for one in checks].index(check)
        marks = " | ".join(mark(result) for result in results(kind, name))
        lines.append(f"| {name} | {number} {check} | {marks} |")
    key = ", ".join(f"{i} {check.name}" for i, check in enumerate(checks, 1))
    return "\n".join([*lines, "", f"Checks: {key}."])


def matrix() -> str:
    """Both tables."""
    rule = "● fails, ○ not looked at until the failing one holds, – does not apply, · passes."
    both = (table("algorithm", ALGORITHM, algorithms.ZOO), table("suite", SUITE, suites.ZOO), rule)
    return "\n\n".join(both)

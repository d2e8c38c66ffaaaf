"""What is registered as a page in markdown, from docstrings and signatures."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator

from metabench.registry.discovery import Entry, Registry
from metabench.registry.parameters import type_name

HEAD = """# Gallery

Every algorithm and suite there is, from its own docstring and signature: `metabench list --markdown` writes this
page. A parameter is set by `--set NAME.PARAMETER=VALUE`.
"""


def gallery(registry: Registry) -> str:
    """The whole page."""
    return "\n".join([HEAD, *section("Algorithms", registry.algorithms), *section("Suites", registry.suites)])


def section(title: str, entries: dict[str, Entry]) -> Iterator[str]:
    """Algorithms or suites, by name."""
    yield f"## {title}\n"
    for name in sorted(entries):
        yield from described(entries[name])


def described(entry: Entry) -> Iterator[str]:
    """One of them: its docstring, and its parameters as a table."""
    yield f"### {entry.name}\n"
    yield f"{inspect.cleandoc(entry.factory.__doc__ or 'Its author does not say what it is.')}\n"
    if entry.parameters:
        yield "| parameter | type | default |\n|---|---|---|"
        for one in entry.parameters.values():
            kind = type_name(one.type).replace("|", "\\|")
            yield f"| `{one.name}` | `{kind}` | `{json.dumps(one.default)}` |"
        yield ""

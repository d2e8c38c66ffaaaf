"""What is registered as a page in markdown, from docstrings and signatures."""

from __future__ import annotations

import json
from collections.abc import Iterator

from metabench.registry.catalogue import Catalogue, Listed

HEAD = """# Gallery

Every algorithm and suite there is, from its docstring and signature: `metabench list --markdown` writes this page.
A parameter is set by `--set NAME.PARAMETER=VALUE`, and `metabench list NAME` shows one of them.
"""


def gallery(known: Catalogue) -> str:
    """The whole page."""
    return "\n".join([HEAD, *section("Algorithms", known.algorithms), *section("Suites", known.suites)])


def section(title: str, entries: dict[str, Listed]) -> Iterator[str]:
    """Algorithms or suites, by name."""
    yield f"## {title}\n"
    for name in sorted(entries):
        yield from described(entries[name])


def described(entry: Listed) -> Iterator[str]:
    """One of them: its docstring, with its parameters as a table."""
    yield f"### {entry.name}\n"
    yield f"{entry.description or 'Its author does not say what it is.'}\n"
    if entry.parameters:
        yield "| parameter | type | default | what it is |\n|---|---|---|---|"
        for one in entry.parameters:
            kind, text = (words.replace("|", "\\|") for words in (one.kind, one.help))
            yield f"| `{one.name}` | `{kind}` | `{json.dumps(one.default)}` | {text} |"
        yield ""

"""The pages: their links lead somewhere, and what they quote from the code is still there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.test_architecture import MAY_IMPORT

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
MADE = {"tutorial.md": "docs/tutorial.ipynb", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
"""Pages of the site that tools/site_pages.py makes, and of what."""
PAGES = [*sorted(DOCS.rglob("*.md")), *sorted(DOCS.rglob("*.ipynb")), *sorted(ROOT.glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")) if "://" not in link]
    targets = [page.parent / link.split("#")[0] if link[0] != "#" else page for link in links]
    assert [str(t) for t in targets if not t.exists() and not (t.parent == DOCS and t.name in MADE)] == []


def test_what_the_site_makes_pages_of_is_there():
    assert all((ROOT / path).is_file() for path in MADE.values())


def texts_of_the_code() -> list[str]:
    """Every text in metabench/ and plugins/, with `…` for what an f-string fills in."""
    trees = [
        ast.parse(path.read_text("utf-8"))
        for root in ("metabench", "plugins")
        for path in ROOT.glob(f"{root}/**/*.py")
    ]
    found = []
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
        if isinstance(node, ast.JoinedStr):
            found.append("".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values))
    return found


def test_the_messages_of_the_faq_are_those_of_the_code():
    messages = re.findall(r"^### `(.*)`$", (DOCS / "faq.md").read_text("utf-8"), flags=re.M)
    known = texts_of_the_code()
    assert len(messages) > 8
    assert [message for message in messages if not any(message in text for text in known)] == []


def test_the_page_of_the_architecture_has_the_table_of_its_test():
    page = (DOCS / "architecture.md").read_text("utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| `")
    ]
    shown = {name: set(re.findall(r"\w+", may)) for names, _, may in rows for name in re.findall(r"`(\w+)`", names)}
    assert len(rows) == 9
    assert shown == {**{name: ours or {"nothing"} for name, ours in MAY_IMPORT.items()}, "cli": {"everything"}}
    assert len(page.split()) <= 900

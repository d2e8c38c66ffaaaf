"""The pages: their links lead somewhere, and what they quote from the code is still there."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType

import pytest

from tests.test_architecture import MAY_IMPORT, PLUGINS_IMPORT, PUBLIC

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), *sorted(DOCS.rglob("*.ipynb")), *sorted(ROOT.glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")) if "://" not in link]
    targets = [page.parent / link.split("#")[0] if link[0] != "#" else page for link in links]
    assert [str(t) for t in targets if not t.exists()] == []


def shown() -> list[str]:
    """Each `metabench run` and `metabench reproduce` of the pages that needs nothing of the reader's own."""
    texts = [page.read_text("utf-8").replace("\\\n", " ") for page in PAGES if page.suffix == ".md"]
    found = [line for text in texts for line in re.findall(r"^ *metabench ((?:run|reproduce) .*)$", text, flags=re.M)]
    own = re.compile(r"\.py|\.csv|\.toml|path=|HOST|\.\.\.|--dry-run|--list")
    return sorted({" ".join(line.split("#")[0].split()) for line in found if not own.search(line)})


@pytest.mark.slow
@pytest.mark.parametrize("line", shown())
def test_what_the_pages_run_can_be_planned(here, line):
    ran = here(*shlex.split(line), "--dry-run")
    assert ran.returncode == 0, ran.stderr


def test_the_pages_have_commands():
    assert len(shown()) > 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_are_there(page):
    named = re.findall(r"`((?:metabench|plugins|tests|tools|benchmarks|docs)/[\w./-]+)`", page.read_text("utf-8"))
    assert [path for path in named if "NAME" not in path and not (ROOT / path).exists()] == []


def test_every_public_module_is_in_the_reference():
    """And of classes those that public functions give away."""
    named = re.findall(r"^::: (\S+)$", (DOCS / "api.md").read_text("utf-8"), flags=re.M)
    shown = [name for name in named if isinstance(resolve_name(name), ModuleType)]
    inside = {f"{module}.{name}" for module, names in PUBLIC.items() for name in names}
    modules = {name for name in inside if isinstance(resolve_name(name), ModuleType)}
    assert {*PUBLIC, *PLUGINS_IMPORT, *modules} == set(shown)


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

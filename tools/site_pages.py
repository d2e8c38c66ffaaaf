"""mkdocs hooks: pages of the site that are not written below docs/, and the links to them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "docs/tutorial.ipynb": "tutorial.md"}
"""Where each is written, and what the site calls it."""
RELATIVE = r"\]\((?!\w+:|#)"


def on_files(files: Files, config: Any) -> Files:
    """Add the pages; mkdocs calls this once it has found the others."""
    for path, name in PAGES.items():
        text = (ROOT / path).read_text("utf-8")
        if path.endswith(".ipynb"):
            text = notebook_page(text)
        else:  # it lies beside docs/, and its page in it
            text = re.sub(RELATIVE, "](../", text).replace("](../docs/", "](")
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links as a reader of the repository can follow them become links within the site."""
    for path, name in PAGES.items():
        link = path.removeprefix("docs/") if path.startswith("docs/") else f"../{path}"
        markdown = markdown.replace(f"]({link}", f"]({name}")
    return markdown


def notebook_page(text: str) -> str:
    """A notebook as markdown: its text, and its code in blocks."""
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"]]
    return "\n\n".join(text if kind == "markdown" else f"```python\n{text}\n```" for kind, text in cells)

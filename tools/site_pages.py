"""Pages of the site that are not written below docs/: the tutorial's notebook, CONTRIBUTING.md, CHANGELOG.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent


def on_files(files: Files, config: Any) -> Files:
    """Add what mkdocs does not find by itself; it calls this."""
    notebook = files.get_file_from_path("tutorial.ipynb")
    pages = {"tutorial.md": notebook_page(ROOT / "docs" / "tutorial.ipynb")}
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        pages[name.lower()] = (ROOT / name).read_text("utf-8").replace("](docs/", "](")
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    assert notebook is not None
    return files


def notebook_page(path: Path) -> str:
    """A notebook as markdown: its text, and its code in blocks."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    texts = ("".join(cell["source"]) for cell in cells)
    return "\n\n".join(
        text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```" for cell, text in zip(cells, texts)
    )

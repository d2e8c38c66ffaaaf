"""The page -> index.html, report.md, tables and figures, as files in memory."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from metabench.report import style
from metabench.report.page import Page, Picture

TEMPLATES = Path(__file__).parent / "templates"


def render(page: Page) -> dict[str, bytes]:
    """Relative path -> content."""
    files = {"index.html": html(page).encode(), "report.md": markdown(page).encode()}
    for section in page.sections:
        for picture in section.pictures:
            files[f"figures/{picture.file}.svg"] = picture.svg
            files[f"figures/{picture.file}.png"] = picture.png
    return files


def html(page: Page) -> str:
    """One file that needs no other: styles and figures inside, every value escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["inline"] = inline
    return environment.get_template("index.html.j2").render(page=page)


def markdown(page: Page) -> str:
    """For a repository: figures beside it, every value escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=False,
        finalize=plain,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("report.md.j2").render(page=page)


def inline(picture: Picture) -> Markup:
    """Its SVG as an element; the one place where text is trusted, for matplotlib wrote it."""
    return Markup(style.inline(picture.svg, picture.file, str(escape(picture.alternative))))


def plain(value: Any) -> str:
    """Text that Markdown shows as it is, in a table too."""
    text = re.sub(r"\s+", " ", str(value)).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\|`*\[\]])", r"\\\1", text)

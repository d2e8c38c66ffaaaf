"""The page -> index.html, report.md, LaTeX tables and figures, as files in memory."""

from __future__ import annotations

import base64
import hashlib
import zlib
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from metabench.records.columns import PUBLISHED, of_trials, shown_in
from metabench.report import formatting
from metabench.report.figures.catalogue import Picture
from metabench.report.figures.style import MAX_STRONG
from metabench.report.page import inline_svg, latex, trial_details
from metabench.report.page.model import ALWAYS, Page
from metabench.report.published import shown

TEMPLATES = Path(__file__).parent / "templates"
BRIEF = ("Interval", "Behind the best", "Tasks seen")
"""What report.md explains, as its tables have it."""
SCRIPTS = ("table.js", "figure.js", "trials.js", "theme.js")


def render(page: Page) -> dict[str, bytes]:
    """Relative path -> content."""
    files = {"index.html": html(page).encode(), "report.md": markdown(page).encode()}
    for section in page.sections:
        columns, _ = section.split(shown_in("latex", page.columns))
        files[f"tables/{section.slug}.tex"] = latex.tabular(section.rows, columns, section.metric).encode()
        for picture in section.pictures:
            files |= {f"figures/{picture.file}.{form}": picture.content[form] for form in page.formats}
    return files


def html(page: Page) -> str:
    """One file that needs no other: style, script and figures inside, every value escaped.

    Its policy lets the browser run that one script, known by its hash, and fetch nothing.
    """
    pictures = [picture for section in page.sections for picture in section.pictures]
    prefixes = {picture.file: f"f{number}" for number, picture in enumerate(pictures)}
    environment = templates(autoescape=True)

    shared = inline_svg.Shared()

    def element(picture: Picture) -> str:
        prefix = prefixes[picture.file]
        return inline_svg.element(picture.drawing, prefix, picture.alternative, picture.titles, shared)

    environment.filters["inline"] = lambda picture: Markup(element(picture))
    environment.filters["deflated"] = lambda picture: base64.b64encode(
        zlib.compress(element(picture).encode(), 9)
    ).decode()
    script = '"use strict";\n' + "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in SCRIPTS)
    environment.filters["digits"] = digits
    return environment.get_template("index.html.j2").render(
        page=page,
        style=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        shared=lambda: Markup(shared.element()),
        trials=Markup(page.trials),
    )


def digits(value: float | None) -> str:
    """What a cell is sorted by; nothing for what is not known."""
    near = trial_details.rounded(value)
    return "" if near is None else f"{near}"


def markdown(page: Page) -> str:
    """For a repository: figures beside it, every value escaped."""
    environment = templates(finalize=formatting.plain)
    environment.filters |= {"code": code, "markup": Markup}
    environment.globals |= {"explained": BRIEF, "few": MAX_STRONG}
    return environment.get_template("report.md.j2").render(page=page)


def templates(**options: Any) -> jinja2.Environment:
    """Where both formats come from; `column | text(row)` is what a reader sees in a cell."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        **options,
    )
    environment.filters |= {name: getattr(formatting, name) for name in ("text", "brief", "heading", "exact")}
    published = [column.heading for column in shown_in("report.md", PUBLISHED)]
    environment.filters["beside"] = shown
    environment.globals |= {"shown_in": shown_in, "of_trials": of_trials, "always": ALWAYS, "published": published}
    return environment


def code(text: str) -> Markup:
    """Between backticks, where nothing is markup but a backtick."""
    return Markup(text.replace("`", "'").replace("\n", " "))

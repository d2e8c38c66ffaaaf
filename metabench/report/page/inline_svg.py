"""A figure's SVG file -> an element of the page: in its colors, with ids of its own, its letters shared."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from markupsafe import escape

from metabench.report.figures import style

THEMED = {style.INK: "currentColor", style.GRID: "var(--grid)", style.PAPER: "var(--paper)"}
LETTER = re.compile(r'<path id="([\w-]+-[0-9a-f]+)"[^>]*/>\s*')
"""Matplotlib calls a letter by its font and number; nothing else that it draws has a dash in its id."""
MARK = re.compile(r'<g id="(mark-(\d+)-\d+)">(.*?)(?=<g id="|\Z)', re.DOTALL)
SHIFTED = re.compile(r' transform="translate\((\d+)(?:\.\d+)? 0\)"')
"""A letter's place in its word, in 1/2048 of the size of the font or so: no need of fractions."""
LONG_DECIMALS = re.compile(r"(\d\d\.\d)\d+")
"""A tenth of a point is less than a pixel; numbers below 10 are sizes and keep their digits."""
NAMELESS = re.compile(r'<g id="[^"]*"')
"""Groups whose ids nothing refers to."""
REFERENCE = re.compile(r'(\bid="|href="#|url\(#)(?![\w-]+-[0-9a-f]+")([\w.-]+)')
"""The ids that are one figure's own, where they are given and where they are used."""
FONT, SHORT = '="#DejaVuSans-', '="#D-'
USE = re.compile(r'(<use [^>]*?)(?: (style="[^"]*"))?/>')


def element(svg: bytes, prefix: str, alternative: str, titles: Mapping[str, Sequence[str]]) -> str:
    """An `<svg>` whose letters are elsewhere: see `letters`. `prefix` makes its other ids the page's only ones."""
    text = svg.decode()
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = SHIFTED.sub(r' x="\1"', re.sub(r"\s*\n\s*", "\n", text))
    text = LONG_DECIMALS.sub(r"\1", text)
    text = LETTER.sub("", re.sub(r'\s+xmlns(:xlink)?="[^"]*"', "", text).replace("xlink:href=", "href="))
    text = MARK.sub(lambda found: marked(found, titles), text)
    text = re.sub(r'<g id="legend_\d+"', '<g class="key"', text)
    text = NAMELESS.sub("<g", re.sub(r"<defs>\s*</defs>\s*", "", text)).replace(FONT, SHORT)
    numbers: dict[str, int] = {}
    text = REFERENCE.sub(lambda at: f"{at[1]}{prefix}-{numbers.setdefault(at[2], len(numbers))}", text)
    for color, variable in THEMED.items():
        text = text.replace(color, variable)
    size = r'<svg [^>]*?(viewBox="[^"]*")[^>]*>'
    label = str(escape(alternative))
    return re.sub(size, lambda found: f'<svg {found[1]} role="img" aria-label="{label}">', text, count=1)


def letters(svgs: Sequence[bytes]) -> str:
    """The shapes of all letters in these files, each once: `<defs>` for the page."""
    shapes: dict[str, str] = {}
    for svg in svgs:
        for letter in LETTER.finditer(svg.decode()):
            shapes.setdefault(letter[1], re.sub(r"\s*\n\s*", " ", letter[0].strip()))
    return "\n".join(shapes[name] for name in sorted(shapes)).replace('id="DejaVuSans-', 'id="D-')


def marked(mark: re.Match[str], titles: Mapping[str, Sequence[str]]) -> str:
    """A mark with its algorithm's number, and its titles: on each point where the points are known one by one."""
    gid, number, content = mark.groups()
    whole, *points = (str(escape(words)) for words in titles.get(gid, ("",)))
    uses = USE.findall(content)
    shared = ""
    if points and len(points) == len(uses):
        words = iter(points)
        styles = {style for _, style in uses}
        shared = f" {styles.pop()}" if len(styles) == 1 else ""

        def titled(use: re.Match[str]) -> str:
            own = "" if shared else f" {use[2] or ''}"
            return f"{use[1]}{own}><title>{next(words)}</title></use>"

        content = USE.sub(titled, content)
    return f'<g data-mark="{number}"{shared}><title>{whole}</title>{content}'

"""A figure's SVG file -> an element of the page: in its colors, with ids of its own, its letters shared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from xml.etree.ElementTree import Element, SubElement, fromstring, tostring

from metabench.report.figures import style

THEMED = {style.INK: "currentColor", style.GRID: "var(--grid)", style.PAPER: "var(--paper)"}
NOT_SHOWN = ("metadata", "style")
"""Who made it, and how lines are joined: that is in page.css."""
FONTS, SHORT = ("DejaVuSans-", "DejaVuSerif-"), "D-"
"""Matplotlib calls a letter by its font and number; a page has one font."""


def element(
    svg: bytes, prefix: str, alternative: str, titles: Mapping[str, Sequence[str]], letters: dict[str, str]
) -> str:
    """An `<svg>` whose letters are added to `letters`. `prefix` makes its other ids the page's only ones."""
    root = fromstring(legal(svg))
    clean(root, letters)
    numbers: dict[str, str] = {}
    fresh = count()
    for part in list(root.iter()):
        gid = part.attrib.pop("id", "")
        if gid.startswith("mark-"):
            mark(part, gid, titles)
        elif gid.startswith("legend_"):
            part.set("class", "key")
        elif gid and part.tag != "g":
            numbers[gid] = f"{prefix}-{next(fresh)}"
            part.set("id", numbers[gid])
    for part in root.iter():
        for name, value in part.attrib.items():
            part.set(name, refer(value, numbers) if "#" in value else value)
    unwrap(root)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {"role": "img", "aria-label": alternative}
    return tostring(root, encoding="unicode").replace(" />", "/>")


def legal(svg: bytes) -> bytes:
    """Without what XML has no place for: matplotlib writes each text as a comment, whatever is in it."""
    for character in "\ufffe\uffff":
        svg = svg.replace(character.encode(), b"")
    return svg.translate(None, bytes({*range(32)} - {*b"\t\n\r"}))


def clean(parent: Element, letters: dict[str, str]) -> None:
    """Without what is not shown, without namespaces, with short numbers and the page's colors."""
    parent.tag, parent.text, parent.tail = parent.tag.rpartition("}")[2], None, None
    for name, value in list(parent.attrib.items()):
        del parent.attrib[name]
        parent.set(name.rpartition("}")[2], short(name, value))
    if parent.tag == "use" and parent.get("transform", "").endswith(" 0)"):  # a letter's place in its word
        parent.set("x", f"{float(parent.attrib.pop('transform')[len('translate(') : -len(' 0)')]):.0f}")
    for child in list(parent):
        clean(child, letters)
        gid = child.get("id", "")
        if gid.startswith(FONTS):
            child.set("id", SHORT + gid.rpartition("-")[2])
            letters.setdefault(gid, tostring(child, encoding="unicode"))
        if gid.startswith(FONTS) or child.tag in NOT_SHOWN or (child.tag == "defs" and not len(child)):
            parent.remove(child)


def unwrap(parent: Element) -> None:
    """Without groups that say nothing."""
    for place in reversed(range(len(parent))):
        child = parent[place]
        unwrap(child)
        if child.tag == "g" and not child.attrib:
            parent[place : place + 1] = list(child)


def short(name: str, value: str) -> str:
    """An attribute: numbers of a path and of places to a tenth of a point, which is less than a pixel."""
    if name == "d" or name in ("x", "y"):
        return " ".join(number(word) for word in value.split())
    for color, variable in THEMED.items():
        value = value.replace(color, variable)
    return value


def number(word: str) -> str:
    """A number with a digit after the point, two if it is small: that is the size of a marker; a letter as it is."""
    try:
        value = float(word)
    except ValueError:
        return word
    return f"{value:.{1 if abs(value) >= 10 else 2}f}".rstrip("0").rstrip(".")


def refer(value: str, numbers: Mapping[str, str]) -> str:
    """`#id` or `url(#id)` by its id on the page; a color as it is."""
    name = value.removeprefix("url(").removeprefix("#").removesuffix(")")
    if name.startswith(FONTS):
        return f"#{SHORT}{name.rpartition('-')[2]}"
    return value.replace(name, numbers[name]) if name in numbers else value


def mark(part: Element, gid: str, titles: Mapping[str, Sequence[str]]) -> None:
    """With its algorithm's number, and its titles: on each point where the points are known one by one."""
    whole, *points = titles.get(gid, ("",))
    part.set("data-mark", gid.split("-")[1])
    uses = list(part.iter("use"))
    if points and len(points) == len(uses):
        styles = {use.get("style", "") for use in uses}
        for use, words in zip(uses, points):
            SubElement(use, "title").text = words
            if len(styles) == 1:
                use.attrib.pop("style", None)
        if len(styles) == 1:
            part.set("style", styles.pop())
    title = Element("title")
    title.text = whole
    part.insert(0, title)

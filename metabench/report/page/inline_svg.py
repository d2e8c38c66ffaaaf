"""A figure's SVG file -> an element of the page: in its colors, its ids its own, what figures share written once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, SubElement, fromstring, tostring

from metabench.report.figures import style

THEMED = {style.INK: "currentColor", style.GRID: "var(--grid)", style.PAPER: "var(--paper)"}
NOT_SHOWN = ("metadata", "style")
"""Who made it, and how lines are joined: that is in page.css."""


@dataclass
class Shared:
    """What the figures of a page have in common, each written once: styles, and outlines of markers."""

    styles: dict[str, str] = field(default_factory=dict)
    """Style -> class."""
    shapes: dict[str, str] = field(default_factory=dict)
    """Outline -> id."""

    def styled(self, part: Element) -> None:
        """A class in the place of a style."""
        if words := part.attrib.pop("style", ""):
            name = self.styles.setdefault(words, f"s{len(self.styles)}")
            part.set("class", f"{part.get('class', '')} {name}".strip())

    def shape(self, outline: str) -> str:
        """The id of an outline."""
        return self.shapes.setdefault(outline, f"m{len(self.shapes)}")

    def element(self) -> str:
        """An `<svg>` without a picture."""
        rules = "\n".join(f".{name} {{ {words} }}" for words, name in self.styles.items())
        paths = "\n".join(f'<path id="{name}" d="{outline}"/>' for outline, name in self.shapes.items())
        hidden = 'width="0" height="0" style="position:absolute" aria-hidden="true" focusable="false"'
        return f"<svg {hidden}><style>\n{rules}\n</style><defs>\n{paths}\n</defs></svg>"


def element(svg: bytes, prefix: str, alternative: str, titles: Mapping[str, Sequence[str]], shared: Shared) -> str:
    """An `<svg>`, and what it needs besides in `shared`. `prefix` makes its ids the page's only ones."""
    root = fromstring(legal(svg))
    clean(root)
    place(root, shared)
    numbers: dict[str, str] = {}
    for part in list(root.iter()):
        gid = part.attrib.pop("id", "")
        if gid.startswith(style.MARK):
            mark(part, gid, titles)
        elif gid.startswith("legend_"):
            part.set("class", "key")
        elif part.tag == "clipPath":
            numbers[gid] = f"{prefix}-{len(numbers)}"
            part.set("id", numbers[gid])
    for part in root.iter():
        if clip := part.get("clip-path"):
            part.set("clip-path", f"url(#{numbers[clip[len('url(#') : -1]]})")
    unwrap(root)
    for part in root.iter():
        shared.styled(part)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {"role": "img", "aria-label": alternative}
    return tostring(root, encoding="unicode").replace(" />", "/>")


def legal(svg: bytes) -> bytes:
    """Without what XML has no place for: matplotlib writes each text as it is."""
    for character in "\ufffe\uffff":
        svg = svg.replace(character.encode(), b"")
    return svg.translate(None, bytes({*range(32)} - {*b"\t\n\r"}))


def clean(parent: Element) -> None:
    """Without what is not shown, without namespaces, with short numbers and the page's colors."""
    parent.tag, parent.tail = parent.tag.rpartition("}")[2], None
    if parent.tag == "text":
        written(parent)
    else:
        parent.text = None
    for name, value in list(parent.attrib.items()):
        del parent.attrib[name]
        name = name.rpartition("}")[2]
        parent.set(name, short(name, value))
    for child in list(parent):
        clean(child)
        nowhere = child.tag == "path" and len(child.get("d", "").split()) <= 2
        if child.tag in NOT_SHOWN or nowhere or (child.tag == "defs" and not len(child)):
            parent.remove(child)


def written(text: Element) -> None:
    """A text in the page's font, and turned only where it is."""
    words, turn = text.get("style", ""), text.attrib.pop("transform", "")
    for font in re.findall(r"font-family: '.*?'(?:; )?", words):
        words = words.replace(font, "font-family: serif; " if "Serif" in font else "")
    text.set("style", words)
    if not turn.startswith("rotate(-0 "):
        text.set("transform", re.sub(r"[\d.]+", lambda found: number(found[0]), turn))


def short(name: str, value: str) -> str:
    """An attribute: numbers of places to a tenth of a point, which is less than a pixel."""
    if name == "d":
        return outline(value)
    if name in ("x", "y"):
        return number(value)
    for color, variable in THEMED.items():
        value = value.replace(color, variable)
    return value


def outline(path: str) -> str:
    """A path without what goes without saying: a point after a point is the end of a line."""
    words: list[str] = []
    last = ""
    for word in path.split():
        if not word.isalpha():
            words.append(number(word))
        elif not (word == "L" and last in ("M", "L")):
            words.append(last := word)
    return re.sub(r" ?([A-Za-z]) ?", r"\1", " ".join(words))


def number(word: str) -> str:
    """A number with a digit after the point, two if it is small: that is the size of a marker."""
    value = float(word)
    return f"{value:.{1 if abs(value) >= 10 else 2}f}".rstrip("0").rstrip(".")


def place(root: Element, shared: Shared) -> None:
    """Each outline that matplotlib names where it is drawn, if that is one place, or else among what is shared."""
    shapes = {path.get("id"): path for path in root.iterfind(".//defs/path")}
    uses = [use for use in root.iter("use") if use.get("href", "#")[1:] in shapes]
    often = Counter(use.get("href") for use in uses)
    for use in uses:
        named = shapes[use.get("href", "")[1:]]
        path, words = named.get("d", ""), use.attrib.pop("style", "") or named.get("style", "")
        if often[use.get("href")] == 1 and use.get("x") == "0":  # a band, whose places are those of the figure
            use.tag = "path"
            use.attrib = {"d": path, "transform": f"translate(0 {use.get('y')})"}
        else:
            use.set("href", f"#{shared.shape(path)}")
        if words:
            use.set("style", words)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == "defs":
                for shape in child.findall("path"):
                    child.remove(shape)
                if not len(child):
                    parent.remove(child)


def unwrap(parent: Element) -> None:
    """Without groups that say nothing; what cuts off all that is in a group cuts off the group."""
    for child in parent:
        unwrap(child)
    inside = [child for child in parent if child.tag not in ("title", "defs")]
    cuts = {child.get("clip-path") for child in inside}
    if parent.tag == "g" and len(cuts) == 1 and None not in cuts and not any(c.get("transform") for c in inside):
        parent.set("clip-path", str(cuts.pop()))
        for child in inside:
            del child.attrib["clip-path"]
    for place in reversed(range(len(parent))):
        child = parent[place]
        if child.tag == "g" and not child.attrib:
            parent[place : place + 1] = list(child)


def mark(part: Element, gid: str, titles: Mapping[str, Sequence[str]]) -> None:
    """With its algorithm's number, and a title on each point where the points are known one by one."""
    _, *points = titles.get(gid, ("",))
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

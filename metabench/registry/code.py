"""The code of a plugin: its own file, what it imports of its package or folder, and a digest of what they do."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from metabench.records.plugin_files import Module, PluginFile

NO_CODE = ("type_comment", "kind")
"""Fields of a syntax tree that change nothing."""


class Place(NamedTuple):
    """Where the modules of a name's package, or of a file's folder, lie."""

    folder: Path
    """The package's own, which need not be called as it is; or the one that holds the first names."""
    top: str = ""
    """The package's name; empty for a folder."""

    def find(self, name: str) -> Path | None:
        """The file of a module; None where it is not one of these."""
        parts = name.split(".")
        if self.top and parts[0] != self.top:
            return None
        base = self.folder.joinpath(*(parts[1:] if self.top else parts))
        for path in (base / "__init__.py", base.with_name(f"{base.name}.py")):
            if path.is_file():
                return path
        return None


def read_plugin(path: Path) -> PluginFile:
    """A plugin file as it is now, with what it imports of its folder."""
    source = read(path)
    if source is None:
        return PluginFile(str(path))
    places = [Place(path.parent)]
    if (path.parent / "__init__.py").is_file():
        package = next(folder for folder in path.parents if not (folder.parent / "__init__.py").is_file())
        places.append(Place(package, package.name))
    return PluginFile(str(path), source, tuple(modules("", source, places, {path})))


def read_package(module: str, path: Path) -> tuple[bytes, tuple[Module, ...]]:
    """The source of an installed module, and what it imports of its package; nothing where it cannot be read."""
    source = read(path)
    if source is None:
        return b"", ()
    depth = module.count(".") + (path.name == "__init__.py")
    top = module.split(".")[0]
    places = [Place(path.parents[depth - 1], top)] if depth else [Place(path.parent)]
    return source, tuple(modules(module, source, places, {path}))


def read(path: Path) -> bytes | None:
    """A file; None where it cannot be read, or is none: a device may have no end."""
    try:
        return path.read_bytes() if path.is_file() else None
    except OSError:
        return None


def modules(name: str, source: bytes, places: list[Place], seen: set[Path]) -> Iterator[Module]:
    """What a module imports of these places, directly or not, each file once."""
    for wanted in imports(source):
        full = absolute(wanted, name)
        parts = full.split(".") if full else []
        for length in range(1, len(parts) + 1):
            dotted = ".".join(parts[:length])
            path = next((found for place in places if (found := place.find(dotted))), None)
            if path is None or path in seen:
                continue
            seen.add(path)
            content = read(path)
            if content is not None:
                yield Module(dotted, str(path), content)
                # within a package relative imports start from itself, else from what it lies in
                inside = f"{dotted}.__init__" if path.name == "__init__.py" else dotted
                yield from modules(inside, content, places, seen)


def absolute(wanted: str, name: str) -> str:
    """The full name of a relative import in the module of that name."""
    level = len(wanted) - len(wanted.lstrip("."))
    if not level:
        return wanted
    base = name.split(".")[:-level]
    return ".".join([*base, wanted[level:]]).strip(".")


@lru_cache(maxsize=1000)
def imports(source: bytes) -> tuple[str, ...]:
    """The modules that a source may import, wherever in it: `a.b` for `import a.b`, `.b` for a relative one."""
    found: dict[str, None] = {}
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            found |= dict.fromkeys(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            dot = "." if node.module else ""
            found |= dict.fromkeys([base, *(f"{base}{dot}{alias.name}" for alias in node.names)])
    return tuple(name for name in found if name.strip("."))


def parsed(source: bytes) -> ast.Module:
    """The syntax tree; an empty one of what is no Python."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return ast.Module([], [])


def digest(source: bytes, others: Iterable[Module]) -> str:
    """Of what the code does, in 12 digits: docstrings, comments, layout and the place of the file do not matter."""
    sums = hashlib.sha256(meaning(source))
    for module in sorted(others, key=lambda module: module.name):
        sums.update(module.name.encode() + meaning(module.source))
    return sums.hexdigest()[:12]


@lru_cache(maxsize=1000)
def meaning(source: bytes) -> bytes:
    """A checksum of a file's syntax tree, the same under every version of Python; of its bytes if it has none."""
    tree = parsed(source)
    content = repr(form(tree)).encode("utf-8", "surrogatepass") if tree.body else source
    return hashlib.sha256(content).digest()


def form(node: Any) -> Any:
    """A syntax tree as tuples, without texts that stand alone: docstrings."""
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if name not in NO_CODE)
        return type(node).__name__, *((name, form(value)) for name, value in fields if value not in (None, []))
    if isinstance(node, list):
        return tuple(form(each) for each in node if not is_text(each))
    return type(node).__name__, repr(node)


def is_text(node: Any) -> bool:
    """Whether a statement is nothing but a text."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)

"""Packs: a results folder as one file to send, with the sources of its plugins; who reads it trusts nothing in it.

A pack is a zip of `pack.json` (the manifest), `results/` (what `metabench run` wrote), `plugins/` (plugin files that
are no installed package: `metabench rerun` takes them) and `sources/` (installed plugins, to be read).
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

import msgspec

from metabench.errors import UserError, attempt
from metabench.records.files import cache_dir, checksum, write_atomically

FORMAT = 1
MANIFEST = "pack.json"
RESULTS = "results"
MAX_FILES = 200_000
MAX_BYTES = 8 * 2**30
"""Of all files together, unpacked."""
PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=,@ -]{0,254}")
"""What a folder or a file in a pack may be called."""
MAX_MANIFEST = 10**6
"""Bytes."""
BAD = (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, RuntimeError, EOFError, ValueError)
"""What reading an archive raises that is none, is cut short, or is encrypted."""
KEPT = ("record.json", "scores.json", "examples.json")
"""The files of a trial that a pack has; states and checkpoints stay."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a pack says of itself."""

    format: int = FORMAT
    name: str
    """Of the results folder."""
    commands: tuple[str, ...]
    """That made it, where they are known."""
    versions: dict[str, str]
    plugins: tuple[str, ...]
    """The plugin files in it, as paths in the pack."""


def is_pack(path: str | Path) -> bool:
    """Whether what stands for a results folder is a pack."""
    return str(path).endswith(".zip") and os.path.isfile(path)


def opened(path: str | Path) -> Path:
    """A results folder itself, or that of a pack, unpacked in the cache. Raises UserError."""
    return unpacked(Path(path)) / RESULTS / manifest_of(Path(path)).name if is_pack(path) else Path(path)


def unpacked(path: Path) -> Path:
    """The folder in the cache that a pack was unpacked to, once for its content. Raises UserError."""
    with attempt(f"read the pack '{path}'"):
        about = path.stat()
        place = cache_dir() / "packs" / content_of(path.resolve(), about.st_mtime_ns, about.st_size)
    if place.is_dir():
        return place
    with attempt(f"unpack '{path}' into the cache", "METABENCH_CACHE names another place."):
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as temporary:
            made = Path(temporary) / "pack"
            extract(path, made)
            try:
                made.rename(place)
            except OSError:
                if not place.is_dir():  # another process was quicker
                    raise
    return place


@functools.cache
def content_of(path: Path, modified: int, size: int) -> str:
    """What a file's content is called; a large pack is read once, unless it was changed. Raises OSError."""
    return checksum(path.read_bytes())[:24]


def extract(path: Path, into: Path) -> None:
    """Write the files of a pack below a folder, and nowhere else. Raises UserError."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = checked(path, archive.infolist())
            for name, entry in entries.items():
                target = into.joinpath(*name.parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as source, open(target, "xb") as file:
                    shutil.copyfileobj(source, file)
                    if file.tell() != entry.file_size:
                        raise zipfile.BadZipFile(f"'{name}' is not as long as it says")
    except BAD as error:
        raise UserError(f"Cannot use the pack '{path}': {error}.") from None
    manifest_of(path)


def checked(path: Path, entries: Iterable[zipfile.ZipInfo]) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """The files of an archive by path; raises ValueError for one that leaves the folder or is a link."""
    found: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for entry in entries:
        if entry.is_dir():
            continue
        parts = entry.filename.split("/")
        if not all(PART.fullmatch(part) for part in parts):
            raise ValueError(f"it holds a file called {entry.filename[:80]!r}, which no pack has")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise ValueError(f"'{entry.filename}' in it is no plain file")
        if PurePosixPath(*parts) in found:
            raise ValueError(f"it holds '{entry.filename}' twice")
        found[PurePosixPath(*parts)] = entry
    if len(found) > MAX_FILES or sum(entry.file_size for entry in found.values()) > MAX_BYTES:
        raise ValueError(f"it holds more than {MAX_FILES:,} files or {MAX_BYTES // 2**30} GB")
    return found


def manifest_of(path: Path) -> Manifest:
    """What a pack says of itself; raises UserError."""
    try:
        with attempt(f"read the pack '{path}'"), zipfile.ZipFile(path) as archive:
            if archive.getinfo(MANIFEST).file_size > MAX_MANIFEST:
                raise ValueError(f"its {MANIFEST} is too large")
            manifest = msgspec.json.decode(archive.read(MANIFEST), type=Manifest)
        if manifest.format > FORMAT:
            raise ValueError(f"it was made by a newer metabench (format {manifest.format})")
        if not PART.fullmatch(manifest.name):
            raise ValueError("its results have no name")
        for plugin in manifest.plugins:
            if not all(PART.fullmatch(part) for part in plugin.split("/")):
                raise ValueError(f"it names a plugin {plugin[:80]!r}, which no pack has")
    except KeyError:
        raise UserError(f"Cannot use the pack '{path}': it has no {MANIFEST}; `metabench pack` makes one.") from None
    except (*BAD, msgspec.MsgspecError) as error:
        raise UserError(f"Cannot use the pack '{path}': {error}.") from None
    return manifest


def write_pack(root: Path, manifest: Manifest, files: Mapping[str, bytes], out: Path) -> int:
    """Write a pack of a results folder, with further files by path; the number of trials. Raises UserError."""
    inside = f"{RESULTS}/{manifest.name}"
    records = sorted(root.glob("*/record.json"))
    with attempt(f"write the pack '{out}'", "Choose another with --out."), tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "pack.zip"
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            add(archive, MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1))
            for name, content in sorted(files.items()):
                add(archive, name, content)
            for path in sorted((root / "plans").glob("*.json")):
                add(archive, f"{inside}/plans/{path.name}", path.read_bytes())
            for record in records:
                for name in KEPT:
                    if (record.parent / name).is_file():
                        add(archive, f"{inside}/{record.parent.name}/{name}", (record.parent / name).read_bytes())
            try:
                checked(made, archive.infolist())
            except ValueError as error:  # such a pack could not be read
                raise UserError(f"Cannot pack '{root}': {error}.") from None
        write_atomically(out, made.read_bytes())
    return len(records)


def add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """One file, without a date: the same results make the same pack."""
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, content)

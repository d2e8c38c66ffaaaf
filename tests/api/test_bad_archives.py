"""Malformed archives and caches: refused in one line that names the file, and nothing is written."""

from __future__ import annotations

import io
import shutil
import stat
import struct
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from metabench.api import datasets
from metabench.errors import UserError
from metabench_plugins.suites import omniglot
from tests.cli_helpers import fingerprint, refused
from tests.malformed import Evil, tries


def png(size: tuple[int, int] = (105, 105), declared: tuple[int, int] | None = None) -> bytes:
    """A white drawing; `declared` is what its header says instead, with the right checksum."""
    file = io.BytesIO()
    Image.new("1", size, 1).save(file, "PNG")
    content = file.getvalue()
    if declared:
        header = b"IHDR" + struct.pack(">II", *declared) + content[24:29]
        content = content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]
    return content


def chunk(kind: bytes, body: bytes) -> bytes:
    """One part of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def archive(path: Path, change=None, name: str = "images_background", content: bytes | None = None) -> Path:
    """One character with 20 drawings; `change(archive)` may add to it, `content` is one drawing instead."""
    drawing = png()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for number in range(1, 21):
            odd = content is not None and number == 7
            file.writestr(f"{name}/Latin/character01/0001_{number:02}.png", content if odd else drawing)
        if change:
            change(file)
    return path


def unread(path: Path, count: int = 1) -> str:
    """The one line that is said about an archive that cannot be used; nothing is written anywhere."""
    before = fingerprint(path.parent.parent)
    with pytest.raises(datasets.DataError) as caught:
        omniglot.load_archive(path, "images_background", count, "lanczos")
    assert fingerprint(path.parent.parent) == before
    line = str(caught.value)
    assert line.startswith(f"Suite 'omniglot': '{path}' ")
    assert "\n" not in line
    return line


DRAWING = "images_background/Latin/character02/0001_{:02}.png"


@pytest.mark.parametrize(
    "name",
    [
        *("../images_background/Latin/character02/0001_01.png", "/images_background/Latin/character02/0001_01.png"),
        *("x/../images_background/Latin/character02/0001_01.png", "images_background/../character02/0001_01.png"),
        *("C:\\images_background\\Latin\\character02\\0001_01.png", "images_background/./../../etc/passwd"),
        *(
            "images_background/La\ntin/character02/0001_01.png",
            "__MACOSX/images_background/Latin/character02/0_1.png",
        ),
        *(
            "images_background/Latin/character02/../../../0001_01.png",
            "../../../../../../tmp/evil",
            "/etc/evil",
            "..",
        ),
    ],
)
def test_archives_with_names_that_lead_elsewhere(place, name):
    """They are passed over, and nothing is ever unpacked to disk."""
    path = archive(place / "images_background.zip", lambda file: file.writestr(name, png()))
    before = fingerprint(place)
    arrays = omniglot.load_archive(path, "images_background", 1, "lanczos")
    assert arrays["pixels"].shape == (1, 20, 28, 28)
    assert arrays["names"].tolist() == ["images_background/Latin/character01"]
    assert fingerprint(place) == before
    assert sorted(each.suffix for each in (place.parent / "cache").rglob("*")) == [".npz"]


def with_member(content: bytes, mode: int = 0, **fields: int):
    """Adds a second character, one of whose drawings is odd."""

    def change(file: zipfile.ZipFile) -> None:
        for number in range(1, 21):
            info = zipfile.ZipInfo(DRAWING.format(number))
            info.external_attr = (mode if number == 3 else stat.S_IFREG | 0o644) << 16
            file.writestr(info, content if number == 3 else png(), zipfile.ZIP_DEFLATED)
            for name, value in fields.items() if number == 3 else ():
                setattr(file.filelist[-1], name, value)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_member(b"/etc/passwd", stat.S_IFLNK | 0o777), "is a link"),
        (with_member(bytes(10**6)), "unpacks to 1,000,000 bytes, more than 65,536"),
        (with_member(png(), file_size=10**12), "unpacks to 1,000,000,000,000 bytes, more than"),
        (with_member(bytes(10**6), file_size=100), "BadZipFile"),
        (with_member(png(), file_size=10), "BadZipFile"),
        (with_member(png(), CRC=1), "BadZipFile"),
        (with_member(png(), flag_bits=1), "is encrypted"),
        (with_member(png(), compress_type=99), "is encrypted, or packed neither plainly nor by deflate"),
        (with_member(png(), compress_type=zipfile.ZIP_LZMA), "packed neither plainly"),
        (with_member(png(), compress_type=zipfile.ZIP_STORED), "BadZipFile"),
        (with_member(png(), header_offset=3), "BadZipFile"),
        (with_member(png(), header_offset=10**9), "cannot be read"),
        (with_member(png(), compress_size=5), "cannot be read"),
        (with_member(b""), "it is no PNG"),
        (with_member(b"GIF89a" + bytes(99)), "it is no PNG"),
        (with_member(png()[:60]), DRAWING.format(3)),
        (with_member(png()[:20]), "cannot be read"),
        (with_member(png(declared=(50_000, 50_000))), "DecompressionBomb|50000 x 50000|exceeds limit"),
        (with_member(png(declared=(10_000, 10_000))), "it has 10000 x 10000 pixels, more than 512 x 512"),
        (with_member(png(declared=(2**31 - 1, 2**31 - 1))), "cannot be read"),
        (with_member(png((600, 600))), "it has 600 x 600 pixels, more than 512 x 512"),
        (with_member(png(declared=(0, 0))), "cannot be read"),
        (with_member(png(declared=(200, 400))), "cannot be read"),
        (with_member(png()[:33] + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**7))) + png()[33:]), "too large"),
        (with_member(png()[:33] + chunk(b"IDAT", b"nonsense") + chunk(b"IEND", b"")), "cannot be read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_archives_with_an_odd_member(place, change, message):
    line = unread(archive(place / "images_background.zip", change), 2)
    assert any(part in line for part in message.split("|")), line


def test_archives_with_too_few_or_too_many(place):
    path = place / "images_background.zip"
    more = archive(path, lambda file: [file.writestr(DRAWING.format(n), png()) for n in range(1, 30)])
    assert "found 2, of which 1 with 20" in unread(more, 2)
    with warnings.catch_warnings(action="ignore"):
        twice = archive(path, lambda file: file.writestr("images_background/Latin/character01/0001_01.png", png()))
    assert "found 1, of which 0 with 20" in unread(twice)
    assert "found 0, of which 0" in unread(archive(path, name="other"))
    path.write_bytes(b"")
    assert "BadZipFile" in unread(path)
    with open(path, "wb") as file:
        file.truncate(omniglot.ARCHIVE_LIMIT + 1)
    assert "it is larger than 67,108,864 bytes" in unread(path)
    path.unlink()
    path.mkdir()
    assert "IsADirectoryError" in unread(path)


@given(st.data())
@tries(80)
def test_archives_cut_short_or_altered_at_any_byte(place, data):
    path = archive(place / "images_background.zip")
    good = omniglot.read_archive(path, "images_background", 1, "lanczos")["pixels"]
    content = path.read_bytes()
    directory = content.index(b"PK\1\2")
    position = data.draw(st.one_of(st.integers(0, len(content) - 1), st.integers(directory, len(content) - 1)))
    other = bytes([data.draw(st.integers(1, 255)) ^ content[position]])
    altered = data.draw(st.sampled_from([content[:position], content[:position] + other + content[position + 1 :]]))
    path.write_bytes(altered)
    before = fingerprint(place)
    try:
        pixels = omniglot.load_archive(path, "images_background", 1, "lanczos")["pixels"]
    except UserError as error:
        pixels = None
        line = str(error)
    assert np.array_equal(pixels, good) if pixels is not None else "\n" not in line  # good: a date, a comment
    assert fingerprint(place) == before


@pytest.mark.parametrize("name", ["images_background", "images_evaluation"])
def test_a_run_on_a_bad_archive_is_one_line(folder, place, monkeypatch, name):
    monkeypatch.setattr(omniglot, "ARCHIVES", {name: omniglot.ARCHIVES[name]})
    path = archive(place / f"{name}.zip", with_member(bytes(10**6)), name=name)
    words_ = ("run", "--suites", "omniglot", "--algos", "scratch", "--data", str(place), "--out", "results/r")
    assert f"'{path}' is incomplete" in refused(folder, *words_)


@given(st.integers(0, 400), st.integers(1, 255))
@tries(30)
def test_cached_arrays_that_are_damaged_are_made_again(place, position, flip):
    made = {"a": np.arange(12).reshape(3, 4), "b": np.array(["x", "y"])}
    path = place.parent / "cache" / "some-key.npz"
    shutil.rmtree(path.parent, ignore_errors=True)
    datasets.cached_arrays("some-key", lambda: made)
    content = path.read_bytes()
    altered = content[:position] + bytes([content[position] ^ flip]) + content[position + 1 :]
    path.write_bytes(altered if flip % 2 else content[:position])
    again = datasets.cached_arrays("some-key", lambda: made)
    assert np.array_equal(again["a"], made["a"])
    assert np.array_equal(again["b"], made["b"])


def test_cached_arrays_are_never_unpickled(place, tmp_path):
    cache = place.parent / "cache"
    cache.mkdir()
    np.savez(cache / "key.npz", a=np.array([Evil(str(tmp_path / "was here"))], dtype=object))
    assert datasets.cached_arrays("key", lambda: {"a": np.ones(2)})["a"].tolist() == [1, 1]
    assert not (tmp_path / "was here").exists()

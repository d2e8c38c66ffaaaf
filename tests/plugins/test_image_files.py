"""Images of one's own are read as every viewer shows them, and whatever is passed over is counted and named."""

from __future__ import annotations

import io
import json
import os
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from metabench.api import DataError
from metabench.engine.seeds import random_generator
from metabench_plugins.suites import image_files
from metabench_plugins.suites.image_files import small
from metabench_plugins.suites.image_folder import image_folder
from metabench_plugins.suites.pixels import formats
from tests.malformed import tries

SMALL = {"size": 16, "ways": 2, "shots": 1, "queries": 2, "model": "conv_strided", "filters": 4}
SPLITS = ("train", "validation", "test")
BAR = np.full((32, 32), 230, np.uint8)
BAR[:, :16] = 20
"""A dark bar on the left half of a light ground."""


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.delenv("METABENCH_DATA", raising=False)
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


def encoded(image: Image.Image, form: str = "PNG", **options) -> bytes:
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def noise(seed: int) -> bytes:
    """An image that is like no other."""
    return encoded(Image.fromarray(np.random.default_rng(seed).integers(0, 255, (20, 20), dtype=np.uint8)))


def folders(root: Path, names, each: int = 3) -> Path:
    for place, name in enumerate(names):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            (root / name / f"{number}.png").write_bytes(noise(each * place + number))
    return root


def classes(path: Path, **parameters) -> set[str]:
    suite = image_folder(**{"path": str(path), **SMALL, **parameters})
    return set().union(*map(suite.groups, SPLITS))


def notes(path: Path, **parameters) -> str:
    return "\n".join(image_folder(**{"path": str(path), **SMALL, **parameters}).notes())


def halves(content: bytes, channels: int = 1) -> tuple[float, float]:
    pixels = small(content, "x", 16, channels)
    return pixels[..., :7].mean(), pixels[..., 9:].mean()


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_orientation_is_read_upright(turn, form):
    upright = np.arange(32)[:, None] * 6 + np.arange(32) + 20
    stored = Image.fromarray(upright.astype(np.uint8)).convert("RGB")
    undo = {1: [], 2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}[turn]  # PIL's transpositions
    for step in undo:
        stored = stored.transpose(Image.Transpose(step))
    note = Image.Exif()
    note[0x0112] = turn
    read = small(encoded(stored, form, exif=note), "x", 32, 1)[0]
    assert np.abs(read.astype(int) - upright).max() < 14


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P", "L", "RGB", "1"])
def test_transparent_parts_are_white_in_every_mode(mode):
    ink = np.zeros((32, 32, 4), np.uint8)
    ink[:, :16, 3] = 255  # black ink, the ground transparent
    image = Image.fromarray(ink)
    options = {}
    if mode == "PA":
        image = image.convert("RGBA").quantize(2).convert("PA")
        image = Image.merge("PA", (image.getchannel("P"), Image.fromarray(ink[..., 3])))
        image.putpalette([0, 0, 0] * 256)
        image = image.convert("RGBA")
    elif mode in ("P", "L", "RGB", "1"):
        image = ImageOps.invert(Image.fromarray(ink[..., 3])).convert(mode)  # ink 0, ground 255
        image = Image.fromarray(np.where(ink[..., 3] > 0, 0, 7).astype(np.uint8)) if mode == "L" else image
        options = {"transparency": {"L": 7, "RGB": (255, 255, 255), "1": 255, "P": 0}[mode]}
        if mode == "P":
            image = Image.fromarray((ink[..., 3] > 0).astype(np.uint8), "P")
            image.putpalette([9, 9, 9] + [0, 0, 0] * 255)
    else:
        image = image.convert(mode)
    for channels in (1, 3):
        left, right = halves(encoded(image, **options), channels)
        assert left < 2
        assert right > 253


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_grey_of_any_depth_has_its_full_range(bits, form):
    left, right = halves(encoded(Image.fromarray(BAR.astype(np.uint16) << (bits - 8)), form))
    assert (round(left), round(right)) == (20, 230)


def test_the_depth_is_that_of_all_images_together(tmp_path):
    """A dark image of 16 bits stays dark beside a light one, and a set of 12 bits is read with 12."""
    for name, deepest in (("sixteen", 60_000), ("twelve", 4_000)):
        for number, kind in enumerate("abcdefghij"):
            (tmp_path / name / kind).mkdir(parents=True)
            for image, shade in enumerate((300, 1_000, deepest)):
                content = encoded(Image.fromarray(np.full((20, 20), shade + number, np.uint16)))
                (tmp_path / name / kind / f"{image}.png").write_bytes(content)
        shift = 8 if deepest > 4095 else 4
        suite = image_folder(path=str(tmp_path / name), channels=1, **SMALL)
        drawn = suite.sample("train", 20, random_generator("depth"))
        seen = set((drawn.query.x * 255).round().long().unique().tolist())
        shades = {shade + number >> shift for number in range(10) for shade in (300, 1_000, deepest)}
        assert seen <= shades


def png16(values: np.ndarray) -> bytes:
    """A colour PNG of 16 bits a sample, which Pillow cannot write."""
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    high, wide, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", wide, high, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_colours_of_16_bits_are_read_and_of_12_in_16_refused():
    colours = np.repeat(BAR.astype(np.uint16)[..., None], 3, 2)
    left, right = halves(png16(colours << 8), 3)
    assert (round(left), round(right)) == (20, 230)
    with pytest.raises(ValueError, match="it has 16 bits a sample, of which 12 are in use: save it with 8"):
        small(png16(colours << 4), "x", 16, 3)
    assert small(png16(colours * 0), "x", 16, 3).max() == 0


def test_whatever_pillow_reads_is_read_and_the_rest_is_named(tmp_path):
    root = folders(tmp_path / "data", "abcdefghij", each=2)
    for kind in "abcdefghij":
        (root / kind / "3.jfif").write_bytes(encoded(Image.fromarray(BAR), "JPEG"))
    if ".avif" in formats()[1]:
        (root / "a" / "4.avif").write_bytes(encoded(Image.fromarray(BAR), "AVIF"))
    for name in ("b/5.heic", "b/6.HEIC", "c/notes.txt", "c/raw", ".DS_Store", "a/._1.png"):
        (root / name).write_bytes(b"?")
    assert classes(root) == set("abcdefghij")  # each has three images with its .jfif
    (said,) = notes(root).splitlines()
    assert said.endswith(
        "6 files are passed over: 2 .heic (such as 'b/5.heic'), 2 hidden, 1 .txt (such as 'c/notes.txt'), "
        "1 without a suffix (such as 'c/raw')"
    )


def test_links_are_followed_and_circles_are_not(tmp_path):
    real = folders(tmp_path / "real", [f"k{number}" for number in range(6)])
    data = folders(tmp_path / "data", [f"k{number}" for number in range(6, 9)])
    for kind in real.iterdir():
        (data / kind.name).symlink_to(kind)
    (data / "k6" / "again").symlink_to(data)
    (data / "k7" / "itself").symlink_to("itself")
    (data / "k8" / "9.png").symlink_to("nowhere.png")
    os.mkfifo(data / "k8" / "pipe.png")
    assert classes(data) == {f"k{number}" for number in range(9)}
    assert "3 links that lead nowhere or in a circle, 1 neither files nor folders" in notes(data)
    (tmp_path / "link").symlink_to(data)
    assert classes(tmp_path / "link") == classes(data)


def test_a_zip_of_windows_is_read_and_odd_members_are_refused(tmp_path):
    path = tmp_path / "back.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for place, kind in enumerate("abcdefghij"):
            for number in range(3):
                archive.writestr(f"birds\\{kind}\\{number}.png", noise(3 * place + number))
    assert classes(path) == set("abcdefghij")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("birds/a/0.png", noise(99))
    with pytest.raises(DataError, match="it holds two files called 'birds/a/0.png'"):
        classes(path)


def test_names_are_compared_in_one_form_and_may_hold_colons(tmp_path):
    names = ["café: noir", "naïve", "Å", "d", "e:f", "g"]
    root = folders(tmp_path / "data", [unicodedata.normalize("NFD", name) for name in names])
    split = dict(zip(names, ("train", "train", "validation", "validation", "test", "test")))
    (root / "s.json").write_text(json.dumps(split), encoding="utf-8")
    assert classes(root, split="s.json") == set(names)
    assert notes(root, split="s.json") == ""
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for file in sorted(each for each in root.rglob("*") if each.is_file()):
            archive.write(file, file.relative_to(root))
    assert classes(tmp_path / "data.zip", split="s.json") == set(names)


def test_small_classes_are_named_or_dropped_after_the_split(tmp_path):
    root = folders(tmp_path / "data", "abcdefghijkl")
    whole = {split: image_folder(path=str(root), **SMALL).groups(split) for split in SPLITS}
    small_one = sorted(whole["train"])[0]
    (root / small_one / "0.png").unlink()
    with pytest.raises(DataError, match=f"shots . queries is 3, but class '{small_one}' has 2 images: .*=drop"):
        image_folder(path=str(root), **SMALL).prepare()
    suite = image_folder(path=str(root), min_images="drop", **SMALL)
    assert {split: suite.groups(split) for split in SPLITS} == {**whole, "train": whole["train"] - {small_one}}
    assert f"1 of 7 train classes have under 3 images and are left out: '{small_one}' (2)" in "".join(suite.notes())


def test_what_a_split_file_leaves_out_is_said(tmp_path):
    root = folders(tmp_path / "data", "abcdefgh")
    split = "a,train\nb,train\nc,val\nd,val\ne,test\nf,Test\n"
    (root / "s.csv").write_text(split, encoding="utf-8")
    assert "the split file leaves out 2 classes with 6 images: 'g', 'h'" in notes(root, split="s.csv")
    (root / "s.json").write_text('{"a": "train", "a": "test"}', encoding="utf-8")
    with pytest.raises(DataError, match="'a' is in two splits"):
        classes(root, split="s.json")


def test_a_stray_folder_beside_splits_is_refused(tmp_path):
    root = folders(tmp_path / "data", ["train/a", "train/b", "val/c", "val/d", "test/e", "test/f", "extra/g"])
    with pytest.raises(DataError, match="its top folders are splits .*, but for 'extra'"):
        classes(root)


def test_a_start_reads_no_file_and_one_that_changed_is_seen(tmp_path, monkeypatch):
    root = folders(tmp_path / "data", "abcdefghij")
    monkeypatch.setattr(image_files, "SETTLED", -1.0)
    first = image_folder(path=str(root), **SMALL)
    first.prepare()
    with monkeypatch.context() as patch:
        patch.setattr(image_files, "in_parallel", None)  # in which files are read
        again = image_folder(path=str(root), **SMALL)
        again.prepare()
    assert first.digest() == again.digest()
    (root / "a" / "0.png").write_bytes(noise(999))
    assert image_folder(path=str(root), **SMALL).digest() != first.digest()


NAMES = st.text("aé:b e\u0301ß", min_size=1, max_size=4).filter(lambda name: name.strip(". ") == name)


@tries(15)
@given(st.dictionaries(NAMES, st.integers(1, 3), max_size=6))
def test_every_image_is_used_or_said(tmp_path_factory, kinds):
    """Of any folder: a class has all of its images, in one form of its name, or is named as left out."""
    root = tmp_path_factory.mktemp("data")
    kinds |= dict.fromkeys(("x1", "x2", "y1", "y2", "z1", "z2"), 2)
    counts: dict[str, int] = {}
    for place, (name, count) in enumerate(kinds.items()):
        (root / name).mkdir()
        for number in range(count):
            (root / name / f"{place}-{number}.png").write_bytes(noise(10 * place + number))
        counts[unicodedata.normalize("NFC", name)] = counts.get(unicodedata.normalize("NFC", name), 0) + count
    split = {name: {"y": "validation", "z": "test"}.get(name[0], "train") for name in kinds}
    (root / "s.json").write_text(json.dumps(split), encoding="utf-8")
    suite = image_folder(path=str(root), split="s.json", min_images="drop", **{**SMALL, "queries": 1})
    assert set().union(*map(suite.groups, SPLITS)) == {name for name, count in counts.items() if count > 1}
    small_ones = [name for name, count in counts.items() if count == 1]
    assert all(f"'{name}' (1)" in "".join(suite.notes()) for name in small_ones)
    assert bool(suite.notes()) == bool(small_ones)

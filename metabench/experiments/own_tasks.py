"""One task in files: class folders of images, or a CSV file, as arrays for a trained learner: `metabench adapt`."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from metabench.errors import UserError, attempt
from metabench.registry.parameters import shown

if TYPE_CHECKING:
    from PIL.Image import Image

    from metabench.engine.arrays import Form

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
MOST = 10_000
"""Files, or rows, that one task may have."""


class OwnTask(NamedTuple):
    """What was read: arrays, and what to call each query point."""

    support_x: np.ndarray[Any, Any]
    support_y: Any
    query_x: np.ndarray[Any, Any]
    names: list[str]
    truth: list[Any]
    """What is known of the query points: labels or values; empty where nothing is."""
    notes: list[str]
    """What was done to them, for the user."""


def images(support: Path, query: Path, form: Form, invert: bool) -> OwnTask:
    """Images in folders by class, and images to tell apart; in folders of the same names their classes are known."""
    if len(form.x_shape) != 3 or not form.x_floating or form.x_shape[0] not in (1, 3) or form.ways is None:
        raise UserError(f"The learner takes inputs of shape {form.x_shape}, not images of classes: see --csv.")
    channels, height, width = form.x_shape
    classes = {folder.name: files for folder in folders(support) if (files := image_files(folder))}
    if len(classes) < 2:
        raise UserError(f"'{support}' must hold a folder of images for each class, two at least.")
    asked = [(path, "") for path in image_files(query)]
    asked += [(path, folder.name) for folder in folders(query) for path in image_files(folder)]
    if not asked:
        raise UserError(f"'{query}' holds no images ({', '.join(SUFFIXES)}).")

    def read(paths: list[Path]) -> np.ndarray[Any, Any]:
        return np.stack([pixels(path, channels, height, width, invert) for path in paths])

    colour = "grey" if channels == 1 else "colour"
    done = f"made {width} x {height}, {colour}, from 0 to 1" + (", inverted" if invert else ", not inverted")
    known = [label for _, label in asked]
    return OwnTask(
        read([path for files in classes.values() for path in files]),
        [label for label, files in classes.items() for _ in files],
        read([path for path, _ in asked]),
        [path.relative_to(query).as_posix() for path, _ in asked],
        known if set(known) <= classes.keys() else [],
        [f"Images are turned upright, transparent ones put on white, {done}."],
    )


def folders(place: Path) -> list[Path]:
    """The folders in a folder, by name. Raises UserError."""
    with attempt(f"read the folder '{place}'"):
        return sorted(path for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))


def image_files(folder: Path) -> list[Path]:
    """The images in a folder itself, by name. Raises UserError."""
    with attempt(f"read the folder '{folder}'"):
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if len(found) > MOST:
        raise UserError(f"'{folder}' holds {len(found):,} images, a task may have {MOST:,}.")
    return found


def pixels(path: Path, channels: int, height: int, width: int, invert: bool) -> np.ndarray[Any, Any]:
    """An image file as float32 (channels, height, width) from 0 to 1. Raises UserError."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            image = flat(ImageOps.exif_transpose(file)).convert("L" if channels == 1 else "RGB")
    except Exception as error:
        raise UserError(f"Cannot read the image '{path}': {error}.") from None
    small = image.resize((width, height), Image.Resampling.LANCZOS)
    found = np.asarray(small, dtype=np.float32).reshape(height, width, channels).transpose(2, 0, 1) / 255
    return 1 - found if invert else found


def flat(image: Image) -> Image:
    """The image on white where it is transparent; 16 bits become 8."""
    from PIL import Image

    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image, dtype=np.float64) / 257).clip(0, 255).astype(np.uint8))
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image
    whole = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole)


def table(support: Path, query: Path, form: Form, target: str) -> OwnTask:
    """Rows of CSV files with a heading; the target's column is the last one where it is not named."""
    if len(form.x_shape) != 1 or not form.x_floating:
        raise UserError(f"The learner takes inputs of shape {form.x_shape}, not rows of numbers.")
    heading, rows = read_csv(support)
    asked, others = read_csv(query)
    target = target or heading[-1]
    if target not in heading:
        raise UserError(f"'{support}' has no column '{target}'. Its columns: {', '.join(heading)}.")
    names = [name for name in heading if name != target]
    if len(names) != form.x_shape[0]:
        raise UserError(f"The learner takes {form.x_shape[0]} inputs, and '{support}' has {len(names)}: {names}.")
    if missing := [name for name in names if name not in asked]:
        raise UserError(f"'{query}' has no column '{missing[0]}'.")
    number = form.ways is None

    def column(path: Path, name: str, heading: list[str], rows: list[list[str]]) -> list[Any]:
        place = heading.index(name)
        return [row[place] if name == target and not number else value(path, name, at, row[place])
                for at, row in enumerate(rows, 2)]  # fmt: skip

    def inputs(path: Path, heading: list[str], rows: list[list[str]]) -> np.ndarray[Any, Any]:
        return np.array([column(path, name, heading, rows) for name in names]).T

    return OwnTask(
        inputs(support, heading, rows),
        column(support, target, heading, rows),
        inputs(query, asked, others),
        [f"row {number}" for number in range(2, len(others) + 2)],
        column(query, target, asked, others) if target in asked else [],
        [f"Inputs: {', '.join(names)}, as they stand; target: {target}."],
    )


def read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    """Heading and rows. Raises UserError."""
    try:
        with attempt(f"read '{path}'"), open(path, newline="", encoding="utf-8-sig") as file:
            heading, *rows = [row for row in csv.reader(file) if row] or [[]]
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"'{path}' is no CSV file: {error}.") from None
    if not rows or len(set(heading)) < len(heading):
        raise UserError(f"'{path}' must have a heading of distinct names, and rows below it.")
    if len(rows) > MOST:
        raise UserError(f"'{path}' has {len(rows):,} rows, a task may have {MOST:,}.")
    for at, row in enumerate(rows, 2):
        if len(row) != len(heading):
            raise UserError(f"'{path}', row {at}: {len(row)} values for {len(heading)} columns.")
    return heading, rows


def value(path: Path, name: str, row: int, text: str) -> float:
    """A number in a CSV file. Raises UserError."""
    try:
        return float(text)
    except ValueError:
        raise UserError(f"'{path}', row {row}: '{name}' is {shown(text)}, not a number.") from None

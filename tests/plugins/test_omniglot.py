"""Omniglot from METABENCH_DATA where it is set, else from archives of the official layout made here."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metabench.api import DataError
from metabench.engine.seeds import random_generator
from metabench_plugins.suites.omniglot import ARCHIVES, COUNTS, HELD_OUT, URL, characters, omniglot, small

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("omniglot")]  # its drawings are read once

HELD_OUT_SIZES = (41, 22, 22, 40, 17)


def png(ink: tuple[int, int]) -> bytes:
    """A drawing of 105x105, 1 bit: a black square at `ink` on white."""
    pixels = np.full((105, 105), 255, dtype=np.uint8)
    pixels[ink[0] : ink[0] + 15, ink[1] : ink[1] + 15] = 0
    content = io.BytesIO()
    Image.fromarray(pixels).convert("1").save(content, "PNG")
    return content.getvalue()


def write_archive(path: Path, alphabets: dict[str, int], drawings: int = 20) -> None:
    """An archive of the official layout, `alphabets` giving the characters of each."""
    square = png((0, 10))
    with zipfile.ZipFile(path, "w") as archive:
        for alphabet, count in alphabets.items():
            for character in range(1, count + 1):
                for drawing in range(1, drawings + 1):
                    file = f"{path.stem}/{alphabet}/character{character:02}/0001_{drawing:02}.png"
                    archive.writestr(file, square)


@pytest.fixture(scope="module", autouse=True)
def data(tmp_path_factory):
    """A folder with both archives, as METABENCH_DATA, and an empty cache."""
    patch = pytest.MonkeyPatch()
    patch.setenv("METABENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    if not os.environ.get("METABENCH_DATA"):
        folder = tmp_path_factory.mktemp("data") / "omniglot"
        folder.mkdir()
        rest = ARCHIVES["images_background"][1] - sum(HELD_OUT_SIZES)
        write_archive(folder / "images_background.zip", dict(zip(HELD_OUT, HELD_OUT_SIZES)) | {"Latin": rest})
        write_archive(folder / "images_evaluation.zip", {"Angelic": ARCHIVES["images_evaluation"][1]})
        patch.setenv("METABENCH_DATA", str(folder.parent))
    yield
    patch.undo()


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """A folder for archives that are not as they should be."""
    folder = tmp_path / "omniglot"
    folder.mkdir()
    monkeypatch.setenv("METABENCH_DATA", str(tmp_path))
    return folder


@pytest.mark.parametrize("split", ["background", "random"])
def test_splits_have_the_stated_characters_and_share_none(split):
    suite = omniglot(split=split)
    groups = {name: suite.groups(name) for name in COUNTS[split]}
    assert {name: len(members) for name, members in groups.items()} == COUNTS[split]
    assert len(frozenset.union(*groups.values())) == 1623


def test_the_background_split_tests_on_the_evaluation_alphabets():
    suite = omniglot()
    assert {name.split("/")[0] for name in suite.groups("test")} == {"images_evaluation"}
    assert {name.split("/")[1] for name in suite.groups("validation")} == set(HELD_OUT)


def test_rotations_are_four_classes_of_one_character():
    turned, plain = omniglot(), omniglot(rotations=False)
    assert turned.pool().classes == 4 * plain.pool().classes == 4 * 822
    assert turned.groups("train") == plain.groups("train")


def test_drawings_are_light_on_dark_and_upright():
    image = small(png((0, 10)))
    assert image.shape == (28, 28)
    assert image.dtype == np.uint8
    assert image[1, 4] > 200
    assert image[20:].max() == 0


def test_resized_to_the_nearest_pixel_a_drawing_stays_of_one_bit_as_pillow_makes_it():
    image = Image.open(io.BytesIO(png((7, 3))))
    theirs = np.asarray(image.resize((28, 28), Image.Resampling.LANCZOS))  # of mode 1: Pillow takes the nearest
    assert ((small(png((7, 3)), "nearest") == 255) == ~theirs).all()
    assert set(np.unique(small(png((7, 3)), "nearest"))) == {0, 255}
    assert len(np.unique(small(png((7, 3)), "lanczos"))) > 2


def test_both_ways_to_resize_are_kept_apart_in_the_cache():
    assert not torch.equal(characters("lanczos")[0], characters("nearest")[0])
    assert torch.equal(characters("lanczos")[0], characters()[0])


@pytest.mark.parametrize("shots", [1, 5])
def test_the_paper_recipe_takes_the_data_of_mamls_code(shots):
    paper = omniglot(shots=shots).recipes["paper"]
    assert paper.suite == {"split": "random", "rotations": True, "resize": "nearest", "queries": shots}
    omniglot(shots=shots, **paper.suite)


def test_tasks_have_the_asked_shape():
    tasks = omniglot(ways=20, shots=2, queries=3).sample("test", 2, random_generator("shape"))
    assert tasks.support.x.shape == (2, 40, 1, 28, 28)
    assert tasks.query.y.shape == (2, 60)
    assert 0 < tasks.support.x.mean() < 0.5


@pytest.mark.parametrize("model", ["conv", "conv_pool", "mlp"])
def test_models_take_the_images(model):
    built = omniglot(ways=20, model=model, filters=8).model()
    assert built(torch.rand(4, 1, 28, 28)).shape == (4, 20)


def test_the_cache_gives_what_the_archive_gave():
    pixels, names = characters()
    again, names_again = characters()
    assert pixels.shape == (1623, 20, 28, 28)
    assert torch.equal(pixels, again)
    assert names == names_again


def test_an_archive_that_is_no_archive_is_named(broken):
    path = broken / "images_background.zip"
    path.write_bytes(b"404: Not Found")
    with pytest.raises(DataError) as caught:
        omniglot().prepare()
    assert str(caught.value) == (
        f"Suite 'omniglot': '{path}' cannot be read (BadZipFile: File is not a zip file). "
        f"Replace it with {URL}images_background.zip."
    )


def test_an_archive_with_characters_missing_is_named(broken):
    path = broken / "images_background.zip"
    write_archive(path, {"Latin": 3, "Greek": 2}, drawings=20)
    with pytest.raises(DataError) as caught:
        omniglot().prepare()
    assert str(caught.value) == (
        f"Suite 'omniglot': '{path}' is incomplete: expected 964 characters with 20 drawings each, found 5, "
        f"of which 5 with 20. Replace it with {URL}images_background.zip."
    )


def test_an_archive_cut_within_a_drawing_is_named(broken):
    path = broken / "images_background.zip"
    write_archive(path, {"Latin": 964})
    content = bytearray(path.read_bytes())
    content[100:140] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"^Suite 'omniglot': '.*images_background\.zip' cannot be read \(BadZipFile"):
        omniglot().prepare()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"ways": 200, "rotations": False},
            "ways is 200, but the validation split has 142 classes: choose at most 142",
        ),
        (
            {"shots": 10, "queries": 15},
            "shots + queries is 25, but a class has 20 drawings: choose at most 20 together",
        ),
    ],
)
def test_parameters_that_cannot_be_met_are_refused_before_any_data_is_read(parameters, message, broken):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        omniglot(**parameters)
    assert str(caught.value) == message


def test_the_paper_recipe_follows_the_ways():
    few, many = (omniglot(ways=ways).recipes["paper"] for ways in (5, 20))
    assert few.shared == {"inner_lr": 0.4, "inner_steps": 1, "outer_lr": 1e-3, "train_lr": 1e-3}
    assert few.budget["meta_batch_size"] == 32
    assert many.shared["inner_lr"] == 0.1
    assert many.budget["meta_batch_size"] == 16

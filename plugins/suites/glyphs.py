"""Few-shot classification of printed letters, with no download: the fonts come with matplotlib.

A class is a letter, drawn in the twelve DejaVu styles, twice in each, every drawing rotated, sheared, scaled
and moved at random. Training is on Latin and Greek (905 letters), validation on Cyrillic (76), the test on
Armenian and Georgian (120). A letter that is to the eye the same as another of its split, or like one of
another split, is left out: no Latin O in training, since the test has the Armenian Oh.

Nearest neighbour on raw pixels, 5-way 1-shot on the test split: 48.1% (85.5% without the
distortion); `pytest -s tests/plugins/test_glyphs.py` measures both again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from msgspec.structs import replace
from torch import nn

from metabench.api import (
    Range,
    Recipe,
    Shape,
    Size,
    Splits,
    Suite,
    SuiteFactory,
    cached_arrays,
    check_drawings,
    hookimpl,
    image_suite,
    stacked,
)
from metabench_plugins.suites import backbones, lettering
from metabench_plugins.suites.omniglot_recipes import QUICK, QUICK_REPTILE, omniglot_recipes
from metabench_plugins.suites.sinusoid import COMPARED

SCRIPTS = {
    "test": ("ARMENIAN", "GEORGIAN"),
    "train": ("LATIN", "GREEK"),
    "validation": ("CYRILLIC",),
}
"""The scripts of each split, in the order in which the splits choose their letters."""

COPIES = 2
"""Drawings of a letter in each style."""

STYLES = 12

SAME = 0.02
"""The dissimilarity under which two letters of one split count as one."""

ALIKE = 0.3
"""The dissimilarity under which two letters may not be in two splits."""


@hookimpl
def register_suites() -> dict[str, SuiteFactory]:
    return {"glyphs": glyphs}


def glyphs(
    *,
    ways: Annotated[int, Range(ge=2)] = 5,
    shots: Size = 1,
    queries: Size = 5,
    model: Literal["conv", "mlp"] = "conv",
    filters: Size = 16,
) -> Suite:
    """Printed letters: 28x28, 24 drawings each, scripts of the test never seen in training. No download.

    No paper has numbers on this suite: the recipe `paper` is that of Omniglot.

    Args:
        ways: Classes of a task.
        shots: Images of each class in the support set.
        queries: Images of each class in the query set.
        model: The strided network of MAML on Omniglot, or its network without convolution.
        filters: Filters of each convolution; 16 train in seconds, the paper has 64.
    """
    shape = Shape(ways, shots, queries)
    check_drawings(shape, COPIES * STYLES)
    return image_suite("glyphs", shape, load, network(model, ways, filters), recipes(ways))


def recipes(ways: int) -> dict[str, Recipe]:
    """Omniglot's, with its 64 filters; `quick` for minutes on a CPU, in the default run."""
    found = omniglot_recipes(ways, {"updates": 250, "meta_batch_size": 16, **QUICK})
    reptile = {
        "inner_optimizer": "sgd",
        "inner_lr": 0.1,
        "inner_steps": 5,
        "batch_size": 10,
        "meta_batch_size": 5,
    }
    quick = found["quick"]
    return {
        "paper": replace(found["paper"], suite={"filters": 64}),
        "quick": replace(
            quick,
            source=quick.source.replace(QUICK_REPTILE, "Reptile takes plain inner steps, fit for few."),
            algorithms={**quick.algorithms, "reptile": reptile},
            compare=COMPARED,
        ),
    }


def network(model: str, ways: int, filters: int) -> Callable[[], nn.Module]:
    """The function that makes a freshly initialised model."""
    if model == "mlp":
        pixels = lettering.SIZE**2
        return functools.partial(backbones.mlp_normalised, pixels, backbones.FULLY_CONNECTED, ways)
    return functools.partial(backbones.conv_strided, ways, filters)


def load() -> Splits:
    """The drawings of every split, from the cache or drawn now (seconds)."""
    files = lettering.font_files()
    key = f"glyphs-{lettering.fingerprint((*files, Path(lettering.__file__), Path(__file__)))}"
    arrays = cached_arrays(key, lambda: draw(files))
    return Splits(
        {
            split: stacked(torch.from_numpy(arrays[split]), tuple(arrays[f"{split} letters"].tolist()))
            for split in ("train", "validation", "test")
        }
    )


def draw(files: Sequence[Path]) -> dict[str, np.ndarray]:
    """By split: its drawings, uint8 (letters, 24, 28, 28), and its letters."""
    arrays = {}
    for split, chosen in choose(files).items():
        arrays[split] = lettering.drawings(chosen, files, COPIES)
        arrays[f"{split} letters"] = np.array(chosen)
    return arrays


def choose(files: Sequence[Path]) -> dict[str, tuple[str, ...]]:
    """The letters of each split: no two of one split the same, none like a letter of another split.

    Letters are compared undistorted, in the upright sans and serif styles, each scaled to the same size, so
    that capitals and small letters of one shape count as one.
    """
    written = {
        letter: split
        for letter in lettering.letters(files)
        for split, scripts in SCRIPTS.items()
        if lettering.script(letter) in scripts
    }
    found = sorted(written, key=lambda letter: list(SCRIPTS).index(written[letter]))
    upright = [path for path in files if path.stem in {"DejaVuSans", "DejaVuSerif"}]
    drawn = [lettering.shapes(found, path) for path in upright]
    apart = np.minimum.reduce([lettering.dissimilarity(shapes, shapes) for shapes in drawn])
    origin = np.array([written[letter] for letter in found])
    least = np.where(origin[:, None] == origin[None], SAME, ALIKE)
    kept: list[int] = []
    for index in range(len(found)):
        if (apart[index, kept] >= least[index, kept]).all():
            kept.append(index)
    return {split: tuple(found[index] for index in kept if origin[index] == split) for split in SCRIPTS}

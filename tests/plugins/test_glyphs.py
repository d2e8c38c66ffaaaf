"""The embedded suite: who is in which split, and that it is neither too easy nor impossible."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from metabench.api import DataError
from metabench.api.classes import Shape, stacked
from metabench.api.few_shot import sample_tasks
from metabench.engine.seeds import random_generator
from metabench_plugins.algorithms.nearest import nearest_targets
from metabench_plugins.suites import lettering
from metabench_plugins.suites.glyphs import ALIKE, COPIES, SCRIPTS, STYLES, glyphs


@pytest.fixture(scope="module")
def suite():
    return glyphs()


def test_each_split_has_its_own_scripts(suite):
    for split, scripts in SCRIPTS.items():
        assert {lettering.script(letter) for letter in suite.groups(split)} == set(scripts)


def test_there_are_enough_letters(suite):
    counts = {split: len(suite.groups(split)) for split in SCRIPTS}
    assert counts["train"] >= 900
    assert counts["validation"] >= 70
    assert counts["test"] >= 100
    assert suite.pool().classes == counts["train"]


@pytest.mark.parametrize("style", ["DejaVuSans.ttf", "DejaVuSerif.ttf"])
def test_no_letter_looks_like_one_of_another_split(suite, style):
    path = next(path for path in lettering.font_files() if path.name == style)
    drawn = {split: lettering.shapes(sorted(suite.groups(split)), path) for split in SCRIPTS}
    for one, other in itertools.combinations(SCRIPTS, 2):
        assert lettering.dissimilarity(drawn[one], drawn[other]).min() >= ALIKE


@pytest.mark.parametrize(
    "lookalikes", ["AΑА", "HΗН", "SSՏs", "yУу", "oοоօ", "cϲс", "UՍ", "hհһ", "gց", "nո", "pрρ", "ÄӒ"]
)
def test_known_lookalikes_are_in_one_split_at_most(suite, lookalikes):
    holding = [split for split in SCRIPTS if suite.groups(split) & set(lookalikes)]
    assert len(holding) <= 1


def test_every_letter_of_every_style_is_drawn(suite):
    assert len(lettering.font_files()) == STYLES
    tasks = glyphs(ways=70, shots=12, queries=12).sample("validation", 1, random_generator("ink"))
    for part in tasks:
        assert part.x.shape[-2:] == (28, 28)
        assert (part.x.flatten(2).amax(2) > 0.4).all()
        assert part.x.min() == 0


def test_a_drawing_depends_on_its_letter_and_style_alone():
    files = lettering.font_files()
    together = lettering.drawings(("A", "B"), files, COPIES)
    alone = lettering.drawings(("B",), files, COPIES)
    assert np.array_equal(together[1], alone[0])
    assert len(np.unique(alone[0].reshape(COPIES * STYLES, -1), axis=0)) == COPIES * STYLES


def nearest_neighbour(tasks):
    """The share of query points, over all tasks, whose nearest support point has their label."""
    answers = torch.vmap(nearest_targets)(tasks.support, tasks.query.x)
    return (answers == tasks.query.y).float().mean().item()


def test_nearest_neighbour_on_raw_pixels_scores_under_60_percent(suite):
    score = nearest_neighbour(suite.sample("test", 600, random_generator("nearest")))
    print(f"nearest neighbour, distorted: {score:.1%}")
    assert 0.45 < score < 0.58


def test_distortion_is_what_makes_it_hard(suite):
    plain = lettering.drawings(sorted(suite.groups("test")), lettering.font_files(), 1, distorted=False)
    tasks = sample_tasks(
        stacked(torch.from_numpy(plain), tuple(map(str, range(len(plain))))),
        Shape(5, 1, 5),
        600,
        random_generator("nearest"),
    )
    score = nearest_neighbour(tasks)
    print(f"nearest neighbour, undistorted: {score:.1%}")
    assert score > 0.8


@pytest.mark.parametrize("model", ["conv", "mlp"])
def test_models_take_the_images(model):
    suite = glyphs(ways=7, model=model)
    x = suite.sample("train", 1, random_generator("model")).support.x[0]
    assert suite.model()(x).shape == (7, 7)


def test_too_many_ways_names_the_split_and_its_classes():
    suite = glyphs(ways=110)
    with pytest.raises(DataError, match=r"^Suite 'glyphs': ways is 110, but the validation split has 7\d classes"):
        suite.prepare()


def test_too_many_drawings_are_refused_at_once():
    with pytest.raises(ValueError, match="shots \\+ queries is 25, but a class has 24 drawings"):
        glyphs(shots=10, queries=15)

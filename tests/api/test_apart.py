"""Training apart from the test: the size of tasks, and images that are changed."""

from __future__ import annotations

import pytest
import torch

from metabench.api import Shape, Splits, of_classes
from metabench.api.apart import as_tested, augmented, trained_apart
from metabench.api.classes import check_classes
from metabench.api.few_shot import image_suite
from metabench.engine.seeds import random_generator


def colours(ways: int = 3, shots: int = 1, queries: int = 2, channels: int = 3):
    """A suite of 8x16 images in bytes, 6 classes a split, 8 images each."""
    pixels = torch.randint(0, 256, (144, channels, 8, 16), generator=random_generator("pixels"), dtype=torch.uint8)
    images = of_classes(pixels, [f"class {row // 8}" for row in range(144)])
    names = [images.names[place : place + 6] for place in (0, 6, 12)]
    found = {split: images.only(part) for split, part in zip(("train", "validation", "test"), names)}
    shape = Shape(ways, shots, queries)
    model = lambda: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(channels * 128, ways))  # noqa: E731
    return image_suite("colours", shape, lambda: Splits(found), model, {})


def drawn(suite, split: str = "train", n: int = 4):
    return suite.sample(split, n, random_generator("tasks", split))


def test_each_split_has_tasks_of_its_own_size_and_the_model_an_output_for_each_class_of_training():
    suite = trained_apart(colours(), {"train_ways": 6, "test_shots": 2, "test_queries": 3}, colours)
    suite.prepare()
    assert drawn(suite).support.y.shape == (4, 6)
    assert drawn(suite).query.y.shape == (4, 12)
    for split in ("validation", "test"):
        assert drawn(suite, split).support.y.shape == (4, 6)
        assert drawn(suite, split).query.y.shape == (4, 9)
    assert suite.ways == 6
    assert suite.model()(drawn(suite).support.x[0]).shape == (6, 6)


def test_a_class_that_a_task_has_not_does_not_count_in_its_scores():
    narrow, suite = colours(), trained_apart(colours(), {"train_ways": 6}, colours)
    batch = drawn(suite, "test").query._replace(x=drawn(suite, "test").query.x[0], y=drawn(suite, "test").query.y[0])
    logits = torch.randn(6, 6, generator=random_generator("logits"))
    logits[:, 4] = 100.0
    ours = suite.metrics(lambda x: logits, batch)
    alone = narrow.metrics(lambda x: logits[:, :3], batch)
    assert {name: float(each) for name, each in ours.items()} == pytest.approx(
        {name: float(each) for name, each in alone.items()}
    )


def test_tasks_that_do_not_change_are_drawn_as_before():
    suite = trained_apart(colours(), {"train_ways": 6}, colours)
    assert torch.equal(drawn(suite, "test").query.x, drawn(colours(), "test").query.x)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"train_ways": 2}, "train_ways is 2, and must be at least ways, 3"),
        ({"train_ways": 7}, "train_ways is 7, but the train split has 6 classes"),
        ({"test_ways": 7}, "test_ways is 7, but the validation split has 6 classes"),
        ({"test_ways": 1}, "test_ways is 1, and must be at least 2"),
        ({"train_ways": 4, "test_ways": 5}, "train_ways and test_ways are both given"),
        ({"test_queries": 8}, "shots . queries is 9, but class 'class 6' has 8 images"),
    ],
)
def test_what_the_data_cannot_give_is_one_line(given, words):
    with pytest.raises(ValueError, match=words):
        trained_apart(colours(), given, colours).prepare()


def test_training_may_have_more_classes_than_a_task_of_the_test_could():
    """Whatever else a factory refuses: 16 classes to validate on are no limit to the 64 of training."""

    def narrow(ways: int = 3):
        check_classes(Shape(ways, 1, 2), "validation", 4)
        return colours(ways)

    suite = trained_apart(narrow(), {"train_ways": 5}, narrow)
    suite.prepare()
    assert suite.model()(drawn(suite).support.x[0]).shape == (5, 5)
    with pytest.raises(ValueError, match="ways is 5, but the validation split has 4 classes"):
        narrow(5)


@pytest.mark.parametrize("other", [2, 5])
def test_validation_and_test_may_have_tasks_of_other_ways_and_a_model_for_them(other):
    suite = trained_apart(colours(), {"test_ways": other}, colours)
    suite.prepare()
    assert (suite.ways, suite.test_ways) == (3, other)
    assert torch.equal(drawn(suite).query.x, drawn(colours()).query.x)
    for split in ("validation", "test"):
        assert torch.equal(drawn(suite, split).query.x, drawn(colours(other), split).query.x)
    tested = as_tested(suite)
    assert tested.ways == other
    assert tested.model()(drawn(tested).support.x[0]).shape == (other, other)
    assert as_tested(colours()).sample is not tested.sample


def test_a_suite_with_tasks_of_its_own_making_is_refused():
    suite = colours()._replace(sample=lambda split, n, generator: drawn(colours(), split))
    with pytest.raises(ValueError, match="its tasks are of its own making, and have no test_shots"):
        trained_apart(suite, {"test_shots": 2}, colours)


@pytest.mark.parametrize("how", ["flip", "flip-crop", "flip-crop-jitter"])
def test_only_training_images_are_changed_each_in_its_own_way_and_the_same_again(how):
    plain, suite = colours(), augmented(colours(), how)
    for split in ("validation", "test"):
        assert torch.equal(drawn(suite, split).support.x, drawn(plain, split).support.x)
        assert torch.equal(drawn(suite, split).query.x, drawn(plain, split).query.x)
    one, before = drawn(suite), drawn(plain)
    assert torch.equal(one.query.x, drawn(suite).query.x)
    assert torch.equal(one.query.y, before.query.y)
    same = [torch.equal(a, b) for a, b in zip(one.query.x.flatten(0, 1), before.query.x.flatten(0, 1))]
    assert not all(same)
    assert any(same) or how != "flip"
    assert one.query.x.min() >= 0
    assert one.query.x.max() <= 1
    assert suite.pool().sample(3, random_generator("pool")).x.shape == (3, 3, 8, 16)
    assert torch.equal(suite.sample.on("cpu")("train", 4, random_generator("tasks", "train")).query.x, one.query.x)


def test_a_crop_holds_the_image_moved_by_no_more_than_its_frame():
    x = drawn(augmented(colours(), "crop")).query.x.flatten(0, 1)
    plain = drawn(colours()).query.x.flatten(0, 1)
    framed = torch.nn.functional.pad(plain, (2, 2, 1, 1))
    for moved, whole in zip(x, framed):
        found = [torch.equal(moved, whole[:, i : i + 8, j : j + 16]) for i in range(3) for j in range(5)]
        assert any(found)


def test_grey_images_are_not_augmented():
    with pytest.raises(ValueError, match=r"augment is for colour images, and these are \(1, 8, 16\)"):
        drawn(augmented(colours(channels=1), "flip"))

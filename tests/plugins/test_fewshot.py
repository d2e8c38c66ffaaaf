"""Properties of few-shot classification tasks, on images that carry their own class and drawing."""

from __future__ import annotations

import pytest
import torch

from metabench.api import Batch, DataError
from metabench.api.classes import Shape, Splits, stacked
from metabench.api.few_shot import distinct, image_suite, sample_tasks
from metabench.engine.seeds import random_generator

CLASSES, DRAWINGS = 30, 8
SHAPE = Shape(ways=5, shots=2, queries=3)


def labelled(classes: int = CLASSES, drawings: int = DRAWINGS) -> torch.Tensor:
    """uint8 (classes, drawings, 2, 2): the first pixel is the class, the second the drawing."""
    pixels = torch.zeros(classes, drawings, 2, 2, dtype=torch.uint8)
    pixels[..., 0, 0] = torch.arange(classes)[:, None]
    pixels[..., 0, 1] = torch.arange(drawings)
    return pixels


def suite(shape: Shape = SHAPE, splits=("train", "validation", "test")):
    names = tuple(f"class {number}" for number in range(CLASSES))
    load = {split: stacked(labelled(), tuple(f"{split} {name}" for name in names)) for split in splits}
    return image_suite("toy", shape, lambda: Splits(load), lambda: torch.nn.Linear(4, shape.ways), {})


@pytest.fixture(scope="module")
def tasks():
    return sample_tasks(stacked(labelled(), tuple(map(str, range(CLASSES)))), SHAPE, 400, random_generator("tasks"))


def read(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """The class and the drawing of each point, (tasks, points)."""
    pixels = (batch.x * 255).round().long()
    return pixels[:, :, 0, 0, 0], pixels[:, :, 0, 0, 1]


def test_shapes_and_types(tasks):
    assert tasks.support.x.shape == (400, 10, 1, 2, 2)
    assert tasks.query.x.shape == (400, 15, 1, 2, 2)
    assert tasks.support.x.dtype == torch.float32
    assert tasks.support.y.dtype == tasks.query.y.dtype == torch.int64
    assert tasks.support.y.shape == (400, 10)


def test_a_label_is_one_class_in_support_and_query(tasks):
    classes = torch.cat([read(tasks.support)[0], read(tasks.query)[0]], 1)
    labels = torch.cat([tasks.support.y, tasks.query.y], 1)
    same_class = classes[:, :, None] == classes[:, None]
    same_label = labels[:, :, None] == labels[:, None]
    assert torch.equal(same_class, same_label)


def test_a_drawing_occurs_once_in_a_task(tasks):
    points = torch.cat([torch.stack(read(part), -1) for part in tasks], 1)
    for task in points.tolist():
        assert len({tuple(point) for point in task}) == len(task)


def test_any_run_of_ways_points_holds_every_class(tasks):
    for part in tasks:
        runs = part.y.unfold(1, SHAPE.ways, 1).sort(-1).values
        assert torch.equal(runs, torch.arange(SHAPE.ways).expand_as(runs))


def test_every_class_is_as_likely_under_every_label(tasks):
    first_shot = read(tasks.support)[0][:, : SHAPE.ways]
    counts = torch.stack([first_shot[:, label].bincount(minlength=CLASSES) for label in range(SHAPE.ways)])
    expected = 400 / CLASSES
    assert ((counts - expected) ** 2 / expected).sum() < 145 + 4 * 290**0.5  # chi-squared, four deviations


@pytest.mark.parametrize("count", [1, 3, 6])
def test_distinct_draws_every_arrangement_as_often(count):
    rows, population = 60_000, 6
    drawn = distinct(rows, count, population, random_generator("distinct"))
    arrangements = torch.tensor(population) ** torch.arange(count)
    counts = (drawn * arrangements).sum(1).unique(return_counts=True)[1]
    possible = torch.arange(population - count + 1, population + 1).prod().item()
    expected = rows / possible
    assert len(counts) == possible
    assert ((counts - expected) ** 2 / expected).sum() < possible + 4 * (2 * possible) ** 0.5


def test_tasks_depend_on_the_generator_alone():
    torch.manual_seed(1)
    first = suite().sample("train", 3, random_generator("a"))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again, other = (
        suite().sample("train", 3, random_generator("a")),
        suite().sample("train", 3, random_generator("b")),
    )
    assert torch.equal(first.support.x, again.support.x)
    assert torch.equal(first.query.x, again.query.x)
    assert not torch.equal(first.support.x, other.support.x)
    assert torch.equal(state, torch.get_rng_state())


def test_the_pool_gives_training_classes_as_targets():
    pool = suite().pool()
    batch = pool.sample(500, random_generator("pool"))
    assert pool.classes == CLASSES
    assert batch.x.shape == (500, 1, 2, 2)
    assert torch.equal((batch.x[:, 0, 0, 0] * 255).round().long(), batch.y)
    assert batch.y.unique().numel() == CLASSES


def test_metrics_and_loss_of_one_task_work_under_vmap():
    built = suite()
    tasks = built.sample("test", 4, random_generator("vmap"))

    def accuracy(x, y):
        right = built.metrics(lambda x: torch.nn.functional.one_hot(y, SHAPE.ways) * 9.0, Batch(x, y))
        assert list(right) == ["accuracy", "loss", "brier", "calibration_error"]
        return right["accuracy"], built.loss(lambda x: x.flatten(1)[:, :1].expand(-1, SHAPE.ways), Batch(x, y))

    scores, losses = torch.func.vmap(accuracy)(*tasks.query)
    assert torch.equal(scores, torch.ones(4))
    assert torch.allclose(losses, torch.full((4,), 5.0).log())


def test_groups_are_the_names_of_the_classes():
    assert suite().groups("test") == {f"test class {number}" for number in range(CLASSES)}


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (Shape(1, 1, 1), "ways must be at least 2, not 1"),
        (Shape(5, 0, 1), "shots must be at least 1, not 0"),
        (Shape(5, 1, -2), "queries must be at least 1, not -2"),
    ],
)
def test_a_shape_that_no_data_has_is_refused_at_once(shape, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        suite(shape)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            Shape(31, 1, 1),
            "Suite 'toy': ways is 31, but the train split has 30 classes: choose at most 30",
        ),
        (
            Shape(5, 4, 5),
            "Suite 'toy': shots + queries is 9, but class 'train class 0' has 8 images (30 classes have too few): "
            "choose at most 8 together",
        ),
    ],
)
def test_a_shape_that_this_data_has_not_is_refused_when_loaded(shape, message):
    built = suite(shape)
    with pytest.raises(DataError) as caught:
        built.prepare()
    assert str(caught.value) == message


def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match=r"Suite 'toy' has no split 'dev'\. Available: train, validation, test\."):
        suite().sample("dev", 1, random_generator())

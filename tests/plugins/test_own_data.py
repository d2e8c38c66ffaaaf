"""Suites on one's own images and tables: every row and image counted once, every fault named in one line."""

from __future__ import annotations

import gzip
import io
import json
import re
import shlex
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from metabench.api import DataError, split_by_hash
from metabench.api.few_shot import distinct
from metabench.engine.seeds import random_generator
from metabench.testing import check_plugin
from metabench.testing.conformance import kit_of
from metabench_plugins.suites import image_files, pixels
from metabench_plugins.suites.image_folder import image_folder
from metabench_plugins.suites.own_data import given_split
from metabench_plugins.suites.tabular import tabular

SMALL = {"size": 16, "ways": 2, "shots": 1, "queries": 2, "model": "conv_strided", "filters": 4}
SPLIT = {"a": "train", "b": "train", "c": "validation", "d": "validation", "e": "test", "f": "test"}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def no_data_folder(monkeypatch):
    """Messages name every place that was looked at, and a folder of data would be one."""
    monkeypatch.delenv("METABENCH_DATA", raising=False)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


def picture(red: int, green: int = 0, size: tuple[int, int] = (20, 30), form: str = "PNG") -> bytes:
    """An image of one colour: the class is its red, the image its green."""
    content = io.BytesIO()
    Image.new("RGB", size, (red, green, 0)).save(content, form)
    return content.getvalue()


def pictures(names="abcdef", fewest=3) -> dict[str, bytes]:
    """Files of class folders; each class has one image more than the one before."""
    return {
        f"{name}/{number}.png": picture(40 * place, 10 * number)
        for place, name in enumerate(names)
        for number in range(fewest + place)
    }


def write(folder: Path, files: dict[str, bytes]) -> str:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return str(folder)


def pack(path: Path, files: dict[str, bytes]) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return str(path)


def refused(**parameters) -> str:
    """Why a suite of images is refused when it is loaded: one line."""
    with pytest.raises(DataError) as caught:
        image_folder(**{**SMALL, **parameters}).prepare()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def read(batch) -> list[tuple[int, int]]:
    """The class and the number of each image."""
    pixels = (batch.x * 255).round().long()
    return list(zip((pixels[..., 0, 8, 8] // 40).flatten().tolist(), (pixels[..., 1, 8, 8] // 10).flatten().tolist()))


def test_a_folder_and_a_zip_of_it_give_the_same_tasks(tmp_path):
    split = {"split.json": json.dumps(SPLIT).encode()}
    folder = write(tmp_path / "data", pictures() | split)
    archive = pack(tmp_path / "data.zip", {f"top/{name}": each for name, each in pictures().items()} | split)
    one, other = (image_folder(path=path, split="split.json", **SMALL) for path in (folder, archive))
    for name in ("train", "validation", "test"):
        assert one.groups(name) == other.groups(name) == {c for c, given in SPLIT.items() if given == name}
        first, second = (suite.sample(name, 5, random_generator("x")) for suite in (one, other))
        assert torch.equal(first.support.x, second.support.x)
        assert first.support.x.shape == (5, 2, 3, 16, 16)


def test_every_image_of_classes_of_different_sizes_is_drawn_and_none_twice_in_a_task(tmp_path):
    path = write(tmp_path / "data", pictures() | {"s.csv": b"class,split\n" + rows(SPLIT)})
    tasks = image_folder(path=path, split="s.csv", **SMALL).sample("test", 300, random_generator("all"))
    support, query = read(tasks.support), read(tasks.query)
    assert set(support) | set(query) == {(c, i) for c in (4, 5) for i in range(3 + c)}
    for number in range(300):
        drawn = support[2 * number : 2 * number + 2] + query[4 * number : 4 * number + 4]
        assert len(set(drawn)) == 6
    labels = torch.cat([tasks.support.y, tasks.query.y], 1)
    classes = torch.tensor([c for c, _ in support]).view(300, 2), torch.tensor([c for c, _ in query]).view(300, 4)
    same = torch.cat(classes, 1)
    assert torch.equal(same[:, :, None] == same[:, None], labels[:, :, None] == labels[:, None])


def rows(split: dict[str, str]) -> bytes:
    return "".join(f"{name},{each}\n" for name, each in split.items()).encode()


def test_grey_images_and_the_pool(tmp_path):
    path = write(tmp_path / "data", pictures() | {"s.csv": rows(SPLIT)})
    suite = image_folder(path=path, split="s.csv", channels=1, **SMALL)
    batch = suite.pool().sample(50, random_generator("pool"))
    assert batch.x.shape == (50, 1, 16, 16)
    assert suite.pool().classes == 2
    assert suite.model()(batch.x).shape == (50, 2)
    assert torch.equal(batch.y.unique(), torch.arange(2))


def test_images_of_16_bits_keep_their_shades(tmp_path):
    for number, shade in enumerate((0, 20_000, 40_000, 60_000)):
        content = io.BytesIO()
        Image.fromarray(np.full((20, 20), shade, np.uint16)).save(content, "PNG")
        assert np.unique(image_files.small(content.getvalue(), "x.png", 16, 1)) == [shade >> 8], number
    content = io.BytesIO()
    Image.fromarray(np.zeros((20, 20), np.float32)).save(content, "TIFF")
    with pytest.raises(ValueError, match="it has 32 bits a pixel"):
        image_files.small(content.getvalue(), "x.tif", 16, 1)


def test_the_cache_is_keyed_by_content(tmp_path, monkeypatch):
    path = write(tmp_path / "data", pictures() | {"s.csv": rows(SPLIT)})
    before = image_folder(path=path, split="s.csv", **SMALL).sample("test", 3, random_generator("x")).support.x
    with monkeypatch.context() as patch:
        patch.setattr(image_files, "decoded", None)  # were it called, it would fail
        again = image_folder(path=path, split="s.csv", **SMALL).sample("test", 3, random_generator("x")).support.x
    assert torch.equal(before, again)
    for name in ("e", "f"):
        for image in (tmp_path / "data" / name).iterdir():
            image.write_bytes(picture(255))
    other = image_folder(path=path, split="s.csv", **SMALL).sample("test", 3, random_generator("x")).support.x
    assert not torch.equal(before, other)


def test_top_folders_called_like_splits_are_the_splits(tmp_path):
    tops = {"train": "train", "validation": "val", "test": "test"}
    files = {f"{tops[SPLIT[name[0]]]}/{name}": content for name, content in pictures().items()}
    suite = image_folder(path=write(tmp_path / "data", files), **SMALL)
    assert {split: suite.groups(split) for split in tops} == {
        "train": {*"ab"},
        "validation": {*"cd"},
        "test": {*"ef"},
    }
    upper = {f"{name[0].upper()}{name[1:]}": content for name, content in files.items()}
    capitals = image_folder(path=write(tmp_path / "capitals", upper), **SMALL)
    assert capitals.groups("test") == {*"ef"}
    shared = files | {"test/a/1.png": picture(0), "test/a/2.png": picture(1), "test/a/3.png": picture(2)}
    suite = image_folder(path=write(tmp_path / "shared", shared), **SMALL)
    assert suite.groups("train") & suite.groups("test") == {"a"}  # which the engine refuses


def test_without_a_split_classes_go_by_their_hash():
    names = [f"class {number}" for number in range(50)]
    split = split_by_hash(names)
    assert split == split_by_hash(reversed(names))
    sizes = [sum(given == each for given in split.values()) for each in ("train", "validation", "test")]
    assert sizes == [30, 10, 10]
    assert [split[name] for name in names] != sorted(split[name] for name in names)


def test_faults_of_a_folder_are_named(tmp_path):
    good = pictures()
    assert refused(path="nowhere") == (
        "Suite 'image-folder': 'nowhere' cannot be used: there is no 'nowhere'; give the path, or with --data the "
        "folder that it is in."
    )
    empty = write(tmp_path / "empty", {"a/notes.txt": b"x"})
    assert "it holds no images in class folders; 1 file is passed over: 1 .txt (such as 'a/notes.txt')" in refused(
        path=empty
    )
    assert "the image 'c.png' lies in no class folder" in refused(
        path=write(tmp_path / "flat", good | {"c.png": b""})
    )
    assert "the image 'a/9.png' is damaged, or none that can be read" in refused(
        path=write(tmp_path / "damaged", good | {"a/9.png": b"no image"}), ways=2
    )
    cut = write(tmp_path / "cut", good | {"a/9.png": picture(1, size=(200, 200))[:-200]})
    assert re.search(r"the image 'a/9.png' is damaged or unusual \(.*truncated", refused(path=cut))
    few = write(tmp_path / "few", pictures(fewest=1) | {"s.csv": rows(SPLIT)})
    assert refused(path=few, split="s.csv") == (
        "Suite 'image-folder': shots + queries is 3, but class 'a' has 1 images (2 classes have too few): choose at "
        "most 1 together, or leave out what is smaller with --set image-folder.min_images=drop"
    )
    assert "ways is 3, but the train split has 2 classes" in refused(
        path=write(tmp_path / "good", good | {"s.csv": rows(SPLIT)}), split="s.csv", ways=3
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"z,train\na,test\n", "names 1 classes that are not there, such as 'z'. There are 6, such as 'a'."),
        (b"a,training\n", "cannot be used: the split of 'a' must be train, validation or test, not 'training'."),
        (b"a,train\na,test\n", "cannot be used: 'a' is in two splits."),
        (b"a\n", "cannot be used: a row must be a class and its split, not 'a'."),
        (b"\xff\xfe", "cannot be used: 'utf-8' codec can't decode"),
        (b"a" * 200_000, "the split file 's.csv' cannot be used: field larger than field limit (131072)."),
    ],
)
def test_faults_of_a_split_file_are_named(tmp_path, content, message):
    path = write(tmp_path / "data", pictures() | {"s.csv": content})
    assert message in refused(path=path, split="s.csv")


def test_a_split_file_that_is_not_there_or_no_object(tmp_path):
    path = write(tmp_path / "data", pictures() | {"s.json": b"[1]"})
    assert "there is no 'none.csv'" in refused(path=path, split="none.csv")
    assert "it must hold an object of class -> split" in refused(path=path, split="s.json")
    assert given_split(b"\xef\xbb\xbfname,split\na, val\n", ".csv") == {"a": "validation"}


def test_faults_of_a_zip_are_named(tmp_path):
    for name in ("../evil.png", "/evil.png", "a/../../evil.png", "C:/evil.png", "..\\evil.png"):
        outside = pack(tmp_path / "out.zip", pictures() | {name: picture(1)})
        assert f"it holds {name!r}, a path outside of it" in refused(path=outside)
    (tmp_path / "no.zip").write_bytes(b"no archive")
    assert "cannot be used: BadZipFile: File is not a zip file." in refused(path=str(tmp_path / "no.zip"))


def test_bombs_are_refused_before_they_go_off(tmp_path, monkeypatch):
    path = pack(tmp_path / "a.zip", pictures() | {"a/bomb.png": picture(1, size=(400, 300))})
    monkeypatch.setattr(pixels, "PIXEL_LIMIT", 100_000)
    assert "it has 400 x 300 pixels, more than 100,000" in refused(path=path)
    monkeypatch.setattr(image_files, "FILE_LIMIT", 1000)
    big = pack(tmp_path / "b.zip", pictures() | {"a/big.png": b"x" * 2000})
    assert "'a/big.png' unpacks to 2,000 bytes, more than 1,000" in refused(path=big)
    assert "'a/big.png' is larger than 1,000 bytes" in refused(
        path=write(tmp_path / "c", pictures() | {"a/big.png": b"x" * 2000})
    )


@pytest.mark.slow
def test_the_kit_passes(tmp_path, registry, elsewhere):
    path = write(tmp_path / "data", pictures() | {"s.csv": rows(SPLIT)})
    given = {"path": path, "split": "s.csv", **SMALL}
    assert [r for r in check_plugin(registry, "image-folder", parameters=given) if r.verdict == "failed"] == []
    for kind in ("regression", "classification"):
        given = {"path": table(tmp_path / f"{kind}.csv", kind), "shots": 3, "queries": 3}
        assert [r for r in check_plugin(registry, "tabular", parameters=given) if r.verdict == "failed"] == []
    for name in ("harmonic", "linear-svm"):
        kit = kit_of(registry, name, elsewhere=elsewhere("suite")(name))
        assert [r for r in kit.results() if r.verdict == "failed"] == []


def test_distinct_from_populations_of_different_sizes_draws_every_arrangement_as_often():
    drawn = distinct(60_000, 2, torch.tensor([3] * 30_000 + [5] * 30_000), random_generator("distinct"))
    assert (drawn[:, 0] != drawn[:, 1]).all()
    for population, part in ((3, drawn[:30_000]), (5, drawn[30_000:])):
        counts = (part[:, 0] * population + part[:, 1]).unique(return_counts=True)[1]
        possible = population * (population - 1)
        expected = 30_000 / possible
        assert len(counts) == possible
        assert ((counts - expected) ** 2 / expected).sum() < possible + 4 * (2 * possible) ** 0.5


def frame(kind: str = "regression", tasks: int = 15, least: int = 8) -> pd.DataFrame:
    """Tasks of 8 rows and more; `x` is far from 0, and the row's own number is `row`."""
    rng = np.random.default_rng(0)
    parts = []
    for task in range(tasks):
        x = rng.normal(1000, 50, least + task % 3)
        y = (x > 1000).astype(int) if kind == "classification" else 3 * x + task
        parts.append(pd.DataFrame({"task": f"t{task}", "x": x, "target": y}))
    whole = pd.concat(parts, ignore_index=True)
    whole["row"] = range(len(whole))
    return whole


def table(path: Path, kind: str = "regression", **columns) -> str:
    frame(kind).assign(**columns).to_csv(path, index=False)
    return str(path)


def test_rows_of_a_task_stay_together_and_come_once(tmp_path):
    path = table(tmp_path / "t.csv")
    whole = frame()
    suite = tabular(path=path, features=("row",), shots=3, queries=4)
    train = whole[whole["task"].isin(suite.groups("train"))]["row"]
    for split in ("train", "validation", "test"):
        tasks = suite.sample(split, 200, random_generator(split))
        z = torch.cat([tasks.support.x, tasks.query.x], 1)[..., 0].double()
        number = (z * train.std(ddof=0) + train.mean()).round().long().numpy()
        seen = whole["task"].to_numpy()[number]
        assert (seen == seen[:, :1]).all()
        assert set(seen[:, 0]) == suite.groups(split)
        assert all(len(set(row)) == 7 for row in number)
    assert frozenset.union(*map(suite.groups, ("train", "validation", "test"))) == set(whole["task"])


def test_scaling_knows_the_training_tasks_alone(tmp_path):
    whole = frame()
    whole["split"] = [
        "train" if int(t[1:]) < 9 else "validation" if int(t[1:]) < 12 else "test" for t in whole["task"]
    ]
    whole.to_csv(tmp_path / "one.csv", index=False)
    moved = whole.copy()
    moved.loc[moved["split"] == "test", ["x", "target"]] *= 1000
    moved.to_csv(tmp_path / "other.csv", index=False)
    one, other = (
        tabular(path=str(tmp_path / name), split="split", shots=3, queries=3) for name in ("one.csv", "other.csv")
    )
    for suite in (one, other):
        drawn = suite.sample("train", 2000, random_generator("scale")).support
        assert abs(float(drawn.x[..., 0].mean())) < 0.1
        assert abs(float(drawn.x[..., 0].std()) - 1) < 0.1
        assert abs(float(drawn.y.std()) - 1) < 0.1
    same = [suite.sample("validation", 5, random_generator("v")).support for suite in (one, other)]
    assert torch.equal(same[0].x, same[1].x)
    assert torch.equal(same[0].y, same[1].y)
    assert one.groups("test") == {"t12", "t13", "t14"}


def test_the_kind_is_detected_or_said(tmp_path):
    classes, numbers = table(tmp_path / "c.csv", "classification"), table(tmp_path / "r.csv")
    words = table(tmp_path / "w.csv", target=["yes", "no"] * 67 + ["yes"])
    for path, kind, classify in (
        (classes, "auto", True), (numbers, "auto", False), (words, "auto", True), (classes, "regression", False),
    ):  # fmt: skip
        suite = tabular(path=path, kind=kind, shots=3, queries=3)
        assert suite.higher_is_better is classify
        task = suite.sample("train", 2, random_generator("kind"))
        assert task.support.y.dtype == (torch.int64 if classify else torch.float32)
        assert suite.model()(task.support.x[0]).shape == (3, 2 if classify else 1)


@pytest.mark.parametrize(
    ("change", "parameters", "message"),
    [
        ({}, {"task": "shop"}, "there is no column 'shop'; there are task, x, target, row"),
        ({}, {"features": ["size"]}, "there is no column 'size'"),
        ({(2, "x"): "wide"}, {}, "column 'x' must hold numbers, but has 'wide' in row 4"),
        ({(0, "x"): "inf"}, {}, "column 'x' must hold numbers, but has 'inf' in row 2"),
        ({(3, "x"): ""}, {}, "column 'x' is empty in row 5"),
        ({(3, "task"): ""}, {}, "column 'task' is empty in row 5"),
        ({(3, "task"): " "}, {}, "column 'task' is empty in row 5"),
        ({(3, "target"): ""}, {}, "column 'target' is empty in row 5"),
        ({(3, "x"): "NA"}, {}, "column 'x' must hold numbers, but has 'NA' in row 5"),
        ({}, {"features": ["x", "target"]}, "column 'target' cannot be two of task, target, split and features"),
        (
            {(5, "target"): "much"},
            {"kind": "regression"},
            "column 'target' must hold numbers, but has 'much' in row 7",
        ),
        ({}, {"shots": 9}, "rows, but shots + queries is 13 (9 tasks have too few)"),
        ({}, {"split": "row"}, "column 'row' must say train, validation or test, not '0' in row 2"),
        ({(8, "task"): "t0"}, {"split": "part"}, "task 't0' is in two splits, see the one in row 10"),
    ],
)
def test_faults_of_a_table_are_named(tmp_path, change, parameters, message):
    whole = frame().astype(str)
    whole["part"] = ["train" if task == "t0" else "test" for task in whole["task"]]
    if parameters.get("split") != "part":
        del whole["part"]
    for (row, column), value in change.items():
        whole.loc[row, column] = value
    path = str(tmp_path / "t.csv")
    whole.to_csv(path, index=False)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        tabular(**{"path": path, "shots": 4, "queries": 4, **parameters}).prepare()
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"'{path}': ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"task,target,x\na,1\nb,2,3,4,5\n", "row 3 has 5 cells, but the header has 3"),
        (b"task,target,x\na\xff,1,2\n", "codec can't decode"),
        (b"task,target\na,1\n", "there is no column left for features"),
        (b"task,target,x\n", "it has a header, but no rows"),
        (b",task,target,x\n0,a,1,2\n1,b,1,3\n", "a column has no name, like row numbers that nobody wants"),
        (b"task,target,x\na,1,2,3\nb,1,2,3\n", "row 2 has 4 cells, but the header has 3"),
    ],
)
def test_a_file_that_is_no_table(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(message)):
        tabular(path=str(tmp_path / "t.csv"), kind="regression").prepare()


def test_a_table_is_never_unpacked(tmp_path):
    with gzip.open(tmp_path / "t.csv.gz", "wb") as file:
        file.write(frame().to_csv(index=False).encode())
    with pytest.raises(ValueError, match="codec can't decode"):
        tabular(path=str(tmp_path / "t.csv.gz"), kind="regression").prepare()
    with pytest.raises(ValueError, match="it is no file"):
        tabular(path=str(tmp_path), kind="regression").prepare()


def test_words_that_pandas_takes_for_gaps_are_names(tmp_path):
    """NA is Namibia, and None may be a class."""
    whole = frame().assign(target=["None", "yes"] * 67 + ["yes"]).replace({"t0": "NA", "t1": "null"})
    whole.to_csv(tmp_path / "t.csv", index=False)
    suite = tabular(path=str(tmp_path / "t.csv"), shots=3, queries=3)
    names = frozenset.union(*map(suite.groups, ("train", "validation", "test")))
    assert {"NA", "null"} <= names
    assert suite.higher_is_better


def test_a_feature_that_is_constant_in_training_is_centred_only(tmp_path):
    whole = frame()
    test = tabular(path=table(tmp_path / "t.csv"), shots=3, queries=3).groups("test")
    whole["x"] = np.where(whole["task"].isin(test), 0.2, 0.1)
    whole.to_csv(tmp_path / "u.csv", index=False)
    drawn = tabular(path=str(tmp_path / "u.csv"), features=("x",), shots=3, queries=3).sample(
        "test", 5, random_generator("c")
    )
    assert drawn.support.x.flatten().tolist() == pytest.approx([0.1] * 15)


def test_errors_reach_the_user_as_one_line_that_names_the_suite(here, tmp_path):
    for words, message in (
        (("image-folder",), "path must name a folder or zip file of class folders: --set image-folder.path=FOLDER"),
        (("tabular",), "path must name a CSV file: --set tabular.path=FILE.csv"),
        (("tabular", "--set", "tabular.path=none.csv"), "there is no 'none.csv'; give the path"),
    ):
        result = here("run", "--algos", "scratch", "--suites", *words)
        assert result.returncode == 2
        assert result.stderr.startswith(f"metabench: Suite '{words[0]}': {message}")
        assert len(result.stderr.strip().splitlines()) == 1


DOCS = (ROOT / "docs" / "suites.md").read_text(encoding="utf-8")
EXAMPLE = DOCS[DOCS.index("## Bring your own data") :]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", EXAMPLE, flags=re.S | re.M)


@pytest.mark.slow
def test_the_example_of_the_documentation(here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (script,) = (text for kind, text in BLOCKS if kind == "python")
    exec(script, {})
    commands = [line for kind, text in BLOCKS if kind == "sh" for line in text.replace("\\\n", " ").splitlines()]
    assert len(commands) >= 4
    for command in commands:
        result = here(*shlex.split(command)[1:])
        assert result.returncode == 0, command + result.stdout + result.stderr
        assert "failed" not in result.stdout
    for name in ("birds", "sales"):
        scores = {}
        for path in (tmp_path / "results" / name).glob("*/record.json"):
            record = json.loads(path.read_text(encoding="utf-8"))
            test = next(iter(record["tests"].values()))
            scores.setdefault(record["trial"]["algorithm"], []).append(test["score"])
        sign = 1 if name == "birds" else -1
        assert sign * np.mean(scores["maml"]) > sign * np.mean(scores["scratch"])

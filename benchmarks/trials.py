"""Whole trials of `maml` and of learn2learn's `l2l-maml`: training seconds an update, on all cores of a machine.

python -m benchmarks.trials                     # Omniglot and CIFAR-FS, downloaded or below METABENCH_DATA
python -m benchmarks.trials --images FILE.zip   # mini-ImageNet's size too, from class folders of your own

One trial at a time, three seeds of each; for a quiet machine. Writes benchmarks/results/trials.csv.
"""

from __future__ import annotations

import argparse
import tempfile
from typing import Any, NamedTuple

import pandas as pd

import metabench
from benchmarks import ROOT


class Row(NamedTuple):
    """A work of benchmarks/workloads.py as trials."""

    suite: str
    tasks: int
    steps: int
    updates: int
    parameters: dict[str, Any]


ROWS = {
    "omniglot-5w1s": Row("omniglot", 32, 1, 40, {}),
    "omniglot-5w1s-5steps": Row("omniglot", 32, 5, 20, {}),
    "omniglot-20w5s": Row("omniglot", 4, 5, 20, {"ways": 20, "shots": 5, "queries": 5}),
    "cifar-5w1s": Row("cifar-fs", 4, 5, 40, {"filters": 64}),
    "miniimagenet-5w1s": Row("image-folder", 4, 5, 20, {"filters": 32}),
}


def trained(row: Row, out: str, images: str) -> pd.DataFrame:
    """The trials of a row."""
    parameters = row.parameters | ({"path": images} if row.suite == "image-folder" else {})
    algorithms = ("maml", "l2l-maml")
    inner = {f"{name}.inner_steps": row.steps for name in algorithms}
    return metabench.run(
        algos=list(algorithms),
        suites=row.suite,
        seeds=3,
        set={f"{row.suite}.{name}": value for name, value in parameters.items()} | inner,
        updates=row.updates,
        meta_batch_size=row.tasks,
        validations=0,
        test_tasks=2,
        jobs=1,
        keep_state=False,
        out=out,
    )


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trials", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", default="", metavar="PATH", help="a folder or zip file for image-folder")
    given = parser.parse_args()
    found = []
    for name, row in ROWS.items():
        if row.suite == "image-folder" and not given.images:
            continue
        with tempfile.TemporaryDirectory() as out:
            trials = trained(row, out, given.images)
        seconds = trials.groupby("algorithm")["train_seconds"].median() / row.updates
        ours, theirs = seconds["maml"], seconds["l2l-maml"]
        found.append({"work": name, "maml_ms": 1e3 * ours, "l2l_maml_ms": 1e3 * theirs, "ratio": ours / theirs})
        print(f"{name:22} {1e3 * ours:7.0f} {1e3 * theirs:7.0f} ms an update, ratio {ours / theirs:.2f}", flush=True)
    path = ROOT / "benchmarks" / "results" / "trials.csv"
    pd.DataFrame(found).to_csv(path, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()

"""What it costs to have many images: `python -m benchmarks.images [FOLDER]`.

60,000 JPEG files of 84x84, as many as mini-ImageNet has, are made in FOLDER (once, 20 s), prepared with an empty
cache, prepared again, and then held by 1, 2 and 4 workers at once, each of which draws tasks from all of them. Memory
is what Linux counts as the processes' share of it (PSS): a page that four map counts a quarter in each.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

CLASSES, EACH, SIDE = 100, 600, 84
WORKERS = (1, 2, 4)


def make(folder: Path) -> None:
    """The files: a coarse pattern for each class, noise on it for each image."""
    for kind in range(CLASSES):
        rng = np.random.default_rng(kind)
        place = folder / f"class-{kind:03}"
        place.mkdir(parents=True, exist_ok=True)
        pattern = np.kron(rng.integers(0, 200, (6, 6, 3)), np.ones((14, 14, 1)))
        for number in range(EACH):
            file = place / f"{number:03}.jpg"
            if not file.exists():
                noisy = pattern + rng.integers(0, 56, (SIDE, SIDE, 1))
                Image.fromarray(noisy.astype(np.uint8)).save(file, quality=90)


def start(folder: str, cache: str) -> tuple[Any, float]:
    """A worker's suite with its data ready, and the seconds that these took."""
    os.environ["METABENCH_CACHE"] = cache
    from metabench.registry.discovery import load_registry

    suite = load_registry().get("suite", "image-folder").factory(path=folder, size=SIDE)
    began = time.perf_counter()
    suite.prepare()
    return suite, time.perf_counter() - began


def once(folder: str, cache: str) -> tuple[float, float]:
    """Seconds to get the data ready, and the process's peak in MB."""
    import resource

    _, seconds = start(folder, cache)
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def work(folder: str, cache: str, everybody: Any, results: Any) -> None:
    """One worker: the memory in MB before the data, and when it has drawn from most of the images."""
    import torch

    torch.set_num_threads(1)
    suite, seconds = start(folder, cache)
    everybody.wait()
    before = psutil.Process().memory_full_info().pss / 2**20
    everybody.wait()
    for number in range(150):
        suite.sample("train", 4, torch.Generator().manual_seed(number))
        suite.sample("test", 4, torch.Generator().manual_seed(number))
    everybody.wait()
    info = psutil.Process().memory_full_info()
    results.put((seconds, before, info.pss / 2**20, info.uss / 2**20))
    everybody.wait()


def main() -> None:
    """Print the table."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else f"{scratch}/images")
        make(folder)
        cache = f"{scratch}/cache"
        for label in ("prepared", "started again"):
            if label == "started again":
                time.sleep(3)  # file times have settled
            with context.Pool(1) as pool:
                seconds, peak = pool.apply(once, (str(folder), cache))
            print(f"{CLASSES * EACH:,} images {label} in {seconds:.1f} s, {peak:,.0f} MB at the peak", flush=True)
        print("| workers | start, s | all workers, MB | of that their own, MB |\n|---|---|---|---|")
        for count in WORKERS:
            everybody, results = context.Barrier(count), context.Queue()
            arguments = (str(folder), cache, everybody, results)
            workers = [context.Process(target=work, args=arguments) for _ in range(count)]
            for each in workers:
                each.start()
            rows = [results.get() for _ in workers]
            for each in workers:
                each.join()
            seconds, _, shared, own = (sum(column) for column in zip(*rows))
            print(f"| {count} | {seconds / count:.1f} | {shared:,.0f} | {own:,.0f} |", flush=True)


if __name__ == "__main__":
    main()

"""Named random streams: what is drawn depends on the names alone, never on what was drawn before."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Generator


def derive_seed(*names: str | int) -> int:
    """A 63-bit seed from a path of names, such as (seed, "train", update)."""
    text = "/".join(str(name) for name in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def random_generator(*names: str | int) -> Generator:
    """A CPU generator at the start of the random stream of that name."""
    return Generator().manual_seed(derive_seed(*names))


def seed_everything(seed: int) -> None:
    """Begin the global random streams anew, for foreign learners that draw from them."""
    torch.manual_seed(derive_seed(seed, "global"))
    random.seed(derive_seed(seed, "global"))
    np.random.seed(derive_seed(seed, "global") % 2**32)


def random_state() -> dict[str, Any]:
    """Where the global random streams of the CPU are."""
    version, words, extra = random.getstate()
    kind, keys, *rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "python": [version, list(words), extra],
        "numpy": [kind, torch.from_numpy(np.asarray(keys, np.int64)), *rest],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put them back there."""
    torch.set_rng_state(state["torch"])
    version, words, extra = state["python"]
    random.setstate((version, tuple(words), extra))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))


@contextmanager
def streams_kept() -> Iterator[None]:
    """Whatever is drawn inside it, the global random streams are afterwards where they were."""
    before = random_state()
    try:
        yield
    finally:
        set_random_state(before)

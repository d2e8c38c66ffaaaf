"""Named random streams: what is drawn depends on the names alone, never on what was drawn before."""

from __future__ import annotations

import hashlib

from torch import Generator


def seed_of(*names: str | int) -> int:
    """A 63-bit seed from a path of names, such as (seed, "train", update)."""
    text = "/".join(str(name) for name in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(*names: str | int) -> Generator:
    """A CPU generator at the beginning of the stream of that name."""
    return Generator().manual_seed(seed_of(*names))

"""Pickles of numpy arrays, dicts, lists, strings and numbers: whatever else one asks for is refused unmade.

A pickle is a program. Published data sets are pickles all the same. What arrays need of numpy is done by the few
functions here, from shapes and bytes, so that nothing of numpy or of Python can be called by a file.
"""

from __future__ import annotations

import collections
import io
import pickle
import re
from typing import Any

import numpy as np


class Kind:
    """A dtype of numbers or text, as it is being unpickled."""

    def __init__(self, code: Any, *flags: Any) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"[|<>=]?[biufSU?]\d{0,4}", code):
            raise pickle.UnpicklingError(f"it holds an array of {code!r:.50}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        if state[2] or state[3] or state[4]:
            raise pickle.UnpicklingError("it holds an array with fields")
        self.dtype = self.dtype.newbyteorder(state[1]) if state[1] in ("<", ">") else self.dtype


class Array:
    """An array, as it is being unpickled; by now it has no more than its bytes."""

    def __init__(self, *arguments: Any) -> None:
        self.array = np.zeros(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, content = state
        self.array = from_buffer(content, kind, shape, "F" if fortran else "C").array


def from_buffer(content: Any, kind: Kind, shape: Any, order: str = "C") -> Array:
    """The array of some bytes."""
    made = Array()
    content = content.encode("latin1") if isinstance(content, str) else content  # as Python 2 wrote it
    flat = np.frombuffer(content, kind.dtype) if len(content) else np.zeros(0, kind.dtype)
    made.array = flat.reshape(shape, order="F" if order == "F" else "C")
    return made


def scalar(kind: Kind, content: Any) -> Any:
    """One number, as Python's own."""
    return from_buffer(content, kind, ()).array.item()


def latin(text: Any, encoding: Any = "latin1") -> bytes:
    """How old pickles write bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for an encoding, {encoding!r:.50}")
    return text.encode("latin1")


def no_bytes() -> bytes:
    """How old pickles write none."""
    return b""


ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): Kind,
    ("_codecs", "encode"): latin,
    **{(builtins, "bytes"): no_bytes for builtins in ("builtins", "__builtin__")},
    ("collections", "OrderedDict"): collections.OrderedDict,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): from_buffer for core in ("core", "_core")},
}


class Unpickler(pickle.Unpickler):
    """Finds what is admitted alone."""

    def find_class(self, module: str, name: str) -> Any:
        """Our own for one of the few names; raises UnpicklingError for every other."""
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no part of an array")
        return ADMITTED[module, name]


def load(content: bytes) -> Any:
    """What a pickle holds; raises ValueError for one that asks for more than arrays and plain values."""
    try:
        return plain(Unpickler(io.BytesIO(content), encoding="latin1").load())
    except Exception as error:  # a damaged one makes pickle raise almost anything
        raise ValueError(f"the pickle is refused: {' '.join(str(error).split())}") from None


def plain(value: Any) -> Any:
    """The same with numpy's arrays in the place of ours."""
    if isinstance(value, Array):
        return value.array
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(each) for each in value) if value and holds_arrays(value) else value
    return value


def holds_arrays(values: list[Any] | tuple[Any, ...]) -> bool:
    """Whether there is more in a list than numbers and text."""
    return any(isinstance(each, Array | dict | list | tuple) for each in values)

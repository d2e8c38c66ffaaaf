"""The block's library: compiled once by the machine's own compiler, kept in the cache, called through ctypes."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
from array import array
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor

from metabench.errors import one_line
from metabench.records.files import cache_dir

SOURCES = ("block.cpp", "normalise.h", "winograd.h", "convolution.h", "shapes.h")
LEVELS = {"AVX512": "x86-64-v4", "AVX2": "x86-64-v3"}
"""By what torch finds the CPU capable of (ATEN_CPU_CAPABILITY is heeded): the level to compile for."""
FLAGS = "-O3 -std=c++17 -shared -fPIC -fno-math-errno -fno-trapping-math -fno-signed-zeros -mprefer-vector-width=512"
NAMES = {torch.float32: "float", torch.float64: "double"}
SECONDS = 300.0
"""That a compilation may take; it needs about 4."""


class NoBlocksError(Exception):
    """There can be no library here; the message says why."""


class Blocks:
    """The library for tensors of one dtype. Its three functions take one thread each, and let the GIL go."""

    def __init__(self, path: Path, dtype: torch.dtype) -> None:
        self.dtype, self.key = dtype, path.stem
        self.used = False  # until one runs
        library = ctypes.CDLL(str(path))
        self.functions = {}
        for name in ("forward", "backward", "second"):
            function = self.functions[name] = library[f"blocks_{name}"]
            function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_long], None

    def call(self, name: str, blocks: Sequence[Sequence[int | Tensor | None]]) -> None:
        """Call one with each block's sizes and tensors: in the order of its struct in block.cpp, and laid out so."""
        words = array("q")
        for block in blocks:
            words.extend(
                [each if isinstance(each, int) else 0 if each is None else each.data_ptr() for each in block]
            )
        self.functions[name](words.buffer_info()[0], len(blocks))


def load_blocks(dtype: torch.dtype) -> Blocks:
    """The library for a dtype, compiled if it is not in the cache yet. Raises NoBlocksError."""
    path = library_path(dtype)
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{path}.lock"):  # trials side by side want the same one
                if not path.exists():
                    compile_to(path, dtype)
        return Blocks(path, dtype)
    except (OSError, subprocess.SubprocessError) as error:
        raise NoBlocksError(reason_of(error)) from error


def library_path(dtype: torch.dtype) -> Path:
    """Where the library for a dtype is kept: by all that it depends on. Raises NoBlocksError where there is none."""
    if dtype not in NAMES:
        raise NoBlocksError(f"not for {dtype}")
    digest = hashlib.sha256(" ".join((*command(dtype), compiler_version(), *platform.libc_ver())).encode())
    for source in SOURCES:
        digest.update((Path(__file__).parent / source).read_bytes())
    return cache_dir() / "blocks" / f"{NAMES[dtype]}-{digest.hexdigest()[:12]}.so"


def command(dtype: torch.dtype) -> list[str]:
    """The compiler's words, without the files. Raises NoBlocksError."""
    level = LEVELS.get(torch.backends.cpu.get_cpu_capability())
    if level is None or platform.machine() not in ("x86_64", "AMD64"):
        raise NoBlocksError("the processor has no AVX2")
    return [*compiler(), *FLAGS.split(), f"-march={level}", f"-DREAL={NAMES[dtype]}"]


def compiler() -> list[str]:
    """The C++ compiler: CXX, or the first that there is. Raises NoBlocksError."""
    asked = shlex.split(os.environ.get("CXX", ""))
    found = next((name for name in (asked[:1] or ["g++", "c++", "clang++"]) if shutil.which(name)), None)
    if found is None:
        raise NoBlocksError("there is no C++ compiler")
    return [found, *asked[1:]]


@cache
def version_of(compiler: str) -> str:
    """What a compiler says of itself."""
    words = [compiler, "--version"]
    return subprocess.run(
        words, capture_output=True, encoding="utf-8", errors="replace", timeout=60, check=True
    ).stdout


def compiler_version() -> str:
    """Of the compiler that is used. Raises NoBlocksError."""
    try:
        return version_of(compiler()[0])
    except (OSError, subprocess.SubprocessError) as error:
        raise NoBlocksError(reason_of(error)) from error


def compile_to(path: Path, dtype: torch.dtype) -> None:
    """Compile into a file that appears when it is whole."""
    if sys.stderr.isatty():
        print(f"Compiling convolution blocks for {dtype} on this machine, once.", file=sys.stderr)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    source = Path(__file__).parent / SOURCES[0]
    words = [*command(dtype), str(source), "-o", str(temporary)]
    subprocess.run(words, capture_output=True, encoding="utf-8", errors="replace", timeout=SECONDS, check=True)
    os.replace(temporary, path)


def reason_of(error: Exception) -> str:
    """Why there is no library, in one line."""
    said = (getattr(error, "stderr", None) or "").strip().splitlines()
    return said[0][:200] if said else one_line(error)[:200]

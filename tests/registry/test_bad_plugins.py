"""Malformed plugin files: one line on stderr that names the file, exit code 2, nothing changed."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.cli_helpers import refused
from tests.malformed import ALGORITHM, HEAD, tries, with_plugin

FILES = {
    "syntax": "def (",
    "indentation": "  x = 1\n y = 2",
    "null byte": "x = '\0'",
    "encoding": "# coding: nonsense\n",
    "raises": "raise ValueError('a\\nb')",
    "raises nothing": "raise ValueError",
    "exits": "import sys; sys.exit(0)",
    "exits with a text": "raise SystemExit('bye')",
    "stops": "class Stop(BaseException): pass\nraise Stop('no')",
    "generator": "raise GeneratorExit",
    "cancelled": "import asyncio; raise asyncio.CancelledError",
    "imports": "import nothing_like_it",
    "recursion": "def f(): f()\nf()",
    "memory": "raise MemoryError",
    "bad str": "class E(Exception):\n    def __str__(self): raise RuntimeError('worse')\nraise E",
    "asserts": "assert False, 'x' * 100000",
    "empty": "",
    "hook is no function": "register_algorithms = 3",
    "hook not marked": "def register_suites(): return {}",
    "hook misspelt": HEAD + "@hookimpl\ndef register_algorithm(): return {}",
    "hook takes arguments": HEAD + "@hookimpl\ndef register_algorithms(x): return {}",
    "hook raises": HEAD + "@hookimpl\ndef register_algorithms(): raise KeyError('x')",
    "hook exits": HEAD + "@hookimpl\ndef register_suites(): raise SystemExit(0)",
    "hook yields": HEAD + "@hookimpl\ndef register_suites(): yield {}",
    "hook is async": HEAD + "@hookimpl\nasync def register_suites(): return {}",
    "module getattr": "def __getattr__(name): raise RuntimeError(name)",
    "names": HEAD + "@hookimpl\ndef register_suites(): return {1: len}",
    "taken": ALGORITHM.format(parameter="x: int = 1", name="'maml'"),
    "no module": "import sys; sys.modules[__name__] = None; raise ImportError",
}


@pytest.mark.parametrize("case", FILES)
def test_plugin_files(folder, case):
    line = with_plugin(folder, FILES[case])
    assert line.startswith(f"metabench: Cannot use the plugin file '{folder / 'plug.py'}': ")


@given(st.binary(max_size=80))
@tries(25)
def test_plugin_files_of_any_bytes(folder, content):
    (folder / "plug.py").write_bytes(content)
    refused(folder, "run", "--dry-run", "--plugin", "plug.py")


@given(
    st.one_of(st.text(max_size=60), st.sampled_from(["../x", "A", "a b", "a/b", ".", "..", "a\n", "-a", "é", "\0"]))
)
@tries(25)
def test_plugins_with_bad_names(folder, name):
    from metabench.records.domains import NAME

    assume(not NAME.fullmatch(name))
    line = with_plugin(folder, ALGORITHM.format(parameter="x: int = 1", name=ascii(name)))
    assert "must be 1 to 40 lower-case letters" in line


@pytest.mark.parametrize(
    "parameter",
    [
        *("x", "x: int", "x: int = 'a'", "x: int = 1.5", "x: float = None", "x: float = float('nan')", "x=object()"),
        *("x={1, 2}", "x=b'a'", "x=lambda: 3", "x=torch.float32", "x: 'nonsense' = 1", "x: 3 = 3", "x: '1/0' = 1"),
        *("x: int = 10**30", "x: str = '\\ud800'", "x: list = [float('inf')]", "**more", "x: torch.Tensor = 1"),
        *("x: int = True", "x: 'int' = 's'", "x: dict[str, int] = {'a': 'b'}", "x: '(' = 1", "x=1j", "x=range(3)"),
    ],
)
def test_plugins_with_bad_signatures(folder, parameter):
    line = with_plugin(folder, ALGORITHM.format(parameter=parameter, name="'mine'"))
    assert "the factory of algorithm 'mine' " in line or "plug.py" in line


REGISTERED = [
    *(
        "None",
        "3",
        "'x'",
        "[]",
        "{}",
        "[('mine', len)]",
        "{'mine': None}",
        "{'mine': 3}",
        "{'mine': 'len'}",
        "{'a': []}",
    ),
    *("{None: len}", "{'mine': int}", "{'mine': print}", "{'mine': lambda: 3}", "{'mine': {}}"),
    *(
        "{'mine': lambda a, b: 3}",
        "{'mine': lambda *a: 3}",
        "{'mine': lambda p, **k: 3}",
        "{'mine': Suite}",
        "iter([])",
    ),
    *("{'mine': type}", "{('a',): len}", "{'mine': torch}", "{'mine': nn.Linear}"),
]


@pytest.mark.parametrize("value", REGISTERED)
def test_plugins_that_register_something_else(folder, value):
    with_plugin(folder, f"{HEAD}\n@hookimpl\ndef register_algorithms():\n    return {value}\n")

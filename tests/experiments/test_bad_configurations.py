"""Malformed configuration files: one line on stderr, exit code 2, nothing changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from metabench.records.trials import Budget
from tests.cli_helpers import refused
from tests.malformed import brief, tries

pytestmark = pytest.mark.slow  # quick each, but many

HUGE = 10**30
nan, inf = float("nan"), float("inf")


class Raw(str):
    """TOML as it stands."""


def toml(value: object) -> str:
    """A value as TOML."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return "nan" if value != value else str(value) if isinstance(value, float) else json.dumps(value)


no_text = [3, 1.5, True, [], {}, nan, "", "a\0b", "a\nb", "\x7f", Raw("1979-05-27"), Raw("07:32:00")]
no_list = [3, "maml", True, {"x": 1}, 1.5, [3], [["maml"]], [""], [{}], ["a\0"], ["../x"], ["x" * 9999], ["maml", 3]]
no_whole = [-1, 1.5, "3", True, [], {}, nan, inf, HUGE, -HUGE, 10**10, Raw("0x" + "f" * 5000), Raw("9" * 5000)]
no_flag = [1, 0, "yes", [], 1.5, {}]
no_value = ["x", True, [], {}, nan, inf, -inf, HUGE * 10**300, Raw("0x" + "f" * 5000), Raw("1979-05-27"), {"a": {}}]

BAD_VALUES: dict[str, list] = {
    "algos": [*no_list, ["MAMLL"], ["maml/../x"]],
    "suites": no_list,
    "seeds": [*no_whole, 0, 10**9, [-1], [1.5], ["0"], [True], [HUGE], [nan], [[0]], {"a": 1}, list(range(10_001))],
    "set": [
        *(3, "x", [], True, [{}], {"maml": 3}, {"maml": []}, {"nope": {"a": 1}}, {"maml": {"nope": 1}}),
        *({"../x": {"y": 1}}, {"maml": {"": 1}}, {"a\nb": {"c": 1}}, {"maml": {"inner_steps": 1.5}}),
        *({"maml": {"inner_lr": value}} for value in no_value),
        *({"maml": {"inner_steps": value}} for value in [*no_value, 1.5]),
    ],
    "recipe": [*no_text, "nope"],
    **dict.fromkeys(Budget.__struct_fields__, no_whole),
    "protocol": [*no_text, "nope"],
    "precision": [*no_text, "float16"],
    "strategy": [*no_text, "nope"],
    "executor": [*no_text, "slurm"],
    "out": [*no_text, "\u2028", "file.txt", "x" * 5000, "loop"],
    "jobs": [0, *(value for value in no_whole if value not in (10**10, HUGE) and not isinstance(value, Raw))],
    "device": [*no_text, "nope", "meta", "cuda:99"],
    "rematerialise": no_flag,
    "plain_layers": no_flag,
    "deterministic": no_flag,
    "retry_failed": no_flag,
    "rerun_changed": no_flag,
    "fail_fast": no_flag,
    "plugins": [*(value for value in no_list if value != {"x": 1}), ["none.py"], ["directory"], ["loop"]],
    "data": [*no_text, "none", "file.txt", "loop", "x" * 5000],
    "trial_timeout": [*no_text, 90, "x", "0s", "-1s"],
    "memory_limit": [*no_text, 5, "2", "0GB"],
    "checkpoint_every": [*no_text, 60, "x", "0"],
    "keep_state": no_flag,
    "keep_training_state": no_flag,
    "label_permutations": [*no_whole, 0],
    "validate_every": [*no_whole, 0],
    "track": [*no_list, ["nope"]],
    "scheduler": [*no_text, "tcp://host:1"],
}


def test_every_field_of_a_configuration_has_bad_values():
    from metabench.experiments.options import Options

    assert set(BAD_VALUES) == set(Options.__struct_fields__)


def configured(folder: Path, content: bytes | str, also: tuple[int, ...] = ()) -> str:
    """What is said about a configuration."""
    content = content.encode() if isinstance(content, str) else content
    (folder / "bench.toml").write_bytes(content)
    return refused(folder, "run", "--dry-run", "--config", "bench.toml", also=also)


@pytest.mark.parametrize("name", BAD_VALUES)
def test_configurations_with_a_bad_value(folder, name):
    @given(st.sampled_from(BAD_VALUES[name]))
    @tries(12)
    def check(value):
        if isinstance(value, str) and name == "set":
            assume(value)
        configured(folder, f"{name} = {toml(value)}\n")

    check()


@given(st.text(min_size=1, max_size=20), st.sampled_from([1, "x", [], {}, {"a": 1}]))
@example("algoz", 1)
@example("__class__", 1)
@example("../out", 1)
@example("a\nb", 1)
@tries(25)
def test_configurations_with_an_unknown_key(folder, key, value):
    from metabench.experiments.options import Options

    assume(key not in Options.__struct_fields__)
    configured(folder, f"{json.dumps(key, ensure_ascii=False)} = {toml(value)}\n")


@given(st.binary(max_size=60))
@tries(40)
def test_configurations_of_any_bytes(folder, content):
    configured(folder, content, also=(0,))


@given(st.text("[]{}=.,'\"# \nabset_maml0159\t-", max_size=60))
@tries(40)
def test_configurations_of_almost_toml(folder, content):
    configured(folder, content, also=(0,))


@pytest.mark.parametrize(
    "content",
    [
        *(
            b"\xff\xfe",
            b"algos = ['\xe9']",
            b"\0",
            b"\xef\xbb\xbfalgos = 3",
            b"seeds = 1\nseeds = 2",
            b"[set]\n[set]",
        ),
        *(b"a = " + b"[" * 5000, b"a = " + b"{a=" * 5000, b"a = " + b"9" * 5000, b"#" * 2_000_000, b"[[set]]\nx = 1"),
        *(b"[" + b"a." * 5000 + b"a]", b"seeds = 2026-13-45", b"seeds = 0b", b"seeds = '''", b"[set.maml.inner_lr]"),
    ],
    ids=brief,
)
def test_configurations_that_are_hardly_toml(folder, content):
    configured(folder, content)

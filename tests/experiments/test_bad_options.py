"""Malformed options and words on the command line: one line on stderr, exit code 2, nothing changed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli_helpers import refused
from tests.malformed import tries


def is_int(text: str) -> bool:
    try:
        return bool(int(text) is not None)
    except ValueError:
        return False


def are_seeds(text: str) -> bool:
    parts = [part for part in text.split(",") if part]
    return bool(parts) and all(map(is_int, parts))


NAMES = {"maml", "fomaml", "reptile", "scratch", "finetune", "sinusoid", "glyphs", "omniglot"}
words = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=30).filter(
    lambda text: not text.startswith("-")
)
no_name = words.filter(
    lambda text: (names := [part.strip() for part in text.split(",") if part.strip()]) and not NAMES & set(names)
)
no_number = st.one_of(words.filter(lambda text: not is_int(text)), st.sampled_from(["", "1.5", "1e3", "x", "0x10"]))
no_count = st.one_of(no_number, st.sampled_from(["-1", "-99999999999999999999", "1" + "0" * 12, "9" * 5000]))
no_choice = st.one_of(words.filter(lambda text: len(text) > 12), st.sampled_from(["", "x", "Both", "auto,", "../a"]))
no_file = st.one_of(
    st.sampled_from(["none", "../none", "", "\n", "x" * 5000, "loop", "gone", "loop/x"]),
    words.map(lambda text: f"no-{text}"),
)

BAD_OPTIONS = {
    "--algos": st.one_of(
        no_name, st.sampled_from(["../maml", "MAMLL", "maml,nope", "maml/..", "ma\nml", "m" * 9999])
    ),
    "--suites": st.one_of(no_name, st.sampled_from(["../sinusoid", "glyphs,é", "sinusoid\x1b[31m", "s" * 9999])),
    "--seeds": st.one_of(
        words.filter(lambda text: not are_seeds(text)),
        st.sampled_from(["", "0", "-1", ",", ",,", "0,-1", "1.5", "nan", "inf", "10001", "9" * 30, "9" * 5000]),
        st.integers(2**63, 2**70).map("0,{}".format),
    ),
    "--set": st.sampled_from(
        [
            *("", "maml", "=", ".", ".=", "maml.inner_lr", ".inner_lr=1", "maml.=1", "nope.inner_lr=1", "../x.y=1"),
            *("maml.__class__=1", "maml.inner lr=1", "maml.inner_lr\n=1", "maml.problem=1", "scratch.inner_steps=x"),
            *(
                f"maml.inner_lr={value}"
                for value in (
                    *("NaN", "Infinity", "-Infinity", "1e999", "fast", "", "[[1]]", "{}", "true", "null", '"1"'),
                    *(
                        '"\\ud800"',
                        "[" * 20_000,
                        "[" * 900 + "]" * 900,
                        "9" * 5000,
                        "a\nb",
                        "0x1",
                        "1,,2",
                        "é" * 3000,
                    ),
                )
            ),
            *(
                f"maml.inner_steps={value}"
                for value in ("1.5", "true", "9" * 30, "-" + "9" * 30, "1e400", "[]", "''")
            ),
        ]
    ),
    "--recipe": no_choice,
    **dict.fromkeys(
        (
            "--updates",
            "--meta-batch-size",
            "--validations",
            "--validate-every",
            "--validation-tasks",
            "--test-tasks",
            "--test-steps",
        ),
        no_count,
    ),
    "--protocol": no_choice,
    "--strategy": no_choice,
    "--precision": no_choice,
    "--executor": no_choice,
    "--config": st.one_of(no_file, st.sampled_from(["directory", "/dev/zero", "/proc/self/mem", "file.txt"])),
    "--out": st.sampled_from(
        ["", "  ", "\n", "a\nb", "\x1b[2J", "\u2028", "file.txt", "file.txt/x", "x" * 5000, "loop", "loop/x"]
    ),
    "--label-permutations": st.one_of(no_number, st.sampled_from(["0", "-1"])),
    "--jobs": st.one_of(no_number, st.sampled_from(["0", "-1"])),
    "--device": st.one_of(
        no_choice,
        st.sampled_from(
            ["cuda:99", "cuda:-1", "cpu:x", "CPU", "meta", "meta:0", "hpu", "xla", "privateuseone", "mps"]
        ),
    ),
    "--plugin": st.one_of(no_file, st.sampled_from(["directory", "file.txt", "/dev/zero", "."])),
    "--data": st.one_of(no_file, st.sampled_from(["file.txt", "file.txt/x"])),
    "--checkpoint-every": st.one_of(no_choice, st.sampled_from(["0", "-1", "0s", "1h2m", "nan", "1e3", "9" * 12])),
    "--trial-timeout": st.one_of(no_choice, st.sampled_from(["0", "-1", "0m", "60x", "inf", "9" * 12])),
    "--memory-limit": st.one_of(no_choice, st.sampled_from(["2", "0GB", "-1GB", "1TB", "GB", "9" * 12 + "GB"])),
    "--scheduler": words,
}


@pytest.mark.slow
@given(st.data())
@tries(200)
def test_options(folder, data):
    option = data.draw(st.sampled_from(sorted(BAD_OPTIONS)))
    value = data.draw(BAD_OPTIONS[option])
    refused(folder, "run", "--dry-run", "--out", "results/r", f"{option}={value}")


@pytest.mark.parametrize("option", BAD_OPTIONS)
def test_every_option(folder, option):
    @given(BAD_OPTIONS[option])
    @tries(4)
    def check(value):
        refused(folder, "run", "--dry-run", "--out", "results/r", f"{option}={value}")

    check()


@pytest.mark.parametrize(
    "line",
    [
        *("nonsense", "run --nope", "run extra", "run --jobs", "report", "report none", "report file.txt"),
        *("report results/r results/nope", "check", "check ../x", "check nope", "list nope", "plugins --nope"),
        *("status", "status none", "status file.txt", "clean", "clean none --failed", "clean results/r"),
        *("report loop", "report gone", "status loop", "verify loop", "clean loop --failed", "worker loop r.json"),
        *(
            "verify results/r --plugin loop",
            "list --plugin loop",
            "clean results/r --trial ../../directory",
            "clean results/r --trial .",
            "verify",
            "verify none",
        ),
        *("verify results/r --sample 0", "verify results/r --jobs x", "verify results/r --data none"),
        *(
            "worker",
            "worker file.txt r.json",
            "worker none r.json",
            "worker directory r.json",
            "run --write-trials x",
        ),
        *("list --plugin none.py", "check maml --plugin none.py", "run --dry-run --write-trials file.txt/x"),
    ],
)
def test_commands(folder, line):
    refused(folder, *line.split(" "))


def test_messages_are_one_line_in_a_process_of_its_own(metabench):
    for words_ in (
        ("run", "--algos", "a\nb\x85c"),
        ("run", "--jobs", "x"),
        ("run", "--dry-run", "--set", "maml.x=\n"),
    ):
        result = metabench(*words_)
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr.startswith("metabench: ")
        assert len(result.stderr.splitlines()) == 1

"""Damaged checkpoints are told apart from good ones at every byte, and none runs code."""

from __future__ import annotations

import io
import pickle
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metabench.engine.checkpointing import from_bytes, to_bytes
from metabench.records.checkpoints import Header, opened, sealed
from metabench.records.files import DamagedError
from tests.malformed import Evil, brief, tries

STATE = {"learner": {"w": torch.arange(40.0)}, "training": {"update": 3, "curve": []}, "note": "é"}


def checkpoint() -> bytes:
    header = Header(trial="s-a-s0-0123456789", code={"torch": "2"}, update=3, updates=10, seconds=1.5)
    return sealed(header, to_bytes(STATE))


@given(st.data())
@tries(80)
def test_checkpoints_cut_short_or_altered_at_any_byte(data):
    content = checkpoint()
    line = content.index(b"\n")
    position = data.draw(st.one_of(st.integers(0, line + 1), st.integers(0, len(content) - 1)))
    other = bytes([data.draw(st.integers(1, 255)) ^ content[position]])
    altered = data.draw(st.sampled_from([content[:position], content[:position] + other + content[position + 1 :]]))
    try:
        state = opened(altered)[1]
    except DamagedError as error:
        state = content[line + 1 :]
        assert len(str(error).splitlines()) == 1  # noqa: PT017
    assert state == content[line + 1 :]  # where only the line before it was altered


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"{}",
        b"{}\n",
        b"null\n",
        b"\xff\n",
        b"[" * 100_000,
        pickle.dumps({}),
        b'{"version": 2}\nx',
        b"\0" * 99,
    ],
    ids=brief,
)
def test_checkpoints_that_are_something_else(content):
    with pytest.raises(DamagedError):
        opened(content)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("form", ["pickle", "zip", "legacy", "within"])
def test_checkpoints_run_no_code(tmp_path, protocol, form):
    evil, marker, file = Evil(str(tmp_path / "was here")), tmp_path / "was here", io.BytesIO()
    if form == "pickle":
        state = pickle.dumps(evil, protocol=protocol)
    else:
        value = {"learner": {"w": torch.zeros(2), "x": evil}} if form == "within" else evil
        torch.save(value, file, pickle_protocol=max(protocol, 2), _use_new_zipfile_serialization=form != "legacy")
        state = file.getvalue()
    header = Header(trial="t", code={}, update=1, updates=2, seconds=0.0)
    with (
        warnings.catch_warnings(action="ignore"),
        pytest.raises(DamagedError, match=r"^torch cannot read it \(\w+\)$"),
    ):
        from_bytes(opened(sealed(header, state))[1])
    assert not marker.exists()
    pickle.loads(pickle.dumps(evil, protocol=protocol))  # the trap itself works
    assert marker.exists()


@given(st.binary(max_size=200))
@tries(30)
def test_states_of_any_bytes(content):
    with warnings.catch_warnings(action="ignore"), pytest.raises(DamagedError):
        from_bytes(content)

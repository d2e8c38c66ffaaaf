"""The state that was selected, as a file to use later: what an algorithm learnt, without its optimizer."""

from __future__ import annotations

import io
from typing import Any

import msgspec
import torch
from torch import Tensor

from metabench.api import EDITION, Learner
from metabench.api.trees import map_tree
from metabench.engine.learner import BatchedLearner
from metabench.engine.state import TrialRun, TrialState
from metabench.errors import UserError, one_line
from metabench.records.provenance import version_of

STATE_VERSION = 1


def kept_state(run: TrialRun, state: TrialState, learner: Learner) -> bytes:
    """The content of state.pt: `torch.load(file, weights_only=True)` is {"header": ..., "learner": ...}.

    The header says what it is without the record beside it: trial, versions, digests, what was selected. Raises what
    torch does, or UserError, for a stranger's state that cannot be kept.
    """
    header = {
        "version": STATE_VERSION,
        "edition": EDITION,
        "id": run.trial.id,
        "trial": run.trial,
        "versions": {"metabench": version_of("metabench"), "torch": str(torch.__version__)},
        "digests": run.digests,
        "selection": state.selection,
        "selected_update": state.selected_update,
    }
    file = io.BytesIO()
    torch.save({"header": msgspec.to_builtins(header), "learner": on_cpu(learned(learner))}, file)
    content = file.getvalue()
    read_state(content)  # so that what is kept can be used
    return content


def learned(learner: Learner) -> dict[str, Any]:
    """What adapting needs. Of a learner that is not ours it is everything: nobody else knows what it needs."""
    return {"meta": learner.outer.leaves} if isinstance(learner, BatchedLearner) else learner.state_dict()


def on_cpu(tree: Any) -> Any:
    """A tree with its tensors on the CPU, each with no more memory than its own."""
    return map_tree(lambda leaf: leaf.detach().cpu().clone() if isinstance(leaf, Tensor) else leaf, tree)


def read_state(content: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and learner; raises UserError, in a clause, for what this metabench cannot read."""
    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        header, learner = found["header"], found["learner"]
        version, edition = header["version"], header["edition"]
    except Exception as error:
        raise UserError(f"torch cannot read it ({type(error).__name__})") from None
    if version != STATE_VERSION:
        raise UserError(f"it has version {version}, this metabench reads {STATE_VERSION}")
    if edition != EDITION:
        raise UserError(f"it is of edition {edition} of the contract, this metabench has edition {EDITION}")
    return header, learner


def restore(learner: Learner, state: dict[str, Any]) -> None:
    """Give a learner what it had learnt; raises UserError, in a clause, where it is another one's."""
    try:
        if not isinstance(learner, BatchedLearner):
            learner.load_state_dict(state)
            return
        if [leaf.shape for leaf in learner.outer.leaves] != [value.shape for value in state["meta"]]:
            raise UserError("it has other parameters than the algorithm learns now")
        learner.outer.load(state["meta"])
    except UserError:
        raise
    except Exception as error:  # a stranger's load_state_dict
        raise UserError(f"the algorithm cannot take it ({one_line(error)})") from None

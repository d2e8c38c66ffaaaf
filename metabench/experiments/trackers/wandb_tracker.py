"""Runs for Weights & Biases, offline unless WANDB_MODE says otherwise: `wandb sync` sends them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class WandB:
    """See metabench.api.Tracker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs: dict[str, Any] = {}

    def start(self, run: str, parameters: Mapping[str, str | float | None]) -> None:
        """A run by the trial's id."""
        import wandb

        self.folder.mkdir(parents=True, exist_ok=True)
        self.runs[run] = wandb.init(
            project=self.folder.resolve().parent.name,
            name=run,
            dir=str(self.folder),
            config=dict(parameters),
            mode=os.environ.get("WANDB_MODE", "offline"),
            reinit="create_new",
        )

    def log(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """Under a step of their own: meta-updates and inner steps are two axes, and W&B's own step only grows."""
        axis = "inner_step" if any(name.startswith("test/") for name in values) else "update"
        self.runs[run].log({**values, axis: step})

    def finish(self, run: str, values: Mapping[str, float], status: str) -> None:
        """The summary."""
        ended = self.runs.pop(run)
        ended.summary.update({**values, "status": status})
        ended.finish(exit_code=0 if status == "ok" else 1)

    def close(self) -> None:
        """Trials that did not end."""
        for run in self.runs.values():
            run.finish(exit_code=1)


def open_tracker(folder: Path) -> WandB:
    """Offline runs below the folder."""
    return WandB(folder)

"""Runs for MLflow, in files or, with MLFLOW_TRACKING_URI, on a server."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class MLflow:
    """See metabench.api.Tracker."""

    def __init__(self, client: Any, experiment: str) -> None:
        self.client = client
        self.experiment = experiment
        self.runs: dict[str, str] = {}

    def start(self, run: str, parameters: Mapping[str, str | float | None]) -> None:
        """A run by the trial's id."""
        made = self.client.create_run(self.experiment, run_name=run, tags={"metabench.trial": run})
        self.runs[run] = made.info.run_id
        for name, value in parameters.items():
            self.client.log_param(self.runs[run], allowed(name), value)

    def log(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """A metric for each."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(allowed(name), value, now, step) for name, value in values.items()]
        self.client.log_batch(self.runs[run], metrics=metrics)

    def finish(self, run: str, values: Mapping[str, float], status: str) -> None:
        """Its last numbers, and whether it ended well."""
        self.log(run, 0, values)
        self.client.set_tag(self.runs[run], "metabench.status", status)
        self.client.set_terminated(self.runs.pop(run), "FINISHED" if status == "ok" else "FAILED")

    def close(self) -> None:
        """Trials that did not end."""
        for run in self.runs.values():
            self.client.set_terminated(run, "KILLED")


def allowed(name: str) -> str:
    """The name with what MLflow refuses in one replaced, such as a plus."""
    return re.sub(r"[^\w./ -]", "_", name)


def open_tracker(folder: Path) -> MLflow:
    """`mlflow ui --backend-store-uri FOLDER` shows it; an experiment is called as the results folder is."""
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # the files need no database
    from mlflow.tracking import MlflowClient

    client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or folder.resolve().as_uri())
    name = folder.resolve().parent.name
    known = client.get_experiment_by_name(name)
    return MLflow(client, known.experiment_id if known else client.create_experiment(name))

"""The tutorial's notebook runs from top to bottom, and lies in the tree without outputs."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

PATH = Path(__file__).resolve().parents[2] / "docs" / "tutorial.ipynb"


@pytest.fixture
def notebook():
    return nbformat.read(PATH, as_version=4)


def test_it_is_valid_and_has_no_outputs(notebook):
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


@pytest.mark.slow
def test_it_runs_and_ends_in_a_table_a_figure_and_an_adapted_model(notebook, tmp_path):
    """As it stands, but for the length of the trainings that are compared."""
    (cell,) = (cell for cell in notebook.cells if "metabench.run" in cell.source and cell.cell_type == "code")
    shorter = cell.source.replace("updates=500", "updates=100, test_tasks=100")
    assert shorter != cell.source
    cell.source = shorter
    NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output.data for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output]
    progress, table, scores, errors, curve = shown
    assert "6 of 6 trials" in progress["text/plain"]
    assert "train_seconds" in table["text/html"]
    assert "image/png" in scores
    assert "image/png" in curve
    found = ast.literal_eval(errors["text/plain"])
    assert found["after"] < found["before"] / 2

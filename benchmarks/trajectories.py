"""Trajectories of MAML on 2D navigation, before adaptation and after each inner step: docs/figures/trajectories.svg.

python -m benchmarks.trajectories    # trains by the suite's quick recipe, 40 updates of it: half a minute
"""

from __future__ import annotations

import matplotlib
import torch
from matplotlib import pyplot as plt

from benchmarks import ROOT
from benchmarks.navigation import TASKS, walk
from metabench.api import Batch
from metabench.engine.learner import as_learner
from metabench.engine.problem import build_problem
from metabench_plugins.algorithms.maml import maml
from metabench_plugins.suites.navigation import GOAL, navigation

UPDATES, STEPS, SHOWN, EACH = 40, 3, 4, 4


def main() -> None:
    """Train, roll out, draw."""
    torch.set_num_threads(1)
    suite = navigation()
    learner = as_learner(maml(build_problem(suite, 0), inner_lr=0.1, outer_lr=1e-2), "vectorised")
    for update in range(UPDATES):
        tasks = suite.sample("train", TASKS, torch.Generator().manual_seed(update))
        learner.update(tasks, update / UPDATES)
    tasks = suite.sample("test", SHOWN, torch.Generator().manual_seed(UPDATES))
    matplotlib.rcParams.update({"svg.hashsalt": "metabench", "font.size": 8})
    figure, axes = plt.subplots(SHOWN, STEPS + 1, figsize=(7, 7), sharex=True, sharey=True)
    for step, adapted in enumerate(learner.adapt(tasks.support, STEPS)):
        for number, predict in enumerate(adapted):
            query = Batch(tasks.query.x[number], tasks.query.y[number])
            paths, _, rewards = walk(predict, query)
            ax = axes[number, step]
            for path in paths[:EACH]:
                ax.plot(*path.T.numpy(), linewidth=0.7, alpha=0.8)
            ax.plot(*query.y[0, GOAL].numpy(), "k*", markersize=8)
            ax.text(0.03, 0.97, f"{float(rewards.sum(1).mean()):.1f}", transform=ax.transAxes, va="top")
            if number == 0:
                ax.set_title(f"after {step} inner steps" if step else "before adaptation")
    axes[0, 0].set(xlim=(-0.9, 0.9), ylim=(-0.9, 0.9), aspect="equal")
    figure.tight_layout()
    figure.savefig(ROOT / "docs" / "figures" / "trajectories.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()

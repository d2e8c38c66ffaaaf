"""The published settings for Omniglot, which `glyphs` borrows. Those of single algorithms stand with them, in their
hook `register_recipes`; here are the ones that follow the ways of the suite.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from metabench.api import Recipe

SOURCE = (
    "MAML: arXiv 1703.03400, appendix A.1, for every algorithm that has these settings, so for scratch and finetune "
    "too, and for Meta-Curvature and T-Nets, which build on MAML (in its code the inner gradient is that of the loss "
    "summed over classes, so that 0.4 with 5 ways and 0.1 with 20 are 2.0 of the mean, which is taken here); "
    "prototypical networks have the same outer rate, "
    "arXiv 1703.05175, section 3.1, without its halving and on the suite's own ways. Reptile: arXiv 1803.02999, "
    "appendix A; it trains on 10 shots a class, here on the suite's own shots. iMAML: arXiv 1909.04630, Table 2; "
    "rates, damping and inner loop from its code. T-Nets on 20 ways: one inner step, from its code. What differs for "
    "others stands with them (register_recipes)."
)

PAPER_DATA = (
    " The data are those of MAML's code, which has as many query images as shots; that is too few for Reptile, which "
    "trains on 10 images a class (--set omniglot.queries=9 with 1 shot, 5 with 5)."
)

QUICK_REPTILE = "Reptile takes inner steps ten times the published ones, which are meant for 100,000 updates."

QUICK = {"validations": 5, "validation_tasks": 60}
"""How a quick run is validated."""


def with_paper_data(recipe: Recipe, shots: int) -> Recipe:
    """The recipe with the parameters of `omniglot` that make its data those of MAML's code."""
    data = {"split": "random", "rotations": True, "resize": "nearest", "queries": shots}
    return replace(recipe, source=recipe.source + PAPER_DATA, suite=data)


def omniglot_recipes(ways: int, quick: Mapping[str, Any]) -> dict[str, Recipe]:
    """`paper`, and `quick` with the budget fields of `quick` instead.

    The papers give settings for 5 and for 20 ways; from 10 ways up a suite gets those for 20.
    """
    many = ways >= 10
    shared = {"inner_lr": 0.1 if many else 0.4, "inner_steps": 5 if many else 1, "outer_lr": 1e-3, "train_lr": 1e-3}
    budget = {
        "updates": 60_000,
        "meta_batch_size": 16 if many else 32,
        "validations": 60,
        "validation_tasks": 200,
        "test_tasks": 600,
        "test_steps": 5 if many else 3,
    }
    steps = 25 if many else 16
    imaml: dict[str, Any] = {
        "inner_lr": 0.1,
        "inner_steps": steps,
        "proximal": 2.0,
        "cg_steps": 5,
        "damping": 22.0,
        "pull": "after the last",
        "epsilon": 1e-3,
        "test_steps": steps,
    }
    reptile: dict[str, Any] = {
        "inner_optimizer": "adam",
        "inner_lr": 5e-4 if many else 1e-3,
        "inner_steps": 10 if many else 5,
        "batch_size": 20 if many else 10,
        "test_batch_size": 10 if many else 5,
        "meta_batch_size": 5,
        "test_steps": 50,
    }
    paper = {
        "imaml": {**imaml, "updates": 20_000},
        "reptile": {**reptile, "updates": 200_000 if many else 100_000},
    }
    shorter = {"imaml": imaml, "reptile": {**reptile, "inner_lr": 10 * reptile["inner_lr"]}}
    if many:
        tnet = {"inner_steps": 1, "test_steps": 1}
        paper |= {"tnet": {**tnet, "updates": 40_000}}
        shorter |= {"tnet": tnet}
    ways_of = "20-way" if many else "5-way"
    return {
        "quick": Recipe(
            f"Fewer updates than {ways_of} in {SOURCE} {QUICK_REPTILE}",
            budget={**budget, **quick},
            algorithms=shorter,
            shared=shared,
            like="omniglot",
        ),
        "paper": Recipe(
            f"{ways_of} settings. {SOURCE}", budget=budget, algorithms=paper, shared=shared, like="omniglot"
        ),
    }

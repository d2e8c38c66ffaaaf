"""The contract and the tools for it: the only import that the author of a plugin needs.

`contract` is what an algorithm and a suite are; `autodiff`, `inner_loops`, `trees` and `datasets` help to write them.
"""

from metabench.api.autodiff import grad, value_and_grad
from metabench.api.contract import (
    Algorithm,
    Batch,
    Learner,
    Meta,
    Params,
    Pool,
    Predict,
    Problem,
    Recipe,
    Suite,
    Task,
    hookimpl,
    requires,
)
from metabench.api.datasets import DataError, cache_dir, cached_arrays, fetch, read_member
from metabench.api.inner_loops import Inner, adam, partial_sgd, query_loss, sgd, trajectory, unroll
from metabench.api.trees import map_tree
from metabench.errors import NotApplicableError

__all__ = [
    "Algorithm",
    "Batch",
    "DataError",
    "Inner",
    "Learner",
    "Meta",
    "NotApplicableError",
    "Params",
    "Pool",
    "Predict",
    "Problem",
    "Recipe",
    "Suite",
    "Task",
    "adam",
    "cache_dir",
    "cached_arrays",
    "fetch",
    "grad",
    "hookimpl",
    "map_tree",
    "partial_sgd",
    "query_loss",
    "read_member",
    "requires",
    "sgd",
    "trajectory",
    "unroll",
    "value_and_grad",
]

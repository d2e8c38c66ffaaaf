"""The contract and the tools for it: the only import that the author of a plugin needs.

`contract` is what an algorithm and a suite are; `autodiff`, `inner_loops`, `ranges`, `trees` and `datasets` help to
write them.
"""

from metabench.api.acting import Acting, CollectFn
from metabench.api.autodiff import grad, value_and_grad
from metabench.api.classes import (
    Images,
    Shape,
    Splits,
    check_classes,
    check_drawings,
    of_classes,
    split_by_hash,
    stacked,
)
from metabench.api.collecting import Collector
from metabench.api.combine import cross, shifted
from metabench.api.contract import (
    Algorithm,
    AlgorithmFactory,
    Batch,
    InnerLoop,
    Learner,
    Meta,
    MetaGradFn,
    ObjectiveFn,
    Params,
    Pool,
    Predict,
    Problem,
    Suite,
    SuiteFactory,
    Task,
)
from metabench.api.datasets import DataError, cached_arrays, fetch, read_member
from metabench.api.editions import EDITION
from metabench.api.editions import renamed as __getattr__  # noqa: F401
from metabench.api.few_shot import classification_scores, cross_entropy, distinct, image_suite
from metabench.api.inner_loops import (
    adam,
    minibatch,
    partial_sgd,
    query_loss,
    sgd,
    step_size,
    support_grad,
    trajectory,
    unroll,
)
from metabench.api.mapped import in_parallel, mapped_array
from metabench.api.marks import hookimpl, requires
from metabench.api.ranges import Positive, Range, Rate, Share, Size, Steps
from metabench.api.torch_data import dataset_suite
from metabench.api.tracking import Tracker, TrackerFactory
from metabench.api.trees import add_scaled, inner_product, map_tree
from metabench.errors import NotApplicableError
from metabench.records.files import cache_dir
from metabench.records.plots import Axis, Plot, Series, SuiteScores
from metabench.records.recipe import PackageRecipes, Recipe

__all__ = [
    "EDITION",
    "Acting",
    "Algorithm",
    "AlgorithmFactory",
    "Axis",
    "Batch",
    "CollectFn",
    "Collector",
    "DataError",
    "Images",
    "InnerLoop",
    "Learner",
    "Meta",
    "MetaGradFn",
    "NotApplicableError",
    "ObjectiveFn",
    "PackageRecipes",
    "Params",
    "Plot",
    "Pool",
    "Positive",
    "Predict",
    "Problem",
    "Range",
    "Rate",
    "Recipe",
    "Series",
    "Shape",
    "Share",
    "Size",
    "Splits",
    "Steps",
    "Suite",
    "SuiteFactory",
    "SuiteScores",
    "Task",
    "Tracker",
    "TrackerFactory",
    "adam",
    "add_scaled",
    "cache_dir",
    "cached_arrays",
    "check_classes",
    "check_drawings",
    "classification_scores",
    "cross",
    "cross_entropy",
    "dataset_suite",
    "distinct",
    "fetch",
    "grad",
    "hookimpl",
    "image_suite",
    "in_parallel",
    "inner_product",
    "map_tree",
    "mapped_array",
    "minibatch",
    "of_classes",
    "partial_sgd",
    "query_loss",
    "read_member",
    "requires",
    "sgd",
    "shifted",
    "split_by_hash",
    "stacked",
    "step_size",
    "support_grad",
    "trajectory",
    "unroll",
    "value_and_grad",
]

"""Options -> trials, each resolved and checked: the user's values before the recipe's before the defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from metabench.api import Recipe
from metabench.errors import UserError, missing
from metabench.options import Options, as_tuple
from metabench.registry import Registry, reason_of
from metabench.trials import Budget, Trial


def plan(options: Options, registry: Registry) -> tuple[Trial, ...]:
    """Every trial of the experiment, resolved and checked. Raises UserError for the first thing that is wrong."""
    suites, algorithms = compared(options, registry)
    for name in options.set:
        if name not in (*suites, *algorithms):
            raise UserError(missing("This run has no algorithm or suite to --set:", name, (*suites, *algorithms)))
    return tuple(
        trial
        for suite in suites
        for algorithm in algorithms
        for trial in trials_of(options, registry, suite, algorithm)
    )


def compared(options: Options, registry: Registry) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The suites and the algorithms: those that the user names, or those that the quick recipes compare."""
    if options.suites and options.algos:
        featured: dict[str, tuple[str, ...]] = {}
    else:
        featured = {name: names for name in registry.suites if (names := quick_comparison(registry, name))}
    suites = tuple(dict.fromkeys(options.suites or featured))
    defaults = [featured[name] for name in suites if name in featured] or featured.values()
    algorithms = tuple(dict.fromkeys(options.algos or (name for names in defaults for name in names)))
    for kind, names, option in (("suite", suites, "--suites"), ("algorithm", algorithms, "--algos")):
        if not names:
            raise UserError(f"No installed plugin says which {kind}s to compare by default; name some with {option}.")
        for name in names:
            registry.get(kind, name)
    return suites, algorithms


def quick_comparison(registry: Registry, suite: str) -> tuple[str, ...]:
    """The algorithms that a suite's quick recipe compares; none for a suite that cannot be built as it stands."""
    try:
        recipe = recipes_of(registry, suite, {}).get("quick")
    except UserError:
        return ()
    return recipe.compare if recipe else ()


def recipes_of(registry: Registry, suite: str, given: dict[str, Any]) -> Mapping[str, Recipe]:
    """The recipes that a suite carries for these parameters of its own. Raises UserError where it cannot be built."""
    entry = registry.get("suite", suite)
    values = entry.resolve(given)
    try:
        return entry.factory(**values).recipes
    except (ValueError, UserError) as error:
        raise UserError(f"Suite '{suite}': {error}") from None
    except Exception as error:
        raise UserError(f"Suite '{suite}' of plugin '{entry.plugin}' cannot be built: {reason_of(error)}.") from None


def trials_of(options: Options, registry: Registry, suite: str, algorithm: str) -> Iterator[Trial]:
    """One trial a seed: the user's values before the recipe's before the defaults."""
    own = options.set.get(suite, {})
    recipes = recipes_of(registry, suite, own)
    if options.recipe and options.recipe not in recipes:
        raise UserError(missing(f"Suite '{suite}' has no recipe", options.recipe, recipes))
    recipe = recipes.get(options.recipe or "quick")
    fields = set(Budget.__struct_fields__)
    settings = dict(recipe.algorithms.get(algorithm, {})) if recipe else {}
    budget = (dict(recipe.budget) if recipe else {}) | {k: v for k, v in settings.items() if k in fields}
    parameters = {k: v for k, v in settings.items() if k not in fields} | options.set.get(algorithm, {})
    suite_parameters = registry.get("suite", suite).resolve((dict(recipe.suite) if recipe else {}) | own)
    recipes_of(registry, suite, suite_parameters)  # so that parameters that do not fit together fail here
    try:
        limits = msgspec.convert(budget | options.budget, Budget)
    except msgspec.ValidationError as error:
        raise UserError(f"Cannot use the budget of '{algorithm}' on '{suite}': {error}.") from None
    for seed in as_tuple(options.seeds):
        yield Trial(
            algorithm=algorithm,
            algorithm_parameters=registry.get("algorithm", algorithm).resolve(parameters),
            suite=suite,
            suite_parameters=suite_parameters,
            seed=seed,
            budget=limits,
            protocol=options.protocol,
            precision=options.precision,
        )

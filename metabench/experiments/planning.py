"""Options -> trials, each resolved and checked: the user's values before the recipe's before the defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from metabench.api import Recipe, Suite
from metabench.errors import UserError, missing
from metabench.experiments.options import Options, as_tuple
from metabench.experiments.recipes import is_file, read_recipe
from metabench.records.trials import Budget, Trial
from metabench.registry.discovery import Registry, reason_of
from metabench.registry.parameters import shown

LARGEST = 10**9
"""Of each number in a budget."""


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
        return checked(entry.factory(**values))
    except (ValueError, UserError) as error:
        raise UserError(f"Suite '{suite}': {error}") from None
    except (Exception, SystemExit) as error:
        raise UserError(f"Suite '{suite}' of plugin '{entry.plugin}' cannot be built: {reason_of(error)}.") from None


def checked(suite: Any) -> Mapping[str, Recipe]:
    """The recipes of what a factory made; raises TypeError where they are not what the contract says."""
    if not isinstance(suite, Suite):
        raise TypeError(f"its factory must return a Suite, not {shown(suite)}")
    if not isinstance(suite.recipes, Mapping):
        raise TypeError(f"its recipes must be a dict of name -> Recipe, not {shown(suite.recipes)}")
    for name, recipe in suite.recipes.items():
        if not isinstance(name, str) or not isinstance(recipe, Recipe):
            raise TypeError(f"its recipes must be a dict of name -> Recipe, not {shown(name)}: {shown(recipe)}")
        tables = [recipe.suite, recipe.budget, recipe.algorithms]
        if all(isinstance(table, Mapping) for table in tables):
            tables += recipe.algorithms.values()
        texts = isinstance(recipe.compare, tuple) and all(isinstance(each, str) for each in recipe.compare)
        if not texts or not all(
            isinstance(table, Mapping) and all(isinstance(k, str) for k in table) for table in tables
        ):
            raise TypeError(
                f"its recipe '{name}' must hold dicts of settings by name, and a tuple of names to compare"
            )
    return suite.recipes


def trials_of(options: Options, registry: Registry, suite: str, algorithm: str) -> Iterator[Trial]:
    """One trial a seed: the user's values before the recipe's before the defaults."""
    own = options.set.get(suite, {})
    file = read_recipe(Path(options.recipe)) if is_file(options.recipe) else None
    recipes = recipes_of(registry, suite, {**file.of(suite).parameters, **own} if file else own)
    recipe: Recipe | None
    if file:
        recipe = file.recipe(suite, recipes)
    elif options.recipe and options.recipe not in recipes:
        raise UserError(missing(f"Suite '{suite}' has no recipe", options.recipe, recipes))
    else:
        recipe = recipes.get(options.recipe or "quick")
    fields = set(Budget.__struct_fields__)
    settings = dict(recipe.algorithms.get(algorithm, {})) if recipe else {}
    budget = (dict(recipe.budget) if recipe else {}) | {k: v for k, v in settings.items() if k in fields}
    parameters = {k: v for k, v in settings.items() if k not in fields} | options.set.get(algorithm, {})
    try:
        registry.get("algorithm", algorithm).resolve({k: v for k, v in settings.items() if k not in fields})
        registry.get("suite", suite).resolve(dict(recipe.suite) if recipe else {})
    except UserError as error:
        raise UserError(f"The recipe '{options.recipe or 'quick'}' of suite '{suite}' is wrong: {error}") from None
    suite_parameters = registry.get("suite", suite).resolve((dict(recipe.suite) if recipe else {}) | own)
    recipes_of(registry, suite, suite_parameters)  # so that parameters that do not fit together fail here
    try:
        limits = msgspec.convert(budget | options.budget, Budget)
        if not limits.test_tasks:
            raise msgspec.ValidationError("test_tasks must be at least 2, not 0")
        for name, number in msgspec.structs.asdict(limits).items():
            if number > LARGEST:
                raise msgspec.ValidationError(f"{name} must be at most {LARGEST:,}, not {shown(number)}")
    except msgspec.ValidationError as error:
        raise UserError(f"Cannot use the budget of '{algorithm}' on '{suite}': {error}.") from None
    for seed in as_tuple(options.seeds):
        trial = Trial(
            algorithm=algorithm,
            algorithm_parameters=registry.get("algorithm", algorithm).resolve(parameters),
            suite=suite,
            suite_parameters=suite_parameters,
            seed=seed,
            budget=limits,
            protocol=options.protocol,
            precision=options.precision,
        )
        yield msgspec.structs.replace(trial, tuning=file.tuning(trial)) if file else trial

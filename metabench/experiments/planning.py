"""Options -> trials, each resolved and checked: the user's values before the recipe's before the defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from metabench.errors import UserError, missing
from metabench.experiments.grids import points, refuse_too_many
from metabench.experiments.options import Options, as_tuple
from metabench.experiments.recipes import RecipeFile, TunedSuite, is_file, read_recipe
from metabench.experiments.suite_builder import SuiteBuilder
from metabench.records.domains import domains, parts
from metabench.records.recipe import Recipe, Settings
from metabench.records.trials import Budget, Trial
from metabench.registry.discovery import Entry, Registry
from metabench.registry.parameters import shown

LARGEST = 10**9
"""Of each number in a budget."""
OTHER_SCALE = 100
"""How many times a shared step size is larger or smaller than a factory's default, for the user to be told."""


class TrialPlan(NamedTuple):
    """The trials of an experiment, and what the user should know of their settings."""

    trials: tuple[Trial, ...]
    notices: tuple[str, ...]


class SuitePlan(NamedTuple):
    """What is settled for a suite, whatever the algorithm. Of two, the recipe is that of the one trained on."""

    name: str
    parameters: dict[str, Any]
    recipe_name: str
    recipe: Recipe
    file: RecipeFile | None

    @property
    def source(self) -> str:
        """The registered suite that is trained on."""
        return domains(self.name)[0].suite

    @property
    def tuned(self) -> TunedSuite | None:
        """What the recipe file says of it, if there is one."""
        return self.file.of(domains(self.name)[0].name) if self.file else None

    def wrong(self, error: object) -> UserError:
        """The error for a recipe that does not fit what it is for."""
        return UserError(f"The recipe '{self.recipe_name}' of suite '{self.name}' is wrong: {error}")


def plan_trials(options: Options, registry: Registry) -> tuple[Trial, ...]:
    """Every trial of the experiment; see plan_experiment."""
    return plan_experiment(options, SuiteBuilder(registry)).trials


def plan_experiment(options: Options, builder: SuiteBuilder) -> TrialPlan:
    """Every trial of the experiment, resolved and checked. Raises UserError for the first thing that is wrong."""
    suites, algorithms = compared(options, builder)
    for name in options.set:
        known = (*suites, *(part for suite in suites for part in parts(suite)), *algorithms)
        if name not in known:
            raise UserError(missing("This run has no algorithm or suite to --set:", name, known))
    file = read_recipe(Path(options.recipe)) if is_file(options.recipe) else None
    get = builder.registry.get
    entries = [get("algorithm", name) for name in algorithms]
    of_suites = [tuple(get("suite", part) for part in dict.fromkeys((name, *parts(name)))) for name in suites]
    refuse_too_many(options, of_suites, entries, len(as_tuple(options.seeds)))
    trials: list[Trial] = []
    notices: list[str] = []
    for suite in (plan_suite(one, builder, file, of[0].name) for of in of_suites for one, _ in points(options, *of)):
        refuse_unnumbered(options, builder, suite)
        on_defaults = []
        for entry in entries:
            settings = recipe_settings(builder.registry, suite, entry)
            for one, swept in points(options, entry):
                mine = trials_of(one, suite, entry, settings)
                trials += (msgspec.structs.replace(trial, swept=swept) for trial in mine)
                notices += other_scales(one, suite, entry, settings)
            on_defaults += [entry.name] if mine[0].default_settings else []
        if on_defaults:
            notices.append(
                f"On '{suite.name}' the recipe '{suite.recipe_name}' says nothing of {', '.join(on_defaults)}: "
                "default settings."
            )
    trials.sort(key=lambda trial: len(domains(trial.suite)))  # what is trained once is there for those that take it
    return TrialPlan(tuple(trials), tuple(dict.fromkeys(notices)))


def compared(options: Options, builder: SuiteBuilder) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The suites and the algorithms: those that the user names, or those that the quick recipes compare."""
    featured: dict[str, tuple[str, ...]] = {}
    if not (options.suites and options.algos):
        featured = {name: names for name in builder.registry.suites if (names := quick_comparison(builder, name))}
    suites = tuple(dict.fromkeys(options.suites or featured))
    for name in suites:
        builder.registry.get("suite", name)
    trained = [domains(name)[0].suite for name in suites]
    defaults = [featured[name] for name in trained if name in featured] or featured.values()
    algorithms = tuple(dict.fromkeys(options.algos or (name for names in defaults for name in names)))
    for kind, names, option in (("suite", suites, "--suites"), ("algorithm", algorithms, "--algos")):
        if not names:
            raise UserError(f"No installed plugin says which {kind}s to compare by default; name some with {option}.")
        for name in names:
            builder.registry.get(kind, name)
    return suites, algorithms


def quick_comparison(builder: SuiteBuilder, suite: str) -> tuple[str, ...]:
    """The algorithms that a suite's quick recipe compares; none for a suite that cannot be built as it stands."""
    try:
        recipe = builder.build(suite, {}).recipes.get("quick")
    except UserError:
        return ()
    return recipe.compare if recipe else ()


def plan_suite(options: Options, builder: SuiteBuilder, file: RecipeFile | None, name: str) -> SuitePlan:
    """Find the recipe and the parameters of a suite: the user's before the file's before the recipe's."""
    entry = builder.registry.get("suite", name)
    if entry.domains:
        return plan_pair(options, builder, file, entry)
    (domain,) = domains(name)
    changes = domain.parameters
    given = {**options.set.get(domain.suite, {}), **options.set.get(name, {})}
    own = {key: value for key, value in given.items() if key not in changes}
    tuned = file.of(name) if file else None
    recipes = builder.build(name, {**(tuned.parameters if tuned else {}), **own}).recipes
    if options.recipe and not tuned and options.recipe not in recipes:
        raise UserError(missing(f"Suite '{name}' has no recipe", options.recipe, recipes))
    recipe_name = tuned.base if tuned else options.recipe or "quick"
    recipe = recipes.get(recipe_name, Recipe(""))
    suite = SuitePlan(name, {}, recipe_name, recipe, file)
    said = {**recipe.suite, **(tuned.parameters if tuned else {})}
    try:
        parameters = entry.resolve({key: value for key, value in said.items() if key not in changes})
    except UserError as error:
        raise suite.wrong(error) from None
    known = {name for entry in builder.registry.algorithms.values() for name in entry.parameters}
    for parameter in recipe.shared:
        if parameter not in known:
            raise suite.wrong(missing("no algorithm has the shared parameter", parameter, known))
    parameters |= entry.resolve({**parameters, **own})
    builder.build(name, parameters)  # so that parameters that do not fit together fail here
    return suite._replace(parameters=parameters)


def plan_pair(options: Options, builder: SuiteBuilder, file: RecipeFile | None, entry: Entry) -> SuitePlan:
    """Of two suites: each has the parameters that it has alone, so that the target's test tasks are those it has.

    The rest is the source's: the recipe, the budget and the settings of the algorithms.
    """
    one, other = entry.domains
    source = plan_suite(options, builder, file, one.name)
    named = source.recipe_name if source.recipe_name in builder.build(other.name, {}).recipes else None
    target = plan_suite(msgspec.structs.replace(options, recipe=named), builder, None, other.name)
    given = {f"{side.name}.{key}": value for side in (source, target) for key, value in side.parameters.items()}
    parameters = entry.resolve({**given, **options.set.get(entry.name, {})})
    builder.build(entry.name, parameters)  # so that suites that do not fit fail here
    return source._replace(name=entry.name, parameters=parameters)


def refuse_unnumbered(options: Options, builder: SuiteBuilder, suite: SuitePlan) -> None:
    """Raise UserError where classes are to be numbered anew that a suite has not."""
    if options.label_permutations > 1 and builder.build(suite.name, suite.parameters).ways is None:
        raise UserError(f"--label-permutations is for classes, and suite '{suite.name}' has none.")


def recipe_settings(registry: Registry, suite: SuitePlan, algorithm: Entry) -> Settings:
    """What an algorithm gets from the recipe: that for it before its package's before the family's. See Recipe."""
    shared = {name: value for name, value in suite.recipe.shared.items() if name in algorithm.parameters}
    package = registry.settings((suite.recipe.like, suite.source), suite.recipe_name, algorithm.name)
    settings = shared | package | suite.recipe.algorithms.get(algorithm.name, {})
    return suite.tuned.settings(algorithm.name, settings) if suite.tuned else settings


def other_scales(options: Options, suite: SuitePlan, algorithm: Entry, settings: Settings) -> Iterator[str]:
    """One notice for each step size of the family that is far from what the algorithm's author takes."""
    own = options.set.get(algorithm.name, {})
    for name, value in suite.recipe.shared.items():
        default = algorithm.parameters[name].default if name in algorithm.parameters else None
        if name in own or not isinstance(default, float) or settings.get(name) != value or not default:
            continue
        if not 1 / OTHER_SCALE < value / default < OTHER_SCALE:
            yield (
                f"On '{suite.name}' {algorithm.owner} gets {name} {value:g}, as every algorithm does; its default is "
                f"{default:g}. If it is no such step size, say --set {algorithm.name}.{name}=..."
            )


def trials_of(options: Options, suite: SuitePlan, algorithm: Entry, settings: Settings) -> tuple[Trial, ...]:
    """One trial per seed. Raises UserError."""
    fields = set(Budget.__struct_fields__)
    parameters = {name: value for name, value in settings.items() if name not in fields}
    own = options.set.get(algorithm.name, {})
    try:
        algorithm.resolve(parameters)
    except UserError as error:
        raise suite.wrong(error) from None
    budget = {name: value for name, value in settings.items() if name in fields}
    trial = Trial(
        algorithm=algorithm.name,
        algorithm_parameters=algorithm.resolve(parameters | own),
        suite=suite.name,
        suite_parameters=suite.parameters,
        seed=0,
        budget=limits(
            f"'{algorithm.name}' on '{suite.name}'",
            {**suite.recipe.budget, **budget, **options.budget},
            options.validate_every,
        ),
        protocol=options.protocol,
        label_permutations=options.label_permutations,
        precision=options.precision,
        default_settings=bool(algorithm.parameters) and not parameters and not own,
    )
    trials = (msgspec.structs.replace(trial, seed=seed) for seed in as_tuple(options.seeds))
    file = suite.file
    return tuple(msgspec.structs.replace(one, tuning=file.tuning(one)) if file else one for one in trials)


def limits(of: str, budget: Mapping[str, Any], validate_every: int | None = None) -> Budget:
    """A budget, checked, with a validation after every so many updates; raises UserError that says whose it is."""
    try:
        checked = msgspec.convert(budget, Budget)
        if validate_every is not None:
            if checked.updates % validate_every:
                raise msgspec.ValidationError(
                    f"{shown(checked.updates)} updates are no multiple of validate_every {shown(validate_every)}"
                )
            checked = msgspec.structs.replace(checked, validations=checked.updates // validate_every)
        if not checked.test_tasks:
            raise msgspec.ValidationError("test_tasks must be at least 2, not 0")
        for name, number in msgspec.structs.asdict(checked).items():
            if number > LARGEST:
                raise msgspec.ValidationError(f"{name} must be at most {LARGEST:,}, not {shown(number)}")
    except msgspec.ValidationError as error:
        raise UserError(f"Cannot use the budget of {of}: {error}.") from None
    return checked

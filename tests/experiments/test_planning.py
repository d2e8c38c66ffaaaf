"""Plans: who gets which setting from where, nobody a silent default; each suite built once."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np
import pytest
from PIL import Image

from metabench.errors import UserError
from metabench.experiments.options import Options
from metabench.experiments.planning import TrialPlan, plan_experiment, plan_trials
from metabench.experiments.setup import prepare_data
from metabench.experiments.suite_builder import SuiteBuilder
from metabench.records.recipe import Recipe
from metabench.records.trials import Trial
from metabench.registry.discovery import Entry, Registry, load_registry

PLUGIN = """
from metabench.api import Algorithm, Recipe, hookimpl
from metabench_plugins.suites.linear_svm import linear_svm

def suite():
    shared = {"inner_lr": 0.25, "outer_lr": 0.5}
    own = {"recipes": {"quick": Recipe("mine", shared=shared, algorithms={"single": {"inner_lr": 0.3}})}}
    return linear_svm()._replace(**own)

def algorithm(problem, *, inner_lr: float = 0.01, outer_lr: float = 1.0, depth: int = 2):
    raise ValueError

def other(problem, *, depth: int = 2):
    raise ValueError

@hookimpl
def register_suites():
    return {"mine": suite}

@hookimpl
def register_algorithms():
    return {"family": algorithm, "single": algorithm, "packaged": algorithm, "other": other}

@hookimpl
def register_recipes():
    both = {"inner_lr": 0.4, "outer_lr": 2.0, "updates": 7}
    return {
        ("mine", "quick"): {"single": both, "packaged": both},
        ("mine", "*"): {"packaged": {"depth": 3, "outer_lr": 9.0}},
        ("*", "*"): {"packaged": {"depth": 9}},
    }
"""


@pytest.fixture
def stranger(tmp_path) -> Registry:
    """The installed plugins and a stranger's suite and algorithms."""
    (tmp_path / "plug.py").write_text(PLUGIN, encoding="utf-8")
    registry = load_registry((str(tmp_path / "plug.py"),))
    assert not registry.broken
    return registry


def planned(registry: Registry, *algorithms: str, suite: str = "mine", **options) -> TrialPlan:
    chosen = Options(algos=algorithms, suites=(suite,), seeds=1, **options)
    return plan_experiment(chosen, SuiteBuilder(registry))


def parameters(plan: TrialPlan) -> tuple[dict, ...]:
    return tuple(trial.algorithm_parameters for trial in plan.trials)


def test_the_user_goes_before_the_recipe_before_the_package_before_the_family_before_the_default(stranger):
    plan = planned(stranger, "family", "packaged", "single")
    assert parameters(plan) == (
        {"inner_lr": 0.25, "outer_lr": 0.5, "depth": 2},
        {"inner_lr": 0.4, "outer_lr": 2.0, "depth": 3},
        {"inner_lr": 0.3, "outer_lr": 2.0, "depth": 2},
    )
    assert [trial.budget.updates for trial in plan.trials] == [1000, 7, 7]
    sets = {name: {"inner_lr": 0.6} for name in ("family", "packaged", "single")}
    users = planned(stranger, "family", "packaged", "single", set=sets, updates=8)
    assert parameters(users) == tuple({**each, "inner_lr": 0.6} for each in parameters(plan))
    assert {trial.budget.updates for trial in users.trials} == {8}


def test_what_runs_on_default_settings_is_said_and_no_other(stranger):
    plan = planned(stranger, "other", "family", "nearest")
    assert [trial.default_settings for trial in plan.trials] == [True, False, False]  # `nearest` has no parameter
    assert plan.notices == ("On 'mine' the recipe 'quick' says nothing of other: default settings.",)
    given = planned(stranger, "other", set={"other": {"depth": 2}})
    assert not given.trials[0].default_settings
    assert given.notices == ()
    assert given.trials[0].id == plan.trials[0].id  # it is the same trial


def test_where_settings_come_from_is_kept_and_is_no_part_of_the_id(stranger):
    (trial,) = planned(stranger, "other").trials
    assert msgspec.json.decode(msgspec.json.encode(trial), type=Trial).default_settings
    assert msgspec.structs.replace(trial, default_settings=False).id == trial.id


def with_recipe(registry: Registry, recipe: Recipe) -> Registry:
    """The registry, with this as the quick recipe of `mine`."""
    entry = registry.suites["mine"]
    changed = entry._replace(factory=lambda: entry.factory()._replace(recipes={"quick": recipe}))
    return registry._replace(suites={**registry.suites, "mine": changed})


def test_a_step_size_of_another_scale_is_not_silent(stranger):
    small = with_recipe(stranger, Recipe("x", shared={"outer_lr": 1e-3}))
    (notice,) = planned(small, "family", "packaged").notices
    assert notice.startswith("On 'mine' algorithm 'family' gets outer_lr 0.001, as every algorithm does; its default")
    assert planned(small, "family", set={"family": {"outer_lr": 1e-3}}).notices == ()


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (Recipe("x", shared={"inner_rl": 1}), "no algorithm has the shared parameter 'inner_rl'. Did you"),
        (Recipe("x", shared={"inner_lr": "fast"}), "Parameter 'inner_lr' of algorithm 'family' must be float"),
        (Recipe("x", algorithms={"family": {"steps": 1}}), "Algorithm 'family' has no parameter 'steps'."),
        (Recipe("x", suite={"ways": 1}), "Suite 'mine' has no parameter 'ways'."),
    ],
)  # fmt: skip
def test_a_recipe_that_does_not_fit_is_one_line(stranger, recipe, words):
    with pytest.raises(UserError) as caught:
        planned(with_recipe(stranger, recipe), "family")
    assert str(caught.value).startswith(f"The recipe 'quick' of suite 'mine' is wrong: {words}")


@pytest.mark.parametrize("field", ["suite", "budget", "algorithms", "compare", "shared", "source", "like"])
def test_a_recipe_of_another_form_is_refused(field):
    with pytest.raises(ValueError, match=f"the recipe's {field} cannot be used"):
        Recipe(**{"source": "x", field: 3})


@pytest.fixture(scope="module")
def own_data(tmp_path_factory) -> dict[str, dict[str, str]]:
    """Parameters of the suites that need a file or a folder."""
    folder = tmp_path_factory.mktemp("own")
    rows = [f"t{task},{x},{x * task}" for task in range(10) for x in range(20)]
    (folder / "t.csv").write_text("\n".join(["task,x,target", *rows]), encoding="utf-8")
    for place in range(30):
        (folder / "images" / f"c{place}").mkdir(parents=True)
        for number in range(2):
            pixels = np.full((16, 16, 3), 8 * place + number, np.uint8)
            Image.fromarray(pixels).save(folder / "images" / f"c{place}" / f"{number}.png")
        (folder / "series" / f"c{place}").mkdir(parents=True)
        (folder / "series" / f"c{place}" / "0.csv").write_text("1\n2\n", encoding="utf-8")
    np.savez(folder / "f.npz", features=np.eye(60), labels=np.repeat(np.arange(30), 2))
    places = {"tabular": "t.csv", "image-folder": "images", "features": "f.npz", "series": "series"}
    return {suite: {"path": str(folder / place)} for suite, place in places.items()}


def test_no_algorithm_of_a_comparison_falls_back_to_a_default_that_others_do_not_have(registry, own_data):
    """On every installed suite and recipe: what one algorithm gets of the family's settings, each other one gets that
    has such a parameter, or one that was said for it; or the plan lists it."""
    builder = SuiteBuilder(registry)
    shared = 0
    for suite in registry.suites:
        own = own_data.get(suite, {})
        for name, recipe in builder.build(suite, own).recipes.items():
            options = Options(
                suites=(suite,),
                algos=tuple(registry.algorithms),
                seeds=1,
                recipe=name,
                set={suite: own} if own else {},
            )
            plan = plan_experiment(options, builder)
            assert not any("its default is" in notice for notice in plan.notices)
            for trial in plan.trials:
                said = registry.settings((recipe.like, suite), name, trial.algorithm)
                said |= recipe.algorithms.get(trial.algorithm, {})
                wanted = {**recipe.shared, **said}
                got = trial.algorithm_parameters
                shared += sum(parameter in recipe.shared for parameter in got)
                assert all(got[each] == wanted[each] for each in got if each in wanted), (suite, name, trial.id)
                missed = set(got) and not set(got) & set(wanted)
                assert trial.default_settings == bool(missed)
                assert not missed or any(trial.algorithm in notice for notice in plan.notices)
    assert shared > 400  # over 7 suites


def test_with_the_step_sizes_of_the_family_go_those_of_its_peers(registry, own_data):
    """What was unfair: a peer had the recipe's step sizes where our own algorithm of that kind had the factory's."""
    for suite in registry.suites:
        own = own_data.get(suite, {})
        options = Options(suites=(suite,), algos=("metasgd", "l2l-metasgd"), seeds=1, set={suite: own} if own else {})
        ours, peers = plan_trials(options, registry)
        assert ours.algorithm_parameters == peers.algorithm_parameters
        assert ours.budget == peers.budget


def counted(registry: Registry, names: tuple[str, ...]) -> tuple[Registry, Counter]:
    """A registry that counts how often each of these suites is built."""
    calls: Counter = Counter()

    def counting(entry: Entry) -> Entry:
        def factory(**given):
            calls[entry.name, msgspec.json.encode(given)] += 1
            return entry.factory(**given)

        return entry._replace(factory=factory)

    return registry._replace(suites={name: counting(registry.suites[name]) for name in names}), calls


def test_each_suite_is_built_once_for_each_of_its_parameters(registry):
    names = ("sinusoid", "harmonic", "linear-svm")
    registry, calls = counted(registry, names)
    builder = SuiteBuilder(registry)
    trials = plan_experiment(Options(suites=names, algos=tuple(registry.algorithms)), builder).trials
    assert len(trials) == 3 * len(registry.algorithms) * len(names)
    prepare_data(builder, trials)
    assert set(calls.values()) == {1}
    assert len(calls) == len(names) + 1  # the sinusoid's recipe has parameters of its own


def test_a_recipe_file_is_read_once(registry, tmp_path, monkeypatch):
    from metabench.experiments import planning
    from tests.experiments.test_tune import recipe_file

    read = []
    monkeypatch.setattr(planning, "read_recipe", lambda path: read.append(path) or recipe_file())
    plan_trials(Options(suites=("sinusoid",), algos=("maml", "scratch"), recipe="x.toml"), registry)
    assert len(read) == 1


def test_a_validation_after_every_so_many_updates(registry):
    """It is the number of validations, said in another way: no trial gets another name."""
    said = Options(suites=("sinusoid",), algos=("maml",), updates=200, validate_every=20)
    counted = Options(suites=("sinusoid",), algos=("maml",), updates=200, validations=10)
    assert plan_trials(said, registry) == plan_trials(counted, registry)
    with pytest.raises(UserError, match="200 updates are no multiple of validate_every 30"):
        plan_trials(msgspec.structs.replace(said, validate_every=30), registry)
    with pytest.raises(ValueError, match="give one of them"):
        msgspec.structs.replace(said, validations=3)

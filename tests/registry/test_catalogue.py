"""What is installed as plain data: what the registry says, without torch, until a plugin changes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from metabench.cli.commands import completion_of
from metabench.registry import catalogue
from metabench.registry.catalogue import kept_catalogue, read_catalogue

MINE = """
from metabench.api import Algorithm, hookimpl

def one(problem, *, rate: float = {rate}):
    '''{text}

    Args:
        rate: How fast.
    '''

@hookimpl
def register_algorithms():
    return {{"{name}": one}}
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Write a plugin file; the cache is empty."""
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "mine.py"

    def write(text="Mine.", rate=0.5, name="mine"):
        path.write_text(MINE.format(text=text, rate=rate, name=name), encoding="utf-8")
        return (str(path),)

    return write


def test_it_says_what_the_registry_says(registry):
    known = read_catalogue()
    for listed, entries in ((known.algorithms, registry.algorithms), (known.suites, registry.suites)):
        assert listed.keys() == entries.keys()
        for name, entry in entries.items():
            assert (listed[name].description, listed[name].plugin) == (entry.description, entry.plugin)
            seen = [(p.name, p.kind, json.loads(json.dumps(p.default)), p.help) for p in entry.parameters.values()]
            assert [tuple(parameter) for parameter in listed[name].parameters] == seen
            assert listed[name].missing == entry.missing
    assert known.plugins == registry.plugins
    assert any(suite.recipes and suite.weights for suite in known.suites.values())


def test_what_is_kept_is_read_without_importing_a_plugin(mine, monkeypatch):
    files = mine()
    assert kept_catalogue(files) is None
    known = read_catalogue(files)
    with monkeypatch.context() as patch:
        patch.setattr(catalogue, "made_of", None)  # were it called, it would fail
        assert read_catalogue(files) == known


@pytest.mark.parametrize("change", [{"text": "Other."}, {"rate": 0.25}, {"name": "other"}])
def test_any_change_of_a_plugin_is_seen(mine, change):
    known = read_catalogue(mine())
    after = read_catalogue(mine(**change))
    assert after != known
    (other,) = after.algorithms.keys() - read_catalogue().algorithms.keys()
    assert other == change.get("name", "mine")
    assert after.algorithms[other].summary == change.get("text", "Mine.")
    assert after.algorithms[other].parameters[0].default == change.get("rate", 0.5)


def test_a_broken_plugin_is_looked_at_each_time(mine, tmp_path):
    files = (*mine(), str(tmp_path / "broken.py"))
    (tmp_path / "broken.py").write_text("import nothing_like_it", encoding="utf-8")
    assert [plugin.name for plugin in read_catalogue(files).broken] == ["broken"]
    assert kept_catalogue(files) is None


def test_damage_in_the_cache_is_no_reason_to_stop(mine, tmp_path):
    files = mine()
    known = read_catalogue(files)
    (path,) = (tmp_path / "cache" / "catalogue").iterdir()
    for content in (b"", b"{}", b"\xff", path.read_bytes()[:-9]):
        path.write_bytes(content)
        assert read_catalogue(files) == known


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [("list",), ("plugins",), ("new", "algorithm", "maml"), ("run", "--algos", "mamll")]
)
def test_commands_that_answer_at_once_import_no_torch(tmp_path, words):
    read_catalogue()
    code = (
        "import sys\nfrom metabench.cli.main import main\ntry:\n    main()\n"
        "finally:\n    print({'torch', 'pandas', 'scipy'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode in (0, 2), done.stderr
    assert done.stdout.endswith("set()\n")
    assert "Traceback" not in done.stderr


def test_a_plugin_file_stands_for_what_it_registers(here, mine, tmp_path):
    mine()
    planned = here("run", "--dry-run", "--algos", "scratch,mine.py", "--suites", "sinusoid", "--seeds", "1")
    assert "2 trials" in planned.stdout, planned.stderr
    assert "-mine-" in planned.stdout or "mine" in planned.stdout
    assert "mine.py' registers no suite" in here("run", "--algos", "scratch", "--suites", "mine.py").stderr
    assert here("check", "none.py").returncode == 2
    assert here("run", "--algos", "none.py", "--suites", "sinusoid").stderr.startswith(
        "metabench: Cannot use the plugin"
    )


def test_names_are_found_whatever_their_case_and_given_with_commas(here):
    planned = here("run", "--dry-run", "-a", "MAML,Scratch", "-s", "SINUSOID", "--seeds", "1")
    assert "2 trials" in planned.stdout, planned.stderr
    assert "with commas" in here("run", "--algos", "maml", "reptile").stderr


def test_a_shell_completes_the_name_after_the_last_comma():
    read_catalogue()
    assert "scratch,protonet" in completion_of("algos")("scratch,prot")
    assert completion_of("suites")("sinu") == ["sinusoid"]


def test_json_is_for_other_programs(here):
    listed = json.loads(here("list", "--json").stdout)
    assert {"algorithm", "suite"} == {entry["kind"] for entry in listed}
    assert all(entry["parameters"] or entry["description"] for entry in listed)
    (one,) = json.loads(here("list", "maml", "--json").stdout)
    assert one["name"] == "maml"
    assert {plugin["name"] for plugin in json.loads(here("plugins", "--json").stdout)} >= {"maml", "sinusoid"}


def test_the_code_of_a_plugin_file_is_not_listed(here, mine):
    listed = json.loads(here("plugins", "--json", "--plugin", *mine()).stdout)
    (plugin,) = (plugin for plugin in listed if plugin["name"] == "mine")
    assert plugin["file"] is None

"""metabench pack and rerun: one file with all that it takes, and the same scores from it elsewhere."""

from __future__ import annotations

import shlex
import zipfile

import msgspec
import pytest

from metabench.experiments.commands import command_of
from metabench.experiments.options import Options
from metabench.experiments.packing import laid_out
from metabench.experiments.read_options import read_options
from metabench.records.packs import MANIFEST, Manifest
from metabench.records.plugin_files import Module, PluginFile

PLUGIN = """
from helper import RATE
from metabench.api import hookimpl
from metabench_plugins.algorithms.scratch import scratch

def mine(problem, *, inner_lr: float = RATE):
    return scratch(problem, inner_lr=inner_lr)

@hookimpl
def register_algorithms():
    return {"mine": mine}
"""
ASKED = ("--algos", "mine", "--suites", "sinusoid", "--seeds", "1", "--test-tasks", "4", "--validation-tasks", "2")


def test_a_pack_is_run_again_with_the_same_scores(here, tmp_path):
    (tmp_path / "plug").mkdir()
    (tmp_path / "plug" / "mine.py").write_text(PLUGIN, encoding="utf-8")
    (tmp_path / "plug" / "helper.py").write_text("RATE = 0.02\n", encoding="utf-8")
    assert here("run", *ASKED, "--out", "results/one", "--plugin", "plug/mine.py").returncode == 0
    assert here("pack", "results/one").returncode == 0
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        names = archive.namelist()
        manifest = msgspec.json.decode(archive.read(MANIFEST), type=Manifest)
        assert str(tmp_path) not in "".join(archive.read(name).decode() for name in names if "plans" in name)
    assert manifest.commands[0].startswith("metabench run --algos mine --suites sinusoid --seeds 1")
    assert {"plugins/0/mine.py", "plugins/0/helper.py", "sources/metabench_plugins.suites.sinusoid.py"} <= set(names)
    (tmp_path / "plug" / "helper.py").write_text("RATE = 0.5\n", encoding="utf-8")  # the pack has what was run
    refused = here("rerun", "one.zip")
    assert refused.returncode == 2
    assert "--trust" in refused.stderr
    again = here("rerun", "one.zip", "--trust", "--out", "results/again", "--jobs", "1")
    assert again.returncode == 0, again
    assert "Versions are those of the pack." in again.stdout
    assert "Not the code of the pack" not in again.stdout
    assert "1 same." in here("compare", "one.zip", "results/again").stdout
    assert "fresh folder" in here("rerun", "one.zip", "--trust", "--out", "results/again").stderr
    assert here("export", "one.zip", "--to", "csv").stdout == "1 trial: exports/one/csv\n"
    report = here("report", "one.zip", "--formats", "svg")
    assert report.returncode == 0, report
    assert (tmp_path / "reports" / "one" / "index.html").exists()


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"algos": "maml,reptile", "seeds": "0,4", "set": ["maml.inner_lr=0.1,0.2", 'x.text="a b"'], "updates": 3},
        {"plugins": ["a b.py", "c.py"], "deterministic": True, "protocol": "both", "trial_timeout": "2h"},
        {"keep_state": False, "keep_training_state": True},
        {"seeds": [7], "set": {"x": {"text": "5"}}},
    ],
)
def test_the_command_of_options_has_them(given):
    options = read_options(None, given)
    words = shlex.split(command_of(options))
    assert words[:2] == ["metabench", "run"]
    parsed: dict = {}
    rest = iter(words[2:])
    for word in rest:
        name = {"plugin": "plugins"}.get(word[2:], word[2:].replace("-", "_"))
        if isinstance(getattr(options, name.removeprefix("no_")), bool):
            parsed[name.removeprefix("no_")] = not name.startswith("no_")
        elif name in ("set", "plugins"):
            parsed.setdefault(name, []).append(next(rest))
        else:
            parsed[name] = next(rest)
    if "updates" in parsed:
        parsed["updates"] = int(parsed["updates"])
    assert read_options(None, parsed) == options
    assert (parsed == {}) == (options == Options())


def test_files_of_a_plugin_keep_their_places():
    files = (Module("pack.util", "/home/me/pack/util.py", b"2"), Module("beside", "/home/me/beside.py", b"3"))
    laid = dict(laid_out(PluginFile("/home/me/pack/plug.py", b"1", files)))
    assert laid == {"pack/plug.py": b"1", "pack/util.py": b"2", "beside.py": b"3"}

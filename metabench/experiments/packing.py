"""A results folder as one file, and that file run again: `metabench pack` and `metabench rerun`."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from metabench.errors import UserError, attempt
from metabench.experiments.experiment import Experiment, planned
from metabench.experiments.options import Options
from metabench.experiments.setup import check_in_subprocess, open_registry, use_data
from metabench.records import packs, requests, store
from metabench.records.domains import parts
from metabench.records.files import write_atomically
from metabench.records.plugin_files import PluginFile
from metabench.records.provenance import version_of
from metabench.records.trials import Trial

if TYPE_CHECKING:
    from metabench.registry.discovery import Registry

PACKAGES = ("metabench", "torch", "numpy")


def pack(root: Path, out: Path) -> int:
    """Write a pack of a results folder; how many trials it has. Raises UserError."""
    root = store.existing(root)
    trials = [record.trial for record in store.records(root)]
    if not trials:
        raise UserError(f"There is no finished trial in '{root}' to pack.")
    asked = requests.all_requests(root)
    plugins = {file.path: file for request in asked for file in request.plugins}
    files: dict[str, bytes] = {}
    names = []
    for number, file in enumerate(plugins.values()):
        inside = dict(laid_out(file))
        names.append(f"plugins/{number}/{next(iter(inside))}")
        files |= {f"plugins/{number}/{name}": source for name, source in inside.items()}
    files |= check_in_subprocess(installed_sources, trials)
    name = "".join(each if packs.PART.fullmatch(f"a{each}") else "_" for each in root.resolve().name) or "results"
    manifest = packs.Manifest(
        name=name if packs.PART.fullmatch(name) else f"r{name}",
        commands=tuple(dict.fromkeys(request.command for request in asked)),
        versions=versions(),
        plugins=tuple(names),
    )
    return packs.write_pack(root, manifest, files, out)


def versions() -> dict[str, str]:
    """Of what scores may depend on, here."""
    return {"python": platform.python_version(), **{name: version_of(name) or "none" for name in PACKAGES}}


def laid_out(file: PluginFile) -> Iterator[tuple[str, bytes]]:
    """A plugin file and what it imports beside it, by path below the folder that holds all of them."""
    paths = [file.path, *(module.path for module in file.modules)]
    top = os.path.commonpath([os.path.dirname(path) for path in paths])
    sources = [file.source or b"", *(module.source for module in file.modules)]
    for path, source in zip(paths, sources):
        yield Path(os.path.relpath(path, top)).as_posix(), source


def installed_sources(trials: Iterable[Trial]) -> dict[str, bytes]:
    """The modules of the installed plugins that these trials are of, for who reads the pack."""
    from metabench.registry.code import read_package
    from metabench.registry.discovery import file_of, load_registry

    registry: Registry = load_registry()
    used = {name for trial in trials for name in (trial.algorithm, trial.suite, *parts(trial.suite))}
    found = {}
    for plugin in registry.plugins:
        if plugin.file is None and used & set(plugin.provides) and (file := file_of(plugin.module)):
            source, modules = read_package(plugin.module, Path(file))
            found[f"sources/{plugin.module}.py"] = source
            found |= {f"sources/{module.name}.py": module.source for module in modules}
    return found


def rerun(path: Path, options: Options, trust: bool) -> Experiment:
    """The experiment of a pack, checked, into a fresh folder. Raises UserError."""
    manifest, place = packs.manifest_of(path), packs.unpacked(path)
    out = Path(options.out or f"results/{manifest.name}-again")
    if any(out.glob("*/record.json")):
        raise UserError(f"There are results in '{out}' already; give a fresh folder with --out.")
    if manifest.plugins and not trust:
        listed = ", ".join(str(place / name) for name in manifest.plugins)
        raise UserError(
            f"This pack brings code of its own, which would run here: {listed}. Read it; then say --trust."
        )
    for file in (place / "plugins").rglob("*"):
        if file.is_file():
            with attempt(f"write to '{out}'", "Choose another with --out."):
                write_atomically(out / file.relative_to(place), file.read_bytes())
    options = msgspec.structs.replace(
        options, out=str(out), plugins=(*options.plugins, *(str(out / name) for name in manifest.plugins))
    )
    use_data(options)
    made: Experiment = check_in_subprocess(checked, options, place / packs.RESULTS / manifest.name)
    now = {**dict.fromkeys(manifest.versions, "none"), **versions()}
    differing = [
        f"{name} {then} then, {now[name]} now" for name, then in manifest.versions.items() if then != now[name]
    ]
    told = (f"Versions differ: {'; '.join(differing)}.",) if differing else ("Versions are those of the pack.",)
    return made._replace(notices=(*told, *made.notices))


def checked(options: Options, results: Path) -> Experiment:
    """The trials of a results folder, to be run with the code that is here; notices say where that is another."""
    from metabench.experiments.stale import outdated
    from metabench.experiments.suite_builder import SuiteBuilder

    builder = SuiteBuilder(open_registry(options))
    trials = requests.requested_trials(results) or tuple(record.trial for record in store.records(results))
    for trial in trials:
        builder.registry.get("suite", trial.suite)
        builder.registry.get("algorithm", trial.algorithm)
    done = [record.trial for record in store.records(results)]
    other = outdated(results, done, builder, with_data=False)
    made = planned(options, builder, trials)
    told = tuple(
        f"Not the code of the pack: {reason} ({number})." for reason, number in sorted(other.reasons.items())
    )
    return made._replace(notices=(*told, *made.notices))

"""metabench new: a plugin that works, to change."""

from __future__ import annotations

import ast
import builtins
import keyword
import os
import re
import shlex
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from metabench.cli import templates
from metabench.cli.commands import app, say
from metabench.errors import UserError, attempt
from metabench.records.domains import NAME

if TYPE_CHECKING:
    from metabench.registry.catalogue import Catalogue

TEMPLATES = Path(templates.__file__).parent
PACKAGE = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    ".gitignore": "gitignore",
    ".github/workflows/test.yml": "ci.yml",
    "tests/test_{module}.py": "test_plugin.py",
}
"""The files of a package beside the plugin itself, and their templates."""


@app.command()
def new(
    kind: Annotated[str, typer.Argument(help="algorithm or suite.")],
    name: Annotated[str, typer.Argument(help="What users will type.")],
    package: Annotated[
        bool, typer.Option("--package", help="A whole project to install, with tests and an entry point.")
    ] = False,
    out: Annotated[Path, typer.Option(help="The folder to write into.")] = Path(),
) -> None:
    """Write a plugin that works and passes `metabench check`, with comments where to change it."""
    from metabench.registry.catalogue import read_catalogue

    if kind not in ("algorithm", "suite"):
        raise UserError(f"There is an algorithm or a suite to make, not '{kind}': metabench new algorithm NAME.")
    known = read_catalogue()
    module = module_of(kind, name, known)
    folder = out / name if package else out
    files = {folder / f"{module}.py": f"{kind}.py"}
    if package:
        files |= {folder / path.format(module=module): template for path, template in PACKAGE.items()}
    write({path: filled(template, name, module) for path, template in files.items()})
    say("Wrote " + ", ".join(map(str, files)) + ". Next:")
    plugin = "" if package else f" --plugin {shlex.quote(f'{folder / module}.py')}"
    for command in next_commands(kind, name, plugin, known):
        say(f"  {command}")
    if package:
        install, test = shlex.quote(f"{folder}[dev]"), shlex.quote(str(folder))
        say(f"after `pip install -e {install}`; `pytest {test}` runs the same checks.")


def module_of(kind: str, name: str, known: Catalogue) -> str:
    """The name of the Python file; raises UserError for a name that cannot be used or is taken."""
    module = re.sub(r"[-+]", "_", name)
    if not NAME.fullmatch(name) or not module.isidentifier():
        raise UserError(
            f"'{name}' cannot be a plugin's name: it begins with a lower-case letter, and has 1 to 40 lower-case "
            "letters, digits, '-', '_' or '+'; Windows reserves a few, such as 'con'."
        )
    if keyword.iskeyword(module) or module in taken(kind):
        raise UserError(f"'{name}' cannot be a plugin's name: '{module}' means something else in Python.")
    for entry in (*known.algorithms.values(), *known.suites.values()):
        if entry.name == name:
            raise UserError(f"The name '{name}' is taken: plugin '{entry.plugin}' registers that {entry.kind}.")
    return module


def taken(kind: str) -> set[str]:
    """What a module and its factory cannot be called: modules, built-in functions, and what the template imports."""
    tree = ast.parse((TEMPLATES / f"{kind}.py").read_text("utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    imported = {alias.asname or alias.name for node in imports for alias in node.names}
    return {*sys.stdlib_module_names, *packages_distributions(), *dir(builtins), *imported}


def filled(template: str, name: str, module: str) -> str:
    """A template under the name of the plugin; a distribution's has letters, digits and single `-` between them."""
    distribution = re.sub(r"[^a-z0-9]+", "-", f"metabench-{name}").strip("-")
    text = (TEMPLATES / template).read_text("utf-8").replace("metabench-my-plugin", distribution)
    return text.replace("my-plugin", name).replace("my_plugin", module)


def write(files: dict[Path, str]) -> None:
    """The files; raises UserError where one is there already, before anything is written, or cannot be written."""
    for path in files:
        if os.path.lexists(path):  # unlike Path.exists, never an error
            raise UserError(f"'{path}' is there already; nothing was written. Take another name, or --out FOLDER.")
    for path, text in files.items():
        with attempt(f"write '{path}'"):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)


def next_commands(kind: str, name: str, plugin: str, known: Catalogue) -> list[str]:
    """Check, run beside what is installed, report."""
    suite, algorithms = company(known)
    if kind == "suite":
        suite = name
    else:
        algorithms = [name, *algorithms[:1]]
    run = f"metabench run{plugin} --algos {','.join(algorithms)} --suites {suite} --seeds 2 --updates 200"
    return [
        f"metabench check {name}{plugin}",
        f"{run} --out results/{name}",
        f"metabench report results/{name}",
    ]


def company(known: Catalogue) -> tuple[str, list[str]]:
    """The installed suite with the smallest model that has a quick comparison, and two algorithms of that."""
    candidates = []
    for suite in known.suites.values():
        compared = [name for name in suite.compare if name in known.algorithms]
        if suite.weights and compared:
            candidates.append((suite.weights, suite.name, compared[:2]))
    _, name, compared = min(candidates, default=(0, "SUITE", ["ALGORITHM"]))
    return name, compared

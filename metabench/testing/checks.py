"""What a check is, how one is run, and what it found. A check's docstring is its documentation."""

from __future__ import annotations

import inspect
import os
import sysconfig
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from metabench.engine.seeds import random_state, set_random_state
from metabench.errors import NotApplicableError, UserError, one_line, unknown

OURS = f"{Path(__file__).parents[1]}{os.sep}"
TORCH = f"{Path(torch.__file__).parent}{os.sep}"
LIBRARIES = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")})


NOT_LOOKED_AT = "not looked at until"


class FailureError(AssertionError):
    """A property that does not hold: the value that was seen, and the likely cause with its remedy."""

    def __init__(self, seen: str, cause: str) -> None:
        super().__init__(seen, cause)
        self.seen = seen
        self.cause = cause


class Check(NamedTuple):
    """A property by name. It is not looked at while one that it `needs` does not hold."""

    name: str
    run: Callable[[Any], None]
    needs: tuple[str, ...] = ()

    @property
    def rule(self) -> str:
        """The property in a sentence."""
        return inspect.cleandoc(self.run.__doc__ or "").split("\n")[0]

    @property
    def explanation(self) -> str:
        """The rule, what is done, why it matters, and what usually breaks it."""
        return inspect.cleandoc(self.run.__doc__ or "")


class Result(NamedTuple):
    """What one check found: passed, failed, skipped, expected (to fail, and it does) or unexpected (it passes)."""

    check: str
    verdict: str
    message: str


class Kit:
    """The checks of one plugin. Each is run when its result is asked for, and once."""

    def __init__(
        self,
        checks: tuple[Check, ...],
        cases: Mapping[str, Any],
        expected_failures: Mapping[str, str] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.checks = {check.name: check for check in checks}
        self.cases = cases
        self.notes = notes
        self.expected = dict(expected_failures or {})
        self.found: dict[str, Result] = {}
        for name in self.expected:
            if name not in self.checks:
                raise UserError(f"expected_failures: {unknown('check', name, self.checks)}")

    def results(self) -> list[Result]:
        """Of every check."""
        return [self.result(name) for name in self.checks]

    def result(self, name: str) -> Result:
        """Of one check, after those that it needs."""
        if name not in self.found:
            self.found[name] = self.judge(self.checks[name])
        return self.found[name]

    def is_open(self, name: str) -> bool:
        """Whether a check fails, or waits for one that does."""
        result = self.result(name)
        return result.verdict in ("failed", "expected") or result.message.startswith(NOT_LOOKED_AT)

    def judge(self, check: Check) -> Result:
        """The verdict on one check, with what was expected of it."""
        waiting = [need for need in check.needs if self.is_open(need)]
        if waiting:
            return Result(check.name, "skipped", f"{NOT_LOOKED_AT} {' and '.join(waiting)} holds")
        result = run_check(check, self.cases)
        reason = self.expected.get(check.name)
        if reason is None or result.verdict == "skipped":
            return result
        if result.verdict == "failed":
            return Result(check.name, "expected", f"fails as expected: {reason}")
        return Result(check.name, "unexpected", f"passes, but was expected to fail: {reason}. Expect it no longer.")


def run_check(check: Check, cases: Mapping[str, Any]) -> Result:
    """One check on every case: the first failure, or that it passed, or why it does not apply anywhere."""
    skipped = ""
    passed = False
    threads = torch.get_num_threads()
    state = random_state()
    torch.set_num_threads(1)
    try:
        for label, case in cases.items():
            fail = partial(failed, check, f" on '{label}'" if label else "")
            plugin = folders_of(case)
            try:
                check.run(case)
                passed = True
            except NotApplicableError as reason:
                skipped = str(reason)
            except FailureError as failure:
                return fail(failure.seen, failure.cause)
            except Exception as error:
                return fail(one_line(error), f"the exception comes from {last_line(error, plugin)}")
    finally:
        torch.set_num_threads(threads)
        set_random_state(state)
    return Result(check.name, "passed", check.rule) if passed else Result(check.name, "skipped", skipped)


def failed(check: Check, place: str, seen: str, cause: str) -> Result:
    """A failure in words: the rule, the value seen, the likely cause."""
    return Result(check.name, "failed", f"{check.rule} Seen{place}: {seen}. Likely cause: {cause}.")


def where(*functions: Any) -> str:
    """ " (mine.py, line 24)" of the first function that is neither metabench's nor torch's own; empty if all are."""
    for function in functions:
        while isinstance(function, partial):
            function = function.func
        code = getattr(function, "__code__", None) or getattr(getattr(function, "__init__", None), "__code__", None)
        if code and not code.co_filename.startswith((OURS, TORCH)):
            return f" ({Path(code.co_filename).name}, line {code.co_firstlineno})"
    return ""


def folders_of(case: Any) -> tuple[str, ...]:
    """The folders of the plugin that a case is about: what lies in them is its author's."""
    suite = getattr(case, "suite", None)
    of_suite = (getattr(suite, name, None) for name in ("sample", "model", "loss"))
    found = []
    for function in (getattr(case, "factory", None), *of_suite):
        while isinstance(function, partial):
            function = function.func
        code = getattr(function, "__code__", None)
        if code and not code.co_filename.startswith(OURS):
            found.append(f"{Path(code.co_filename).parent}{os.sep}")
    return tuple(found)


def last_line(error: BaseException, plugin: tuple[str, ...] = ()) -> str:
    """The innermost line of a traceback that is the plugin's own; else one that is nobody's library, or a call of
    metabench's, which then met what the plugin had given it before."""
    lines = []
    trace = error.__traceback__
    while trace:
        lines.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    libraries = (OURS, *LIBRARIES, "<")
    foreign = tuple(each for each in libraries if not any(folder.startswith(each) for folder in plugin))
    authors = [line for line in lines if line[0].startswith(plugin) and not line[0].startswith(foreign)]
    own = authors or [line for line in lines if not line[0].startswith(libraries)]
    if own:
        return f"{Path(own[-1][0]).name}, line {own[-1][1]}"
    return f"what the plugin gave before: it is met in metabench's {Path(lines[0][0]).name}, line {lines[0][1]}"

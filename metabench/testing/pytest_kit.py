"""One pytest test per check; pytest is an optional import."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def kit(
    name: str, *, plugin: str | None = None, expected_failures: Mapping[str, str] | None = None
) -> Callable[..., Any]:
    """A test function that is one test a check: `test_mine = kit("mine")` in a test file is all.

    `name` is a registered algorithm or suite; `plugin` a file that registers it, where it is not installed.
    A check with a reason in `expected_failures` is xfail with that reason, and XPASS once it passes.
    """
    import pytest

    from metabench.registry.discovery import load_registry
    from metabench.testing.conformance import kit_of

    expected = dict(expected_failures or {})
    checks = kit_of(load_registry((plugin,) if plugin else ()), name, expected)
    cases = [
        pytest.param(check, marks=pytest.mark.xfail(reason=expected[check]) if check in expected else (), id=check)
        for check in checks.checks
    ]

    @pytest.mark.parametrize("check", cases)
    def test(check: str) -> None:
        result = checks.result(check)
        if result.verdict == "skipped":
            pytest.skip(result.message)
        if result.verdict in ("failed", "expected"):
            pytest.fail(f"{result.message} See `metabench check {name} --explain {check}`.", pytrace=False)

    test.__name__ = test.__qualname__ = f"test_{name}"
    return test

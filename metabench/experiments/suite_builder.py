"""The suites of one command, each built once for each set of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from metabench.errors import UserError
from metabench.records.recipe import Recipe
from metabench.registry.discovery import Registry, reason_of
from metabench.registry.parameters import shown

if TYPE_CHECKING:  # torch is imported where a suite is built
    from metabench.api import Suite


class SuiteBuilder:
    """Builds suites, and keeps what it has built."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.built: dict[bytes, Suite] = {}

    def build(self, name: str, given: Mapping[str, Any]) -> Suite:
        """A suite with these parameters, the others at their defaults. Raises UserError where it cannot be built."""
        from metabench.engine.build import assembled

        entry = self.registry.get("suite", name)
        parameters = entry.resolve(dict(given))
        key = msgspec.json.encode((name, parameters))
        if key not in self.built:
            try:
                self.built[key] = assembled(entry, parameters, lambda one, own: checked(one.factory(**own)))
            except (ValueError, UserError) as error:
                raise UserError(f"Suite '{name}': {error}") from None
            except (Exception, SystemExit) as error:
                reason = reason_of(error)
                raise UserError(f"Suite '{name}' of plugin '{entry.plugin}' cannot be built: {reason}.") from None
        return self.built[key]


def checked(suite: Any) -> Suite:
    """What a factory made; raises TypeError where it is not what the contract says."""
    from metabench.api import Suite

    if not isinstance(suite, Suite):
        raise TypeError(f"its factory must return a Suite, not {shown(suite)}")
    if not isinstance(suite.recipes, Mapping):
        raise TypeError(f"its recipes must be a dict of name -> Recipe, not {shown(suite.recipes)}")
    for name, recipe in suite.recipes.items():
        if not isinstance(name, str) or not isinstance(recipe, Recipe):
            raise TypeError(f"its recipes must be a dict of name -> Recipe, not {shown(name)}: {shown(recipe)}")
    return suite

"""The entry of a suite that nobody registers: one that is changed, or two of which one is trained on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from metabench.errors import UserError
from metabench.records.domains import Domain, domains, read_value
from metabench.registry.parameters import Parameter

if TYPE_CHECKING:
    from metabench.registry.discovery import Entry

VALIDATE = Parameter(
    "validate",
    Literal["source", "target"],
    "source",
    "Whose validation tasks choose the state that is tested: those of the suite that is trained on, or of the other.",
    Literal["source", "target"],
)


def compound(name: str, get: Callable[[str], Entry]) -> Entry:
    """`omniglot+rotate=30`, or `omniglot:emnist` with the parameters of both under their own names.

    `get` gives the entry of a registered suite. Raises UserError.
    """
    sides = [changed(get(domain.suite), domain) for domain in read_name(name)]
    if len(sides) == 1:
        return sides[0]
    parameters = {
        f"{side.name}.{own}": parameter._replace(name=f"{side.name}.{own}")
        for side in sides
        for own, parameter in side.parameters.items()
    }
    return sides[0]._replace(
        name=name, parameters=parameters | {VALIDATE.name: VALIDATE}, shifts=(), domains=tuple(sides)
    )


def read_name(name: str) -> tuple[Domain, ...]:
    """See domains; raises UserError for what is no name, and for a shift that cannot be read."""
    try:
        for domain in domains(name):
            _ = domain.shifts
        return domains(name)
    except ValueError as error:
        raise UserError(f"There is no suite '{name}': {error}.") from None


def changed(entry: Entry, domain: Domain) -> Entry:
    """A suite of which some parameters are given: it has the others. Raises UserError."""
    fixed = {name: read_value(text) for name, text in domain.parameters.items()}
    values = entry.resolve(fixed)
    for name in fixed:
        if entry.parameters[name].later:
            raise UserError(f"'{name}' cannot stand in the name of a suite: say --set {domain.suite}.{name}=...")
    return entry._replace(
        name=domain.name,
        factory=functools.partial(entry.factory, **{name: values[name] for name in fixed}),
        parameters={name: parameter for name, parameter in entry.parameters.items() if name not in fixed},
        shifts=domain.shifts,
    )

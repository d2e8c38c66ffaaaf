"""The files of a plugin as they were at one moment: what workers are given in place of a path."""

from __future__ import annotations

import msgspec


class Module(msgspec.Struct, frozen=True):
    """A file beside a plugin file, or in its package, that it imports."""

    name: str
    """Dotted, as it is imported."""
    path: str
    source: bytes

    @property
    def is_package(self) -> bool:
        return self.path.endswith("__init__.py")


class PluginFile(msgspec.Struct, frozen=True):
    """A plugin file with all of its own folder that it imports."""

    path: str
    """Absolute. What the plugin reads beside it, it finds there."""
    source: bytes | None = None
    """None where it could not be read."""
    modules: tuple[Module, ...] = ()

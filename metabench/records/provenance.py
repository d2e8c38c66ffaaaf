"""Where a record comes from: the machine, the versions, and how the trial was computed there."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import msgspec


class StrategyChoice(msgspec.Struct, frozen=True):
    """A strategy, and what it was chosen by."""

    strategy: str
    milliseconds: dict[str, float]
    """Of one update, by strategy; the quickest of a few. Empty where nothing was measured."""
    reason: str


class PluginOrigins(msgspec.Struct, frozen=True, omit_defaults=True):
    """Distribution, version and module of the two plugins of a trial, in one line each."""

    algorithm: str | None = None
    suite: str | None = None


class Digests(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a trial was computed from, in 12 digits each. None is unknown: earlier versions did not record it."""

    algorithm: str | None = None
    """Of the plugin's code: docstrings, comments and layout do not matter."""
    suite: str | None = None
    data: str | None = None
    """Of the suite's data, with a few training and validation tasks; rounding does not matter."""
    tests: str | None = None
    """Of the first block of test tasks."""

    @property
    def text(self) -> str:
        """`algorithm 1a2b..., suite 3c4d...`: only the same of the same."""
        known = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return ", ".join(f"{name} {value}" for name, value in known if value is not None)


class Defaults(msgspec.Struct, frozen=True, omit_defaults=True):
    """The parameters that have their factory's default, by name. Empty is unknown, or none."""

    suite: tuple[str, ...] = ()
    algorithm: tuple[str, ...] = ()


class Provenance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a record says about the machine and the code that made it.

    None is a fact that was not recorded (earlier versions knew fewer); on disk it has no key.
    """

    device: str | None = None
    """`cpu`, or the name of the GPU."""
    cpu: str | None = None
    """The processor's name."""
    cores: int | None = None
    threads: int | None = None
    """That the trial had."""
    platform: str | None = None
    python: str | None = None
    torch: str | None = None
    metabench: str | None = None
    git: str | None = None
    """Commit of the checkout that metabench ran from, with `-dirty` for changes; empty outside one."""
    finished: str | None = None
    """When the trial ended, UTC."""
    choice: StrategyChoice | None = msgspec.field(name="strategy", default=None)
    """Which strategy was asked for or chosen, and why; Record.strategy is the one that ran."""
    resumed: tuple[int, ...] = ()
    """The updates at which it went on from a checkpoint."""
    traceback: str = ""
    """Of an exception that is not the user's to fix."""
    deterministic: bool | None = None
    """Whether Execution.deterministic was asked for."""
    rematerialise: bool | None = None
    """Whether Execution.rematerialise was asked for."""
    plain_layers: bool | None = None
    """Whether Execution.plain_layers was asked for."""
    load: tuple[float, float] | None = None
    """The machine's, over a minute, when the trial began and when it ended: more than `threads` is other work."""
    defaults: Defaults = Defaults()
    bits: str | None = None
    """What is promised to whoever runs the trial again."""
    notice: str = ""
    """What went wrong and was survived: with a checkpoint, or at a validation."""
    plugins: PluginOrigins = PluginOrigins()
    digests: Digests = Digests()


def version_of(distribution: str) -> str:
    """The installed version, or an empty string."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""

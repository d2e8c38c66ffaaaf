"""What an algorithm or suite needs besides, and whether it is installed."""

from __future__ import annotations

import importlib.util


def reason_missing(module: str, install: str) -> str:
    """The module that is not installed, with the command that installs it; empty where it is, or none is needed."""
    return f"{module} is not installed: {install}" if module and not is_installed(module) else ""


def is_installed(module: str) -> bool:
    """Whether a module can be found; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # set to None in sys.modules, as tests do
        return False

"""What an algorithm or suite needs besides, and whether it is installed."""

from __future__ import annotations

import importlib.util


def reason_missing(module: str, install: str) -> str:
    """The first module that is not installed, with the command that installs it; empty where all are, or none is
    needed. `module` names several with spaces between."""
    missing = next((one for one in module.split() if not is_installed(one)), "")
    return f"{missing} is not installed: {install}" if missing else ""


def is_installed(module: str) -> bool:
    """Whether a module can be found; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # set to None in sys.modules, as tests do
        return False

"""What a factory's docstring says, and what it says of each parameter under `Args:` (Google's style)."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

SECTION = re.compile(r"^Args:\n((?:[ \t]+\S.*\n|\n)*)", re.MULTILINE)
ENTRY = re.compile(r"^(\w+)(?: \(.*?\))?:(.*(?:\n+[ \t]+.*)*)", re.MULTILINE)
"""`name: text` or `name (type): text`; the further lines of an entry are indented deeper."""


def description_of(factory: Callable[..., Any]) -> str:
    """The docstring without its `Args:` section."""
    text = inspect.cleandoc(factory.__doc__ or "") + "\n"
    return SECTION.sub("", text).strip()


def arguments_of(factory: Callable[..., Any]) -> dict[str, str]:
    """By parameter, what the docstring says of it, in one line."""
    section = SECTION.search(inspect.cleandoc(factory.__doc__ or "") + "\n")
    entries = ENTRY.findall(textwrap.dedent(section[1])) if section else []
    return {name: " ".join(text.split()) for name, text in entries}

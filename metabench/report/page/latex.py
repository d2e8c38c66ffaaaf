"""The scores of a suite as a LaTeX table (booktabs), for a paper to \\input."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from metabench.records.columns import Column
from metabench.report.formatting import heading, is_share, text

RIGHT = ("count", "amount", "part")
"""Formats that a table has at the right of its column."""
SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}", "[": "{[}", "]": "{]}", "*": "{*}", **{each: f"\\{each}" for each in "&%$#_{}"},
    "±": r"$\pm$", "−": "$-$", "–": "--", "—": "---", "’": "'", "…": r"\dots{}", "→": r"$\to$",
}  # fmt: skip


def tabular(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], metric: str) -> str:
    """Rows of the summary; wants `\\usepackage{booktabs,textcomp}` and T1 fonts, and no packages else."""
    kinds = "".join("r" if column.format in RIGHT else "l" for column in columns)
    lines = [
        "% \\usepackage[T1]{fontenc} \\usepackage{booktabs,textcomp}",
        f"\\begin{{tabular}}{{{kinds}}}",
        "\\toprule",
        " & ".join(escaped(head(column, metric)) for column in columns) + r" \\",
        "\\midrule",
        *(" & ".join(cell(column, row) for column in columns) + r" \\" for row in rows),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def head(column: Column, metric: str) -> str:
    """A heading, with the unit that its cells do not repeat."""
    return heading(column, metric) + (" (%)" if column.name == "score" and is_share(metric) else "")


def cell(column: Column, row: Mapping[str, Any]) -> str:
    """One value; the best score is bold, and one that is not separated from it has a mark."""
    if column.name != "score":
        return escaped(text(column, row))
    value = escaped(text(column, row).removesuffix("%"))
    return {"best": rf"\textbf{{{value}}}", "not separated": rf"{value}$^{{\approx}}$"}.get(row["standing"], value)


def escaped(value: Any) -> str:
    """Text that LaTeX prints as it is; a letter that its usual fonts lack is named by its number."""
    return "".join(map(letter, re.sub(r"\s+", " ", str(value))))


def letter(character: str) -> str:
    if character in SPECIAL:
        return SPECIAL[character]
    if " " <= character <= "~" or ("À" <= character <= "ÿ" and unicodedata.category(character).startswith("L")):
        return character
    return f"{{[}}U+{ord(character):04X}{{]}}"  # bare, it would be an argument of the \\ before it

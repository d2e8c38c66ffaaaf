"""The scores of a suite as a LaTeX table (booktabs), for a paper to \\input."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}", "[": "{[}", "]": "{]}", "*": "{*}", **{each: f"\\{each}" for each in "&%$#_{}"},
    "±": r"$\pm$", "−": "$-$", "–": "--", "—": "---", "’": "'", "…": r"\dots{}", "→": r"$\to$",
}  # fmt: skip
MARKS = {"best": r"\textbf{best}", "tied": "tied"}


def tabular(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as the page shows them; wants `\\usepackage{booktabs,textcomp}` and T1 fonts, and no packages else."""
    metric = escaped(rows[0]["metric"] or "score")
    body = [" & ".join(cells(row)) + r" \\" for row in rows]
    return "\n".join(
        [
            "% \\usepackage[T1]{fontenc} \\usepackage{booktabs,textcomp}",
            "\\begin{tabular}{lllllr}",
            "\\toprule",
            f"algorithm & protocol & {metric} & & behind the best & seeds \\\\",
            "\\midrule",
            *body,
            "\\bottomrule",
            "\\end{tabular}",
            "",
        ]
    )


def cells(row: Mapping[str, Any]) -> list[str]:
    algorithm, protocol, behind, counted = (
        escaped(row[name]) for name in ("algorithm", "protocol", "behind", "counted")
    )
    return [algorithm, protocol, bold(row), MARKS.get(row["standing"], ""), behind, counted]


def bold(row: Mapping[str, Any]) -> str:
    score = escaped(row["score"])
    return rf"\textbf{{{score}}}" if row["standing"] == "best" else score


def escaped(value: Any) -> str:
    """Text that LaTeX prints as it is; a letter that its usual fonts lack is named by its number."""
    return "".join(map(letter, re.sub(r"\s+", " ", str(value))))


def letter(each: str) -> str:
    if each in SPECIAL:
        return SPECIAL[each]
    if " " <= each <= "~" or ("À" <= each <= "ÿ" and unicodedata.category(each).startswith("L")):
        return each
    return f"{{[}}U+{ord(each):04X}{{]}}"  # bare, it would be an argument of the \\ before it

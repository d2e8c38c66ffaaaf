"""Reports as Chromium shows them: whole pages at three widths, light and dark, and printed; and how large they are.

python -m benchmarks.screenshots FOLDER reports/quickstart reports/papers    # FOLDER/NAME-360-dark.png, NAME.pdf ...

Ends with 1 where axe finds anything, or where a page scrolls sideways.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe

from benchmarks import browser

WIDTHS, SCHEMES = (1280, 768, 360), ("light", "dark")
PAPER = 718
"""Pixels between the margins of A4."""


def pictures(chromium: Any, report: Path, out: Path) -> Iterator[str]:
    """Takes them, and yields what is wrong."""
    for scheme in SCHEMES:
        for width in WIDTHS:
            tab = opened(chromium, report, width, scheme)
            if (wide := tab.evaluate("document.documentElement.scrollWidth")) > width:
                yield f"{report.name} at {width} is {wide} wide"
            for found in Axe().run(tab).response["violations"]:
                yield f"{report.name} at {width}, {scheme}: {found['id']}: {found['nodes'][0]['html'][:120]}"
            tab.screenshot(path=out / f"{report.name}-{width}-{scheme}.png", full_page=True)
            tab.close()
    tab = opened(chromium, report, PAPER, "light")
    tab.pdf(path=out / f"{report.name}.pdf", prefer_css_page_size=True)
    tab.emulate_media(media="print")
    tab.screenshot(path=out / f"{report.name}-print.png", full_page=True)
    tab.close()


def opened(chromium: Any, report: Path, width: int, scheme: str) -> Any:
    """A tab with the page in it."""
    tab = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    tab.set_default_timeout(0)  # a busy machine is no reason to stop
    tab.goto((report / "index.html").resolve().as_uri())
    return tab


def size(chromium: Any, report: Path) -> str:
    """A row of a table: what there is to read."""
    words = [word for word in (report / "report.md").read_text("utf-8").split() if re.search(r"\w", word)]
    tab = opened(chromium, report, WIDTHS[0], "light")
    shown, folded = (tab.locator(f"figure{which}").count() for which in (":not([data-deflated])", "[data-deflated]"))
    height = tab.evaluate("document.documentElement.scrollHeight")
    tab.close()
    weight = (report / "index.html").stat().st_size / 1000
    return f"| {report.name} | {len(words):,} | {shown} of {shown + folded} | {weight:,.0f} | {height:,} |"


def main(out: Path, reports: list[Path]) -> int:
    out.mkdir(parents=True, exist_ok=True)
    with browser.chromium() as chromium:
        print("| report | words of report.md | figures shown | page, KB | height at 1280, px |")
        print("|---|---|---|---|---|")
        for report in reports:
            print(size(chromium, report))
        wrong = [line for report in reports for line in pictures(chromium, report, out)]
    print("\n".join(wrong) or "axe finds nothing, and no page scrolls sideways")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]))

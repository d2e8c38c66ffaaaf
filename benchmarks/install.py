"""Makes .bench/: libraries that the environment cannot hold, each in a folder that only its workers see.

parallel-metalearn and JAX ask for a NumPy that learn2learn does not allow. Without the network, or where a wheel is
missing, the contender is reported as not installed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent / ".bench"

FOLDERS = {
    "parallel-metalearn": ("--no-deps", "parallel-metalearn==0.5.6", "tqdm==4.70.1"),
    "jax": ("jax==0.10.2",),
}
"""By folder: what pip is asked for."""


def setup() -> list[str]:
    """Install what is not there yet; a note for everything that could not be."""
    notes = []
    BENCH.mkdir(exist_ok=True)
    (BENCH / ".gitignore").write_text("*\n", encoding="utf-8")
    for name, words in FOLDERS.items():
        done = BENCH / f"{name}.ready"
        if done.exists() and done.read_text(encoding="utf-8") == " ".join(words):
            continue
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", "--target", str(BENCH / name)]
        # pip warns that the folder's NumPy is not the environment's: that is what the folder is for
        made = subprocess.run([*command, *words], capture_output=True, encoding="utf-8")
        if made.returncode == 0:
            done.write_text(" ".join(words), encoding="utf-8")
        else:
            notes.append(f"{name} could not be installed; its contenders are left out")
    return notes

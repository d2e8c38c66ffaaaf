"""Metabench against others: the same meta-learning work in one run. `python -m benchmarks`."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

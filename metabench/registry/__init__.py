"""Which plugins there are, and what their signatures say. Imports no torch."""

from metabench.registry.discovery import load_registry

__all__ = ["load_registry"]

"""Tuning without cheating: on validation tasks alone, with the same budget for each algorithm."""

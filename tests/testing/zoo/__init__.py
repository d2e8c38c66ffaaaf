"""Plugins that are wrong on purpose, each caught by the check that is named for it: `python -m tests.testing.zoo`."""

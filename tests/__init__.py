"""A package, since a dependency installs a top-level `tests` of its own, which a folder alone would not precede."""

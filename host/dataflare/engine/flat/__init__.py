"""Flattened components: a plugin's core modules and their wiring, written out again around code of the host's own."""

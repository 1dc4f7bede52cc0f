"""Flattened components: a plugin's core modules, wired to the host's generated code in a new component."""

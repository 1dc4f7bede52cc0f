# Written by `dataflare bindgen`. Write it anew rather than change it.
"""Types of WIT, a module for each interface."""

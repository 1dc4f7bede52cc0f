"""The connectors: one module each, found by name; packages of others may bring more."""

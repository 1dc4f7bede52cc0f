"""Plugins in separate processes."""

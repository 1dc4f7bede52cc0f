"""Hosts, plugins and their instances."""

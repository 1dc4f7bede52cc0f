"""Numbers about the plugin's work, which the host adds to its own; `plugin.yaml` lists `metrics` under `needs`.

Calls never fail. Names match `[a-z][a-z0-9_.]{0,62}`; values with other names, values that are not finite, and names
and labels above the host's limit are dropped and counted.
"""

from __future__ import annotations

from collections.abc import Mapping

from dataflare_plugin.bindings import interface

__all__ = ["add_to_counter", "record_observation", "set_gauge"]

_metrics = interface("metrics")


def add_to_counter(name: str, amount: float = 1, labels: Mapping[str, str] | None = None) -> None:
    """Add to a counter an amount that is not negative."""
    _metrics.add_to_counter(name, float(amount), list((labels or {}).items()))


def set_gauge(name: str, value: float, labels: Mapping[str, str] | None = None) -> None:
    """Set a gauge."""
    _metrics.set_gauge(name, float(value), list((labels or {}).items()))


def record_observation(name: str, value: float, labels: Mapping[str, str] | None = None) -> None:
    """Add one observation to a histogram, in the unit that the name ends in."""
    _metrics.record_observation(name, float(value), list((labels or {}).items()))

"""Metrics of plugins and runs in Prometheus' text format, for example for the node exporter's text files."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Final

from dataflare.capabilities.metrics import Distribution, Labels, MemoryMetrics

__all__ = ["to_prometheus"]

_HOST_PREFIX: Final = "dataflare:"
_ESCAPES: Final = {"\\": r"\\", '"': r"\"", "\n": r"\n"}

_Key = tuple[str, str, Labels]


def to_prometheus(metrics: MemoryMetrics) -> str:
    """Write metrics in Prometheus' text format.

    A plugin's `rows` becomes `dataflare_plugin_rows`, the host's own `dataflare:node_rows_in` becomes
    `dataflare_node_rows_in`. Counters are written as gauges, since they restart with each process, and histograms as
    summaries without quantiles. A plugin's metric has the label `plugin`, which the plugin cannot override.
    """
    page = _Page()
    page.add("gauge", "", metrics.counters())
    page.add("gauge", "", metrics.gauges())
    histograms = metrics.histograms()
    page.add("summary", "", histograms)
    for part in ("minimum", "maximum"):
        page.add("gauge", f"_{part}", {key: getattr(each, part) for key, each in histograms.items()})
    return "".join(f"{line}\n" for line in page.lines)


class _Page:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self._taken: set[str] = set()

    def add(self, kind: str, suffix: str, found: Mapping[_Key, float | Distribution]) -> None:
        by_name: dict[str, list[tuple[_Key, float | Distribution]]] = {}
        for key, value in sorted(found.items()):
            by_name.setdefault(key[1], []).append((key, value))
        for name, series in by_name.items():
            family = self._unused(_family(name), suffix)
            self.lines.append(f"# TYPE {family} {kind}")
            for (plugin, _, labels), value in series:
                shown = _labels(plugin, labels)
                if isinstance(value, Distribution):
                    self.lines += [
                        f"{family}_sum{shown} {_number(value.total)}",
                        f"{family}_count{shown} {value.count}",
                    ]
                else:
                    self.lines.append(f"{family}{shown} {_number(value)}")

    def _unused(self, family: str, suffix: str) -> str:
        """Return a name that no other metric has: `a.b` and `a_b` would get the same name."""
        number, name = 2, f"{family}{suffix}"
        while name in self._taken:
            number, name = number + 1, f"{family}_{number}{suffix}"
        self._taken.add(name)
        return name


def _family(name: str) -> str:
    own = name.removeprefix(_HOST_PREFIX)
    return re.sub("[^a-zA-Z0-9_]", "_", f"dataflare_plugin_{name}" if own == name else f"dataflare_{own}")


def _labels(plugin: str, labels: Iterable[tuple[str, str]]) -> str:
    found = {"plugin": plugin} if plugin else {}
    for label, value in labels:
        name = re.sub("[^a-zA-Z0-9_]", "_", label)
        # Two leading underscores are reserved for Prometheus; `plugin` is reserved for the host.
        while name.startswith("__") or name == "plugin" or name in found:
            name = f"label_{name}"
        found[name] = value
    if not found:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in found.items()) + "}"


def _number(value: float) -> str:
    """Write a number in Go's notation; sums may overflow to infinity."""
    if math.isnan(value):
        return "NaN"
    return repr(float(value)) if math.isfinite(value) else ("+Inf" if value > 0 else "-Inf")


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(each, each) for each in text)

"""Metrics of plugins for OpenTelemetry. Needs the extra `opentelemetry`."""

from __future__ import annotations

from typing import Any, Final

from dataflare.capabilities.metrics import Labels
from dataflare.errors import ConfigError
from dataflare.locks import Lock

__all__ = ["OpenTelemetryMetrics"]

_PLUGIN: Final = "dataflare.plugin"
_HOST_PREFIX: Final = "dataflare:"


class OpenTelemetryMetrics:
    """A sink that passes metrics to OpenTelemetry instruments. Any thread may use it.

    A plugin's metric `rows` becomes the instrument `plugin.rows`, the host's `dataflare:limit_exceeded` the instrument
    `dataflare.limit_exceeded`. So no plugin can write to an instrument of the host. Each number has the plugin's name
    as the attribute `dataflare.plugin`; a plugin cannot override it.

    Args:
        provider: A meter provider; `None` for the global one, which does nothing until a program sets another.

    Raises:
        ConfigError: OpenTelemetry's API is not installed.
    """

    def __init__(self, provider: Any = None) -> None:
        try:
            from opentelemetry.metrics import get_meter
        except ImportError as error:
            hint = "pip install 'dataflare[opentelemetry]'"
            raise ConfigError("OpenTelemetry's API is not installed", where="metrics", hint=hint) from error
        self._meter = get_meter("dataflare", meter_provider=provider)
        self._lock = Lock()
        self._instruments: dict[tuple[str, str], Any] = {}

    def add_to_counter(self, plugin: str, name: str, amount: float, labels: Labels) -> None:
        """Add to a counter."""
        self._instrument("counter", name).add(amount, _attributes(plugin, labels))

    def set_gauge(self, plugin: str, name: str, value: float, labels: Labels) -> None:
        """Set a gauge."""
        self._instrument("gauge", name).set(value, _attributes(plugin, labels))

    def record_observation(self, plugin: str, name: str, value: float, labels: Labels) -> None:
        """Add an observation to a histogram."""
        self._instrument("histogram", name).record(value, _attributes(plugin, labels))

    def _instrument(self, kind: str, name: str) -> Any:
        with self._lock:
            if (made := self._instruments.get((kind, name))) is None:
                own = name.removeprefix(_HOST_PREFIX)
                shown = f"plugin.{name}" if own == name else f"dataflare.{own}"
                made = self._instruments[kind, name] = getattr(self._meter, f"create_{kind}")(shown)
            return made


def _attributes(plugin: str, labels: Labels) -> dict[str, str]:
    return {**dict(labels), _PLUGIN: plugin}

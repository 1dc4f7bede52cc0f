"""The lifecycle of a faulty plugin that remembers how often it was configured."""

from __future__ import annotations

from typing import Any

__all__ = ["CountedConfigurations"]


class CountedConfigurations:
    """What is in the place of the SDK's `Lifecycle`; the plugin has `times`."""

    instance: Any

    def configure(self, config: str) -> None:
        before = getattr(self.instance.made, "times", 0)
        super().configure(config)  # type: ignore[misc]
        self.instance.made.times = before + 1

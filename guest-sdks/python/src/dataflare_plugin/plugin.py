"""What plugins of all kinds have in common."""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = ["Plugin"]


class Plugin:
    """A plugin: the base of a class for each kind.

    A plugin with a configuration annotates `config` with a dataclass: `config: Settings`. The host checks what the
    operator gives against it; the plugin finds it as `self.config`.
    """

    kind: ClassVar[str]
    config: Any = None

    def check_config(self) -> None:
        """Check what the types of the configuration cannot say.

        Raises:
            InvalidConfig: It is wrong.
        """

    def initialize(self) -> None:
        """Prepare for work: open files, connect. Called once, after the configuration."""

    def shutdown(self) -> None:
        """Release everything. Called once, at the end."""

    def health(self) -> str:
        """What is wrong, for the operator; empty if nothing is."""
        return ""

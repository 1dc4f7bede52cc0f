"""What exit codes mean."""

from __future__ import annotations

from typing import Final

__all__ = ["EXIT_CONFIG", "EXIT_DENIED", "EXIT_FAILED", "EXIT_NO_PLUGIN"]

EXIT_FAILED: Final = 1
"""The work was begun and failed: a plugin, its data, or something outside."""
EXIT_CONFIG: Final = 2
"""The command line, a pipeline or another file that the user wrote is wrong; nothing was begun."""
EXIT_NO_PLUGIN: Final = 3
"""A file is not a component, or fits no world."""
EXIT_DENIED: Final = 4
"""A plugin needs what was not granted."""

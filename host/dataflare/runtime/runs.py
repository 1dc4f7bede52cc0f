"""What sources and destinations have in common: work that one instance keeps."""

from __future__ import annotations

from dataflare.errors import UsageError

__all__ = ["RunLost"]


class RunLost(UsageError):
    """The instance that was reading or writing is gone, and with it what it had not made safe: `open` again."""

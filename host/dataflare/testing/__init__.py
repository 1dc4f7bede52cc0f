"""For the tests of plugin authors: plugins in Python run natively, and the host's answers come from a recording."""

from dataflare.testing.native import native
from dataflare.testing.recording import UnexpectedCall, recorded_calls

__all__ = ["UnexpectedCall", "native", "recorded_calls"]

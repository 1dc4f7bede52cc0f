"""For the tests of plugin authors: plugins in Python run natively, against the host's own code."""

from dataflare.testing.native import native

__all__ = ["native"]

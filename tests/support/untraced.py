"""Tests in which a tool that measures coverage would change what is tested."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

__all__ = ["untraced"]


@contextmanager
def untraced() -> Iterator[None]:
    """Run without the tracer of such a tool, also in threads that are started.

    With one, CPython 3.11 keeps bound methods of callbacks alive, and exceptions that come from other threads can send
    its interpreter into an endless loop.
    """
    tracer, of_threads = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(cast(Any, None))
    try:
        yield
    finally:
        threading.settrace(cast(Any, of_threads))
        sys.settrace(tracer)

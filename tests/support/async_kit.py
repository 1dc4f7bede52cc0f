"""Helpers for tests of calls that are awaited."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import warnings
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def nothing_left() -> Iterator[None]:
    """Within this, no thread is left behind, and nothing is complained about."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
        gc.collect()
    until_s = time.monotonic() + 5
    while left := [each.name for each in threading.enumerate() if each.name.startswith("dataflare")]:
        assert time.monotonic() < until_s, left
        time.sleep(0.01)


async def cancelled_after(seconds: float, work: Coroutine[Any, Any, object]) -> tuple[float, BaseException | None]:
    """Cancel a task after some time; returns how long it took to end then, and what ended it."""
    task = asyncio.create_task(work)
    await asyncio.sleep(seconds)
    assert not task.done()
    began_s = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    return time.monotonic() - began_s, caught.value.__cause__

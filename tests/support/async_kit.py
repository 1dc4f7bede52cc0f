"""Helpers for tests of calls that are awaited."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import warnings
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
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
    """Cancel a task some time after it is within a plugin; returns how long it took to end then, and what ended it."""
    task = asyncio.create_task(work)
    await within_a_plugin()
    await asyncio.sleep(seconds)
    assert not task.done()
    began_s = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    return time.monotonic() - began_s, caught.value.__cause__


async def within_a_plugin() -> None:
    """Wait until a thread is in what calls a plugin's code, in this process or in a worker."""
    until_s = time.monotonic() + 60
    while not _is_within_a_plugin():
        assert time.monotonic() < until_s
        await asyncio.sleep(0.002)


def _is_within_a_plugin() -> bool:
    for frame in sys._current_frames().values():
        at: FrameType | None = frame
        while at is not None:
            if at.f_code.co_name in ("_enter", "_exchange"):
                return True
            at = at.f_back
    return False

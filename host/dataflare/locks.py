"""Locks that a fork leaves free: the threads that held them are not in the child."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, Final

__all__ = ["Lock", "ReentrantLock"]


def Lock() -> threading.Lock:  # as in `threading`, which it stands for
    """Make a lock, as `threading.Lock`, that is free in a fork of this process, even if another thread held it."""
    made = threading.Lock()
    _locks.add(made)
    return made


def ReentrantLock() -> threading.RLock:  # as `Lock`
    """Make a lock, as `threading.RLock`, that is free in a fork of this process, even if another thread held it."""
    made = threading.RLock()
    _locks.add(made)
    return made


def _after_fork() -> None:
    for each in list(_locks):
        # What `threading` and `logging` do with theirs.
        each._at_fork_reinit()


_locks: Final[weakref.WeakSet[Any]] = weakref.WeakSet()
os.register_at_fork(after_in_child=_after_fork)

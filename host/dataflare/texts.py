"""The largest lengths of texts from plugins. Longer texts are shortened, and say so.

| text | characters |
| --- | --- |
| names: of datasets, rules, columns in reports, keys of log fields | 256 |
| messages: errors, health, violations, progress, descriptions, values of log fields | 4,096 |
| a log event's message; a kept log line | 16,384 |
| a frame of a backtrace | 512; the 50 innermost frames |
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

__all__ = [
    "FRAMES",
    "FRAME_CHARACTERS",
    "LOG_CHARACTERS",
    "MESSAGE_CHARACTERS",
    "NAME_CHARACTERS",
    "cut",
    "cut_frames",
    "cut_name",
    "first_repeated",
]

NAME_CHARACTERS: Final = 256
MESSAGE_CHARACTERS: Final = 4_096
LOG_CHARACTERS: Final = 16_384
FRAME_CHARACTERS: Final = 512
FRAMES: Final = 50
_MARK: Final = "... (cut)"


def cut(text: str, most: int = MESSAGE_CHARACTERS) -> str:
    """Return a text of at most `most` characters, of which the last ones say so where something was left out."""
    return text if len(text) <= most else text[: most - len(_MARK)] + _MARK


def cut_name(text: str) -> str:
    """Return a name of at most `NAME_CHARACTERS`."""
    return cut(text, NAME_CHARACTERS)


def first_repeated(names: Iterable[str]) -> str | None:
    """Return the first name that stands twice, in linear time."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def cut_frames(frames: tuple[str, ...]) -> tuple[str, ...]:
    """Return the innermost frames of a backtrace, each cut."""
    return tuple(cut(frame, FRAME_CHARACTERS) for frame in frames[:FRAMES])

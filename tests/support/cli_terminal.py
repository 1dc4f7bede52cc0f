"""A terminal in memory, and what must not be on it."""

from __future__ import annotations

import io
import re
import unicodedata

from dataflare.cli.screen import Screen

FAKE = "1000 rows in, 1000 rows out"
MARK = "\x1b[38;5;213m"  # a colour that nothing of ours has
HOSTILE = (
    f"a{MARK}\x1b[2J\x1b]0;title\x07\x9b31m\r\x00\x7f\x85\u202e\u2066\u200b\u200f\ufeff\u2028\u2029\U000e0041\ud800\u3164"
    f"[bold red]b[/]:smile:\n{FAKE}\n  hint: {FAKE}\n" + " " * 200 + FAKE
)
_OURS = re.compile(r"\x1b\[(?:[0-9;]*m|[0-9]*[AK]|\?25[lh])|\r")


class Terminal(io.StringIO):
    """Stands for standard output or standard error."""

    encoding = "utf-8"

    def __init__(self, columns: int = 0) -> None:
        super().__init__()
        self.columns = columns

    def isatty(self) -> bool:
        return self.columns > 0

    def fileno(self) -> int:
        raise OSError("not a file")

    def screen(self) -> Screen:
        """A screen that writes to it."""
        screen = Screen(self, needed=True)
        if self.columns:
            screen.width = self.columns
        return screen

    def plain(self) -> str:
        """What was written, without colours and movements of ours."""
        return _OURS.sub("", self.getvalue()) if self.columns else self.getvalue()


def _is_unseen(character: str) -> bool:
    # On its own, not by what is tested.
    categories = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    return unicodedata.category(character) in categories or character in "\u034f\u3164\ufe0f\U000e0100"


def assert_harmless(written: str, *, terminal: bool = False) -> None:
    """Nothing of `HOSTILE` controls the terminal, is taken for markup, or begins a line."""
    assert MARK not in written
    if terminal:
        written = _OURS.sub("", written)
    for line in written.split("\n"):
        assert not any(map(_is_unseen, line)), ascii(line)
        assert not line.startswith(FAKE) and not line.startswith(f"  hint: {FAKE}"), ascii(line)

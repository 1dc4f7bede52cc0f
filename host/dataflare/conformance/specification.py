"""The duties of plugins, as `SPEC.md` numbers them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, cast

from dataflare.conformance.files import suite_folder

__all__ = ["Duty", "Level", "load_duties"]

Level: TypeAlias = Literal["MUST", "SHOULD", "MAY"]
_DUTY: Final = re.compile(r"^\| `([A-Z]+-[0-9]+)` \| (MUST|SHOULD|MAY) \| (.+?) \|$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Duty:
    """A duty: its number, such as `SRC-4`, how binding it is, and what it asks."""

    number: str
    level: Level
    text: str


def load_duties() -> dict[str, Duty]:
    """Read all duties, by their numbers, in the order of the document."""
    text = (suite_folder() / "SPEC.md").read_text(encoding="utf-8")
    return {found[1]: Duty(found[1], cast(Level, found[2]), found[3]) for found in _DUTY.finditer(text)}

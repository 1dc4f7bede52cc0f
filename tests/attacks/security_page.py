"""Writes what follows from the attacks into docs/explanation/security.md: `python tests/attacks/security_page.py`.

The page holds `<!-- generated: NAME -->` and `<!-- end -->`; what stands between is replaced. A test compares.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "explanation" / "security.md"
_PART = re.compile(r"(<!-- generated: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)

if __name__ == "__main__":
    sys.path[:0] = [str(HERE), str(HERE.parent / "support")]


def attacks_table() -> str:
    """The attacks, by the promise that each is about."""
    from arena import ATTACKS, PROMISE_OF, PROMISES

    lines = []
    for promise, text in PROMISES.items():
        lines += [f"\n**{text}**\n", "| attack | case |", "| --- | --- |"]
        for name, attack in sorted(ATTACKS.items()):
            if PROMISE_OF[name] == promise:
                lines.append(f"| {inspect.getdoc(attack)} | `{name}` |")
    return "\n".join([*lines, ""])


def wasi_table() -> str:
    """What is behind each interface of WASI."""
    from attacks_wasi import INTERFACES

    rows = [f"| `{name}` | {text} |" for name, text in INTERFACES.items()]
    return "\n".join(["", "| interface | what a plugin without grants gets |", "| --- | --- |", *rows, "", ""])


def limits_table() -> str:
    """The errors of limits, and what they are about."""
    from dataflare import errors

    rows = []
    for name in errors.__all__:
        error = getattr(errors, name)
        if issubclass(error, errors.LimitExceeded) and error.limit:
            rows.append(f"| `{error.limit}` | `{name}` | {(error.__doc__ or '').splitlines()[0]} |")
    return "\n".join(["", "| limit | error | when |", "| --- | --- | --- |", *sorted(rows), "", ""])


PARTS = {"attacks": attacks_table, "wasi": wasi_table, "limits": limits_table}


def generated(text: str) -> str:
    """The page with its generated parts as they ought to be."""
    return _PART.sub(lambda match: f"{match[1]}{PARTS[match[2]]()}{match[3]}", text)


if __name__ == "__main__":
    from arena import attack_modules

    attack_modules()
    PAGE.write_text(generated(PAGE.read_text()))

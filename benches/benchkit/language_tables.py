"""Tables of `docs/how-to/choose-a-language.md`: a line for each language, each of which can be measured anew alone."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable
from pathlib import Path

from dataflare.authoring.templates import languages_with_templates
from dataflare.errors import DataflareError

__all__ = ["PAGE", "measure_languages", "write_line"]

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "choose-a-language.md"


def measure_languages(table: str, head: tuple[str, str], measured: Callable[[str], str], languages: list[str]) -> int:
    """Measure languages, and write the page anew after each; those that cannot be measured are told.

    Args:
        table: As for `write_line`.
        head: As for `write_line`.
        measured: Returns the line of a language.
        languages: The languages; none for all.

    Returns:
        The exit code.
    """
    for language in languages or languages_with_templates():
        try:
            line = measured(language)
        except DataflareError as error:
            print(f"{language}: {error}", file=sys.stderr)
            continue
        print(line, flush=True)
        write_line(table, head, language, line)
    return 0


def write_line(table: str, head: tuple[str, str], language: str, line: str) -> None:
    """Put a line into a table, in the place of the one that the language had.

    Args:
        table: The table's name: it stands between `<!-- measured: NAME -->` and `<!-- end -->`, and the bench
            `benches/NAME.py` makes it.
        head: The table's first two lines.
        language: What the line is about.
        line: The line.
    """
    text = PAGE.read_text(encoding="utf-8")
    part = re.compile(rf"(<!-- measured: {table} -->\n\n).*?(\n<!-- end -->)", re.DOTALL)
    found = part.search(text)
    assert found is not None, f"{PAGE} has no place for the table {table}"
    lines = [each for each in found[0].splitlines() if each.startswith("| ") and each not in head]
    kept = [each for each in lines if not each.startswith(f"| {language} |")]
    made = "\n".join([*head, *sorted([*kept, line])])
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    busy = f"; the machine was busy with other work ({load:.0f} tasks a core): compare orders of magnitude only"
    machine = f"{platform.machine()}, Python {platform.python_version()}{busy if load > 1.5 else ''}"
    where = f"\n\nBy `python benches/{table}.py` on {machine}.\n"
    PAGE.write_text(part.sub(lambda match: f"{match[1]}{made}{where}{match[2]}", text), encoding="utf-8")

"""`dataflare doctor`: which languages plugins can be built in on this machine."""

from __future__ import annotations

from dataflare.authoring.doctor import Finding, examine
from dataflare.cli.options import AsJson
from dataflare.cli.output import printed_errors, write_json
from dataflare.cli.screen import stdout

__all__ = ["command"]


def command(as_json: AsJson = False) -> None:
    """Show which languages plugins can be built in on this machine.

    For the others it says what is missing, and how to get it.

    Exit codes: 0 shown.
    """
    with printed_errors(as_json=as_json):
        found = examine()
        if as_json:
            write_json([{"language": each.language, "ready": not each.missing, **each.words()} for each in found])
        else:
            for each in found:
                _show(each)


def _show(finding: Finding) -> None:
    stdout().say_lines(f"{finding.language}: {finding.missing or finding.tools}")
    if finding.hint:
        stdout().say(f"  hint: {finding.hint}")

"""Attacks on whoever reads a report of the conformance suite, by what a plugin says."""

from __future__ import annotations

from arena import Arena, Mutation, attack
from dataflare.conformance import CaseResult, Outcome, SuiteResult
from dataflare.conformance.cases import Case
from dataflare.conformance.reports import to_html, to_junit


@attack("terminal")
def markup_and_directions_in_a_report(arena: Arena) -> None:
    """Use a name with markup, or with characters that reverse the text direction, in an HTML report."""
    name = "<script>x</script>\"'>\u202etnamrofnoc\u2066\x1b[31m\0\u200b"
    case = Case.model_construct(name=f"rows/{name}", title=name, duties=[name], kinds=[], profile="core", steps=[])
    result = SuiteResult((CaseResult(case, Outcome.FAIL, 1.0, name, f"{name}\n{name}"),))
    for text in (to_html(result, {}, plugin=name, profile=name, passed=False), to_junit(result, plugin=name)):
        assert "<script" not in text, text
        assert not set(text) & set("\u202e\u2066\x1b\0\u200b"), ascii(text)


MUTATIONS = [
    Mutation("dataflare.conformance.reports:printable", lambda text: text, ("markup_and_directions_in_a_report",)),
    Mutation("dataflare.conformance.reports:html.escape", lambda text: text, ("markup_and_directions_in_a_report",)),
]

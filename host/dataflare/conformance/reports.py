"""Results as JSON, as JUnit XML for CI systems, and as a page for people."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from xml.etree import ElementTree

from dataflare.conformance.cases import Case
from dataflare.conformance.runner import CaseResult, Outcome, SuiteResult
from dataflare.conformance.specification import Duty
from dataflare.printable import printable

__all__ = ["UNTESTED", "DutyRow", "matrix", "to_html", "to_json", "to_junit", "verdict_of"]

UNTESTED: Final = "could not be tested"

_COLOURS: Final = {
    Outcome.PASS: ("#1a7f37", "#3fb950"),
    Outcome.FAIL: ("#cf222e", "#ff7b72"),
    Outcome.SKIP: ("#6e7781", "#9198a1"),
    Outcome.XFAIL: ("#9a6700", "#d29922"),
    Outcome.XPASS: ("#cf222e", "#ff7b72"),
    Outcome.ERROR: ("#8250df", "#d2a8ff"),
}
"""Of badges and of texts; the second is that of texts on a dark page."""
_VERDICTS: Final = {
    "kept": Outcome.PASS,
    "broken": Outcome.FAIL,
    "not tested": Outcome.SKIP,
    "not run": Outcome.SKIP,
}
_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1f2328;
  background: #fff; overflow-wrap: anywhere }
h1 { margin-bottom: 0 } .about { margin-top: .25rem; opacity: .75 }
.outcome { font-weight: 600; border-radius: 1rem; padding: 0 .6rem; color: #fff; background: var(--of);
  white-space: nowrap }
code { font-size: .85em; color: var(--of) }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .4rem .6rem; vertical-align: top;
  border-top: 1px solid #d0d7de }
th, td:first-child { overflow-wrap: normal }
details { margin-top: .25rem } pre { white-space: pre-wrap; font-size: .8em }
.bar { display: flex; gap: 2px; height: .5rem } .bar span { border-radius: .25rem; background: var(--of) }
td p { margin: .25rem 0 } td pre { margin: .25rem 0 .5rem; background: #8881; padding: .4rem; border-radius: .3rem }
td.time { text-align: right; white-space: nowrap; opacity: .75 }
@media (prefers-color-scheme: dark) { body { color: #e6edf3; background: #0d1117 } td, th { border-color: #30363d } }
@media (max-width: 40rem) { body { margin: 1rem auto } h1 { font-size: 1.4rem } tr, td { display: block }
  tr:first-child { display: none } td { border: 0; padding: .1rem 0 }
  tr { border-top: 1px solid #8886; padding: .4rem 0 } td.time { text-align: left } }
""" + "".join(
    f".{outcome.value} {{ --of: {colour} }}\n"
    f"@media (prefers-color-scheme: dark) {{ code.{outcome.value} {{ --of: {dark} }} }}\n"
    for outcome, (colour, dark) in _COLOURS.items()
)


@dataclass(frozen=True, slots=True)
class DutyRow:
    """A duty with the outcome of each case that tests it; without outcomes, none of them ran."""

    duty: Duty
    outcomes: Mapping[str, Outcome]

    @property
    def verdict(self) -> str:
        """`kept`, `broken`, `not tested` (every case was skipped, or the suite failed in one) or `not run`."""
        found = set(self.outcomes.values())
        if not found:
            return "not run"
        if found & {Outcome.FAIL, Outcome.XFAIL}:
            return "broken"
        return "not tested" if Outcome.ERROR in found or found == {Outcome.SKIP} else "kept"


def verdict_of(result: SuiteResult, *, passed: bool) -> str:
    """Say what a plugin, or a host, is by these results."""
    if result.failed_itself or (result.unseen and not result.failed):
        return UNTESTED
    return "is conformant" if passed else "is not conformant"


def matrix(result: SuiteResult, duties: Mapping[str, Duty], cases: Iterable[Case]) -> list[DutyRow]:
    """Compare the duties that apply with the cases that ran.

    Args:
        result: The outcomes of the cases.
        duties: All duties, by their numbers.
        cases: All cases for the plugin or host, whether they ran or not: their duties apply.
    """
    due = {number for case in cases for number in case.duties}
    ran = {
        number: {each.case.name: each.outcome for each in result.results if number in each.case.duties}
        for number in due
    }
    return [DutyRow(duty, ran[number]) for number, duty in duties.items() if number in due]


def to_json(
    result: SuiteResult, *, plugin: str, profile: str, passed: bool, rows: Sequence[DutyRow] = ()
) -> dict[str, Any]:
    """Write results as what JSON can hold; times are seconds."""
    return {
        "plugin": plugin,
        "profile": profile,
        "conformant": passed,
        "counts": result.counts,
        "duties": [
            {
                "number": each.duty.number,
                "level": each.duty.level,
                "verdict": each.verdict,
                "cases": {name: outcome.value for name, outcome in each.outcomes.items()},
            }
            for each in rows
        ],
        "cases": [
            {
                "name": each.case.name,
                "title": each.case.title,
                "duties": each.case.duties,
                "outcome": each.outcome.value,
                "seconds": round(each.seconds, 3),
                "message": each.message,
                "given": each.given,
            }
            for each in result.results
        ],
    }


def to_junit(result: SuiteResult, *, plugin: str) -> str:
    """Write results as JUnit XML."""
    bad = (Outcome.FAIL, Outcome.XPASS)
    suite = ElementTree.Element(
        "testsuite",
        name=_text(f"dataflare conformance: {plugin}"),
        tests=str(len(result.results)),
        failures=str(sum(each.outcome in bad for each in result.results)),
        errors=str(sum(each.outcome is Outcome.ERROR for each in result.results)),
        skipped=str(sum(each.outcome in (Outcome.SKIP, Outcome.XFAIL) for each in result.results)),
        time=f"{sum(each.seconds for each in result.results):.3f}",
    )
    for each in result.results:
        group, _, name = each.case.name.partition("/")
        case = ElementTree.SubElement(
            suite, "testcase", classname=_text(group), name=_text(name), time=f"{each.seconds:.3f}"
        )
        kind = {Outcome.ERROR: "error", Outcome.SKIP: "skipped", Outcome.XFAIL: "skipped"}.get(each.outcome, "failure")
        if each.outcome is not Outcome.PASS:
            ElementTree.SubElement(case, kind, message=_text(each.message)).text = _text(each.given)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)


def to_html(
    result: SuiteResult,
    duties: Mapping[str, Duty],
    *,
    plugin: str,
    profile: str,
    passed: bool,
    rows: Sequence[DutyRow] = (),
    again: str = "",
) -> str:
    """Write results as a page: first what failed, then every duty with its cases, then every case.

    `again` is the command that repeats a case, without the case's name; empty shows none.
    """
    verdict = verdict_of(result, passed=passed)
    counts = ", ".join(f"{number} {name}" for name, number in result.counts.items())
    failed = [each for each in result.results if each.outcome in (Outcome.FAIL, Outcome.XPASS, Outcome.ERROR)]
    parts = [
        f"<h1>{html.escape(plugin)} {verdict}</h1>",
        f'<p class="about">Profile <b>{html.escape(profile)}</b>: {counts or "no case"}.</p>',
        _bar(result),
    ]
    parts += [
        f"<p>Nothing was seen of its work, since <code>{html.escape(each.case.name)}</code> was skipped: "
        f"{_prose(each.message)}.</p>"
        for each in result.unseen
    ]
    if failed:
        parts += ["<h2>What failed</h2>", _table(failed, duties, again)]
    if rows:
        kept = sum(each.verdict == "kept" for each in rows)
        parts += ["<h2>Duties</h2>", f'<p class="about">{kept} of {len(rows)} are kept.</p>', _duties_table(rows)]
    parts += ["<h2>All cases</h2>", _table(result.results, duties)]
    body = "\n".join(parts)
    view = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    head = f'<meta charset="utf-8">{view}<title>{html.escape(plugin)} {verdict}</title><style>{_STYLE}</style>'
    return _text(f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n')


def _bar(result: SuiteResult) -> str:
    """A line with a part for each outcome, as long as it was frequent."""
    parts = "".join(
        f'<span class="{name}" style="flex:{number}" title="{number} {name}"></span>'
        for name, number in result.counts.items()
    )
    return f'<div class="bar">{parts}</div>'


def _table(results: Any, duties: Mapping[str, Duty], again: str = "") -> str:
    rows = "\n".join(_row(each, duties, again) for each in results)
    return f"<table><tr><th>outcome</th><th>what must be so</th><th>time</th></tr>\n{rows}\n</table>"


def _duties_table(rows: Sequence[DutyRow]) -> str:
    lines = []
    for each in rows:
        cases = ", ".join(
            f'<code class="{outcome.value}">{html.escape(name)}</code>' for name, outcome in each.outcomes.items()
        )
        lines.append(
            f"<tr><td><code>{html.escape(each.duty.number)}</code><br>{each.duty.level}</td>"
            f"<td>{_prose(each.duty.text)}<br>{cases}</td>"
            f'<td><span class="outcome {_VERDICTS[each.verdict].value}">{each.verdict}</span></td></tr>'
        )
    head = "<tr><th>duty</th><th>what is due, and its cases</th><th></th></tr>"
    return "<table>" + head + "\n".join(lines) + "</table>"


def _row(each: CaseResult, duties: Mapping[str, Duty], again: str) -> str:
    asked = "".join(
        f"<li><code>{html.escape(number)}</code> {_prose(duties[number].text) if number in duties else ''}</li>"
        for number in each.case.duties
    )
    message = f"<p>{_prose(each.message)}</p>" if each.message else ""
    given = f"<pre>{html.escape(each.given)}</pre>" if each.given else ""
    repeated = f"<p>Run again:</p><pre>{html.escape(f'{again} --case {each.case.name}')}</pre>" if again else ""
    return (
        f'<tr><td><span class="outcome {each.outcome.value}">{each.outcome.value}</span></td>'
        f"<td>{html.escape(each.case.title)}{message}{given}{repeated}<details><summary><code>{html.escape(each.case.name)}</code>"
        f'</summary><ul>{asked}</ul></details></td><td class="time">{each.seconds:.2f} s</td></tr>'
    )


def _prose(text: str) -> str:
    """A sentence of the specification, with its code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _text(text: str) -> str:
    """The text, with escapes for what XML and HTML cannot hold, and for what nobody sees or reads in its order."""
    return "\n".join(map(printable, text.split("\n")))

"""Results as JSON, as JUnit XML for CI systems, and as a page for people."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any, Final
from xml.etree import ElementTree

from dataflare.conformance.runner import CaseResult, Outcome, SuiteResult
from dataflare.conformance.specification import Duty

__all__ = ["to_html", "to_json", "to_junit"]

_COLOURS: Final = {
    Outcome.PASS: "#1a7f37",
    Outcome.FAIL: "#cf222e",
    Outcome.SKIP: "#6e7781",
    Outcome.XFAIL: "#9a6700",
    Outcome.XPASS: "#cf222e",
    Outcome.ERROR: "#8250df",
}
_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1f2328;
  background: #fff }
@media (prefers-color-scheme: dark) { body { color: #e6edf3; background: #0d1117 } td, th { border-color: #30363d } }
h1 { margin-bottom: 0 } .about { margin-top: .25rem; opacity: .75 }
.outcome { font-weight: 600; border-radius: 1rem; padding: 0 .6rem; color: #fff; white-space: nowrap }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .4rem .6rem; vertical-align: top;
  border-top: 1px solid #d0d7de }
code { font-size: .85em } details { margin-top: .25rem } pre { white-space: pre-wrap; font-size: .8em;
  overflow-wrap: anywhere }
td.time { text-align: right; white-space: nowrap; opacity: .75 }
"""


def to_json(result: SuiteResult, *, plugin: str, profile: str, passed: bool) -> dict[str, Any]:
    """Write results as what JSON can hold; times are seconds."""
    return {
        "plugin": plugin,
        "profile": profile,
        "conformant": passed,
        "counts": result.counts,
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
        case = ElementTree.SubElement(suite, "testcase", classname=group, name=name, time=f"{each.seconds:.3f}")
        kind = {Outcome.ERROR: "error", Outcome.SKIP: "skipped", Outcome.XFAIL: "skipped"}.get(each.outcome, "failure")
        if each.outcome is not Outcome.PASS:
            ElementTree.SubElement(case, kind, message=_text(each.message)).text = _text(each.given)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)


def to_html(result: SuiteResult, duties: Mapping[str, Duty], *, plugin: str, profile: str, passed: bool) -> str:
    """Write results as a page: what failed first, then every duty with its cases."""
    verdict = "conformant" if passed else "not conformant"
    counts = ", ".join(f"{number} {name}" for name, number in result.counts.items())
    failed = [each for each in result.results if each.outcome in (Outcome.FAIL, Outcome.XPASS, Outcome.ERROR)]
    parts = [
        f"<h1>{html.escape(plugin)} is {verdict}</h1>",
        f'<p class="about">Profile <b>{html.escape(profile)}</b>: {counts or "no case"}.</p>',
    ]
    if failed:
        parts += ["<h2>What failed</h2>", _table(failed, duties)]
    parts += ["<h2>All cases</h2>", _table(result.results, duties)]
    body = "\n".join(parts)
    head = f'<meta charset="utf-8"><title>{html.escape(plugin)}: {verdict}</title><style>{_STYLE}</style>'
    return _text(f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n')


def _table(results: Any, duties: Mapping[str, Duty]) -> str:
    rows = "\n".join(_row(each, duties) for each in results)
    return f"<table><tr><th>outcome</th><th>what must be so</th><th>time</th></tr>\n{rows}\n</table>"


def _row(each: CaseResult, duties: Mapping[str, Duty]) -> str:
    asked = "".join(
        f"<li><code>{html.escape(number)}</code> {html.escape(duties[number].text) if number in duties else ''}</li>"
        for number in each.case.duties
    )
    message = f"<p>{html.escape(each.message)}</p>" if each.message else ""
    given = f"<pre>{html.escape(each.given)}</pre>" if each.given else ""
    return (
        f'<tr><td><span class="outcome" style="background:{_COLOURS[each.outcome]}">{each.outcome.value}</span></td>'
        f"<td>{html.escape(each.case.title)}{message}{given}<details><summary><code>{html.escape(each.case.name)}</code>"
        f'</summary><ul>{asked}</ul></details></td><td class="time">{each.seconds:.2f} s</td></tr>'
    )


def _text(text: str) -> str:
    """The text, with a question mark for what XML and HTML cannot hold."""
    return "".join(
        c if c in "\t\n" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff" else "?" for c in text
    )

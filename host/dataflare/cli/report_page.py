"""The report of a run as a page: one file without scripts that shows the same everywhere, also without a network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from pydantic import ValidationError

from dataflare.cli.figures import byte_count, count, duration
from dataflare.cli.report_document import Node, ReportDocument
from dataflare.cli.report_plots import Bar, Line, Span, bars, escaped, lines, spans
from dataflare.documents.models import first_problem
from dataflare.pipeline.run_errors import StateError

__all__ = ["report_page"]

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2330; --soft: #5b6676; --line: #dde2ea; --paper: #ffffff; --back: #f4f6f9;
  --a: #2f6fde; --b: #0f9d77; --c: #c77d0a; --d: #9a5bd6; --idle: #c9d0db; --full: #e0a3a3; --good: #127a4b;
  --bad: #c0303a; --warn: #9a6200 }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9f0; --soft: #98a4b5; --line: #2c3543; --paper: #161c26;
  --back: #0d1219; --a: #6ea3ff; --b: #3ecba1; --c: #eeb054; --d: #c39bf2; --idle: #3a4556; --full: #8a4a50;
  --good: #4cc98d; --bad: #ff7b83; --warn: #e6b455 } }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: var(--ink); margin: 0;
  background: var(--back) }
main { max-width: 64rem; margin: 0 auto; padding: 2rem 1rem 3rem }
header { display: flex; flex-wrap: wrap; align-items: center; gap: .25rem .75rem }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0; overflow-wrap: anywhere }
h2 { font-size: 1.05rem; margin: 0 0 .25rem } .about { color: var(--soft); margin: 0 0 .75rem; font-size: .9rem }
header .about { flex-basis: 100%; margin: 0; overflow-wrap: anywhere }
.status { font-weight: 600; font-size: .85rem; border-radius: 1rem; padding: .1rem .7rem; border: 1px solid }
.completed { color: var(--good) } .failed { color: var(--bad) } .other { color: var(--warn) }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: .75rem; margin: 1.25rem 0 }
.tile, section { background: var(--paper); border: 1px solid var(--line); border-radius: .6rem }
.tile { padding: .6rem .9rem }
.tile b { display: block; font-size: 1.2rem; white-space: nowrap; font-weight: 650; line-height: 1.3;
  font-variant-numeric: tabular-nums } .tile span { color: var(--soft); font-size: .85rem }
section { padding: 1rem 1.1rem; margin-bottom: 1rem } section.error { border-color: var(--bad) }
.error p { margin: .2rem 0; overflow-wrap: anywhere; white-space: pre-wrap }
.wide { overflow-x: auto } table { border-collapse: collapse; width: 100%; font-size: .87rem;
  font-variant-numeric: tabular-nums }
th, td { text-align: right; white-space: nowrap; padding: .35rem .5rem; border-bottom: 1px solid var(--line);
  vertical-align: top }
th { color: var(--soft); font-weight: 600 } tr:last-child td { border-bottom: 0 }
.text { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 7rem }
td small { color: var(--soft); display: block }
svg { display: block; width: 100%; height: auto; overflow: visible } svg text { font: 12px system-ui, sans-serif;
  fill: var(--soft) } svg .name { fill: var(--ink) } .end { text-anchor: end } .mid { text-anchor: middle }
.grid { stroke: var(--line); fill: none } .line { fill: none; stroke-width: 2; stroke-linejoin: round } .area {
  opacity: .12; stroke: none }
.span { stroke: var(--soft); stroke-width: 2; opacity: .5 } .dot0 { fill: var(--b) } .dot1 { fill: var(--a) }
.dot2 { fill: var(--c) } .dot3 { fill: var(--bad) }
rect.a { fill: var(--a) } rect.b { fill: var(--b) } rect.c { fill: var(--c) } rect.d { fill: var(--d) }
rect.idle { fill: var(--idle) } rect.full { fill: var(--full) }
polyline.a { stroke: var(--a) } polyline.b { stroke: var(--b) }
polygon.a { fill: var(--a) } polygon.b { fill: var(--b) } .spark { max-width: 15rem }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1rem; color: var(--soft); font-size: .85rem; margin: 0 0 .5rem }
.key i { display: inline-block; width: .75rem; height: .75rem; border-radius: .2rem; margin-right: .35rem;
  vertical-align: -.05rem } i.a { background: var(--a) } i.b { background: var(--b) } i.c { background: var(--c) }
i.d { background: var(--d) } i.idle { background: var(--idle) } i.full { background: var(--full) } i.bad {
  background: var(--bad) } .good-text { color: var(--good) } .bad-text { color: var(--bad) }
@media print { :root { color-scheme: light; --ink: #000; --soft: #444; --line: #ccc; --paper: #fff; --back: #fff;
  --a: #2f6fde; --b: #0f9d77; --c: #c77d0a; --d: #9a5bd6; --idle: #c9d0db; --full: #e0a3a3; --good: #127a4b;
  --bad: #c0303a; --warn: #9a6200 } * { print-color-adjust: exact; -webkit-print-color-adjust: exact }
  main { max-width: none; padding: 0 } th, td { padding: .25rem .3rem }
  section:has(> svg), tr { break-inside: avoid } .tile b { font-size: 1rem }
  .wide { overflow: visible } table { font-size: .72rem } }
"""
_MOST_LISTED: Final = 1_000
_MOST_MOMENTS: Final = 30


def report_page(report: Mapping[str, Any] | str) -> str:
    """Write a report as a page.

    Args:
        report: The report as JSON, as text or as `RunReport.to_json` makes it, with `error` where the run failed.

    Raises:
        StateError: It is not a report.
    """
    document = _parsed(report)
    body = "\n".join(part for part in _parts(document) if part)
    title = escaped(f"{document.pipeline}: {document.status}")
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><title>{title}</title><style>{_STYLE}</style>'
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><main>\n{body}\n</main></body></html>\n'


def _parsed(report: Mapping[str, Any] | str) -> ReportDocument:
    try:
        if isinstance(report, str):
            return ReportDocument.model_validate_json(report)
        return ReportDocument.model_validate(dict(report))
    except ValidationError as error:
        raise StateError(f"the report of the run is damaged: {first_problem(error)}") from error


def _parts(run: ReportDocument) -> Iterator[str]:
    yield _header(run)
    yield _tiles(run)
    yield _error(run)
    yield _progress(run)
    yield _time(run.nodes)
    yield _latencies(run.nodes)
    yield _queues(run)
    yield _nodes(run.nodes)
    yield _findings(run)
    yield _changes(run.nodes)
    yield _outputs(run.nodes)


def _header(run: ReportDocument) -> str:
    status = run.status if run.status in ("completed", "failed") else "other"
    about = [f"run {escaped(run.id)}"] if run.id else []
    about += [f"began {escaped(run.began[:19].replace('T', ' '))} UTC"] if run.began else []
    about += [f"loaded in {duration(run.load_seconds)}"]
    about += [f"stopped before the end, by --{escaped(run.stopped)}"] if run.stopped else []
    return (
        f'<header><h1>{escaped(run.pipeline)}</h1><span class="status {status}">{escaped(run.status)}</span>'
        f'<p class="about">{" · ".join(about)}</p></header>'
    )


def _tiles(run: ReportDocument) -> str:
    rate = run.rows_in / run.seconds if run.seconds else 0.0
    size = sum(node.bytes for node in run.nodes if node.kind == "source")
    failed, retries = sum(node.failed for node in run.nodes), sum(node.retries for node in run.nodes)
    quarantined = sum(bool(node.quarantined) for node in run.nodes)
    tiles = [
        (count(run.rows_in), "rows read"),
        (count(run.rows_out), "rows written"),
        (duration(run.seconds), "time"),
        (count(rate), "rows per second"),
        (byte_count(size), "read"),
        (count(failed), "rows failed"),
        *([(count(retries), "retries")] if retries else []),
        *([(count(quarantined), "in quarantine")] if quarantined else []),
    ]
    shown = "".join(f'<div class="tile"><b>{value}</b><span>{name}</span></div>' for value, name in tiles)
    return f'<div class="tiles">{shown}</div>'


def _error(run: ReportDocument) -> str:
    found = run.error
    out: list[str] = []
    while isinstance(found, dict) and len(out) < 5:
        said = [str(found.get(key) or "") for key in ("message", "hint")]
        out.append(f"<p>{_lines(said[0])}</p>")
        out += [f'<p class="about">hint: {_lines(said[1])}</p>'] if said[1] else []
        found = found.get("cause")
    if isinstance(found, str):
        out.append(f"<p>{_lines(found)}</p>")
    if not out:
        return ""
    return f'<section class="error"><h2>What went wrong</h2>{"".join(out)}</section>'


def _lines(text: str) -> str:
    return "<br>".join(map(escaped, text.split("\n")))


def _progress(run: ReportDocument) -> str:
    # Of two moments one is enough: what a batch brings at a time is shown as one peak otherwise.
    step = 1 + (len(run.timeline.seconds) > _MOST_MOMENTS)
    times = run.timeline.seconds[::step]
    rows = {name: values[::step] for name, values in run.timeline.rows.items()}
    if len(times) < 3 or any(a >= b for a, b in pairwise(times)):
        return ""
    shown = []
    for kind, what, colour in (("source", "read", "a"), ("destination", "written", "b")):
        columns = [
            rows[node.name] for node in run.nodes if node.kind == kind and len(rows.get(node.name, ())) == len(times)
        ]
        if columns:
            totals = [sum(each) for each in zip(*columns, strict=True)]
            steps = zip(pairwise(totals), pairwise(times), strict=True)
            rates = [max(0.0, (after - before) / (end - start)) for (before, after), (start, end) in steps]
            shown.append(Line(f"rows {what} per second", colour, [rates[0], *rates]))
    if not shown:
        return ""
    plot = lines(times, shown, _short, _clock)
    key = _key((each.colour, each.name) for each in shown)
    return _section("Rows per second", "", f"{key}{plot}")


def _time(nodes: Sequence[Node]) -> str:
    shown = []
    for node in nodes:
        parts = [
            ("a", "plugin's code", node.guest_seconds),
            ("c", "values in and out", node.marshal_seconds),
            ("d", "host functions", node.host_seconds),
        ]
        rest = max(0.0, node.seconds - sum(each for _, _, each in parts))
        parts = [
            *parts,
            ("b", "the host's own work", rest),
            ("idle", "waited for rows", node.input_wait_seconds),
            ("full", "waited for room", node.output_wait_seconds),
        ]
        shown.append(Bar(node.name, parts))
    if not shown:
        return ""
    about = "A node that waits for room is slowed down by a later one; one that waits for rows, by an earlier one."
    return _section("Where the time went", about, _key((c, w) for c, w, _ in shown[0].parts) + bars(shown, duration))


def _latencies(nodes: Sequence[Node]) -> str:
    found = [
        Span(node.name, [("p50", each.p50), ("p90", each.p90), ("p99", each.p99), ("longest", each.max)])
        for node in nodes
        if (each := node.latency).batches
    ]
    if not found:
        return ""
    key = _key((("b", "half of the batches"), ("a", "90 %"), ("c", "99 %"), ("bad", "the longest")))
    return _section("Time for a batch", "How long a node worked on one batch, at most.", key + spans(found, duration))


def _queues(run: ReportDocument) -> str:
    times = run.timeline.seconds
    found = [(node.name, node.queue) for node in run.nodes if node.queue is not None]
    if not found:
        return ""
    rows = [
        (
            escaped(name),
            f"{each.mean:.2f} of {each.capacity}",
            str(each.max),
            _spark(run.timeline.queued.get(name), times),
        )
        for name, each in found
    ]
    about = (
        "How many batches waited before a node when it asked for the next. Full queues stand before the slowest node."
    )
    return _section("Queues", about, _table(("node", "mean", "most", "over time"), rows, texts=(0, 3)))


def _spark(values: Sequence[int] | None, times: Sequence[float]) -> str:
    if not values or len(values) != len(times) or len(times) < 3:
        return ""
    most, last = max(values) or 1, times[-1] or 1.0
    points = " ".join(
        f"{at / last * 240:.1f},{22 - value / most * 20:.1f}" for at, value in zip(times, values, strict=True)
    )
    return f'<svg class="spark" viewBox="0 0 240 24"><polyline class="line a" points="{points}"/></svg>'


def _nodes(nodes: Sequence[Node]) -> str:
    head = ("node", "rows in", "rows out", "dropped", "failed", "bytes", "rows/s", "time", "p50", "p99", "guarantee")
    rows = []
    for node in nodes:
        rate = count(node.rows / node.seconds) if node.seconds else ""
        failed = f'<b class="bad-text">{count(node.failed)}</b>' if node.failed or node.errors else "0"
        measured = [duration(each) if node.latency.batches else "" for each in (node.latency.p50, node.latency.p99)]
        name = f"<b>{escaped(node.name)}</b><small>{escaped(node.kind)}: {escaped(node.uses)}{_origin(node)}</small>"
        taken = "" if node.kind == "source" else count(node.rows_in)
        numbers = (taken, count(node.rows_out), count(node.dropped), failed, byte_count(node.bytes), rate)
        rows.append((name, *numbers, duration(node.seconds), *measured, escaped(node.guarantee or "")))
    return _section("Nodes", "", _table(head, rows))


def _origin(node: Node) -> str:
    return f", takes {escaped(', '.join(node.inputs))}" if node.inputs else ""


def _findings(run: ReportDocument) -> str:
    rows = [(name, "was finished by an earlier run", "") for name in run.done_before]
    for node in run.nodes:
        if node.failed:
            kept = f"in {node.dead_letters}" if node.dead_letters else "left out"
            rows.append((node.name, f"{count(node.failed)} rows failed", kept))
        if node.rejected:
            rows.append((node.name, f"{count(node.rejected)} rows went to the nodes that take what it rejects", ""))
        if node.quarantined:
            rows.append((node.name, "quarantined: the plugin was not called any more", node.quarantined))
        if node.retries:
            rows.append((node.name, f"{count(node.retries)} calls were made again", ""))
        if node.outage_seconds:
            rows.append((node.name, f"no answer for {duration(node.outage_seconds)}, but for trial calls", ""))
        if node.reloads:
            rows.append((node.name, f"a new instance took over {count(node.reloads)} times", ""))
        if node.resumed:
            rows.append((node.name, "continued from where the last run stopped", ""))
        if node.checkpoints:
            rows.append((node.name, f"{count(node.checkpoints)} checkpoints", ""))
        rows += [(node.name, f"the table: {each.kind.replace('-', ' ')}", each.detail) for each in node.changes]
        rows += [(node.name, f"rule {rule}", f"broken {count(n)} times") for rule, n in node.violations.items() if n]
        rows += [(node.name, f"column {name}", f"read as {kind}") for name, kind in node.inferred.items()]
    return _texts("What the nodes found", ("node", "what", ""), rows)


def _changes(nodes: Sequence[Node]) -> str:
    rows = [
        (node.name, each.column, each.change.replace("-", " "), each.before, each.now, each.result, each.place)
        for node in nodes
        for each in node.schema_changes
    ]
    return _texts("Columns that changed", ("node", "column", "change", "before", "now", "result", "file"), rows)


def _outputs(nodes: Sequence[Node]) -> str:
    rows = [(node.name, each.path, each.action, count(each.files)) for node in nodes for each in node.outputs]
    return _texts("Outputs", ("node", "path", "", "files"), rows)


def _texts(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    more = len(rows) - _MOST_LISTED
    about = f"{count(more)} more are left out." if more > 0 else ""
    cells = [tuple(map(escaped, row)) for row in rows[:_MOST_LISTED]]
    return _section(title, about, _table(head, cells, texts=range(len(head))))


def _section(title: str, about: str, content: str) -> str:
    said = f'<p class="about">{about}</p>' if about else ""
    return f"<section><h2>{title}</h2>{said}{content}</section>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, texts: Iterable[int] = (0,)) -> str:
    """A table; the cells are HTML."""
    text = set(texts)

    def row(tag: str, cells: Sequence[str]) -> str:
        shown = (f"<{tag}{' class=text' * (at in text)}>{cell}</{tag}>" for at, cell in enumerate(cells))
        return f"<tr>{''.join(shown)}</tr>"

    return f'<div class="wide"><table>{row("th", head)}{"".join(row("td", each) for each in rows)}</table></div>'


def _key(colours: Iterable[tuple[str, str]]) -> str:
    return f'<p class="key">{"".join(f"<span><i class={colour}></i>{what}</span>" for colour, what in colours)}</p>'


def _short(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g}"


def _clock(seconds: float) -> str:
    return "0" if not seconds else duration(seconds)

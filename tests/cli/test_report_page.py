"""The report of a run as a page: whole, harmless whatever plugins and files say, and made of the page alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from dataflare.cli import report_page as page_module
from dataflare.cli.report_page import report_page
from dataflare.pipeline.report import NodeReport, OutputReport, QueueReport, RunReport, SchemaChange
from dataflare.pipeline.run_errors import DataError, StateError
from dataflare.runtime.datasets import DatasetName, PlannedChange

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&\u202e\x1b[31m\x00\ud800 {}%s </style></svg>"
NODES = """\
  read: {connector: csv, read: orders.csv}
  write: {connector: jsonl, input: read, write: out/orders.jsonl}
"""
STATEFUL = """\
  read: {connector: csv, read: orders.csv, schema: evolve}
  write: {connector: jsonl, input: read, write: out/orders.jsonl}
"""
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "main", "header", "h1", "h2", "section", "div", "p", "span"),
    *(
        "b",
        "i",
        "br",
        "small",
        "table",
        "tr",
        "th",
        "td",
        "svg",
        "path",
        "text",
        "rect",
        "circle",
        "polyline",
        "polygon",
    ),
}
ATTRIBUTES = {
    *("lang", "charset", "name", "content", "http-equiv", "class", "viewbox", "role", "d", "x", "y", "width", "height"),
    *("points", "cx", "cy", "r"),
}


class Page(HTMLParser):
    """The elements of a page, which must be closed in order, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        assert {name for name, _ in attrs} <= ATTRIBUTES, attrs
        for name, value in attrs:
            assert name == "content" or re.fullmatch(r"[\w .,:-]*", value or ""), (name, value)
        if tag not in ("meta", "br") and not (self.get_starttag_text() or "").endswith("/>"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


def hostile_report() -> dict[str, Any]:
    """A report that has everything, every text in it hostile."""
    report = RunReport(HOSTILE, status="failed", stopped=HOSTILE, id=HOSTILE, done_before=[HOSTILE])  # type: ignore[arg-type]
    for kind in ("source", "validator", "destination"):
        node = NodeReport(f"{kind} {HOSTILE}", kind, HOSTILE, rows_in=5, rows_out=4, batches=2, bytes=10, seconds=1.5)
        node.latencies.add(0.01)
        node.failed, node.retries, node.dead_letters, node.resumed, node.checkpoints = 3, 2, HOSTILE, True, 4
        node.violations[HOSTILE] = 7
        node.inferred = {HOSTILE: HOSTILE}
        node.outputs = [OutputReport(HOSTILE, HOSTILE)]  # type: ignore[arg-type]
        node.schema_changes = [SchemaChange(*[HOSTILE] * 7)]  # type: ignore[arg-type]
        node.changes = [PlannedChange(DatasetName(HOSTILE), HOSTILE, HOSTILE)]
        node.guarantee = HOSTILE  # type: ignore[assignment]
        node.queue = None if kind == "source" else QueueReport(2, 1.5, 2)
        report.nodes.append(node)
    for second in range(5):
        rows = {node.name: second * 10 for node in report.nodes}
        report.timeline.add(float(second), rows, {node.name: 1 for node in report.nodes if node.queue})
    cause = {"type": HOSTILE, "message": f"{HOSTILE}\n{HOSTILE}"}
    return {**report.to_json(), "error": {"message": HOSTILE, "hint": HOSTILE, "cause": cause}}


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts(each)


def test_no_text_of_a_report_becomes_a_part_of_the_page() -> None:
    page = report_page(hostile_report())
    found = Page(page)
    assert found.text.count("<script>") > 30
    for character in "\u202e\x1b\x00\ud800":
        assert character not in page
    for title in ("Rows per second", "Where the time went", "Time for a batch", "Queues", "Columns that changed"):
        assert title in found.text


@pytest.mark.parametrize("key", ["error", "pipeline", "nodes", "done_before"])
def test_every_text_of_the_report_is_on_the_page(key: str) -> None:
    document = json.loads(json.dumps(hostile_report()).replace(json.dumps(HOSTILE)[1:-1], "MARK"))
    numbers = iter(range(1000))
    part = re.sub("MARK", lambda _: f"mark{next(numbers)}.", json.dumps(document[key]))
    document[key] = json.loads(part)
    # The type of an error is for programs.
    marks = {mark for text in texts(document[key]) if (mark := text) and "mark" in text}
    if key == "error":
        marks.discard(document["error"]["cause"]["type"])
    if key == "nodes":
        marks -= {change["since"] for node in document["nodes"] for change in node["schema_changes"]}
    page = Page(report_page(document)).text
    assert marks
    assert not [mark for mark in marks if any(line not in page for line in mark.split("\n"))]


def test_page_loads_nothing_and_runs_nothing() -> None:
    page = report_page(hostile_report())
    assert "default-src 'none'; style-src 'unsafe-inline'" in page
    assert not re.search(r"https?:|url\(|@import|javascript:", page)


def test_reports_of_older_versions_have_a_page() -> None:
    node = {"name": "read", "kind": "source", "rows_in": 0, "rows_out": 3, "failed": 0, "guarantee": None}
    old = {"rows_in": 3, "rows_out": 3, "seconds": 0.1, "nodes": [node], "error": "it failed"}
    text = Page(report_page(json.dumps(old))).text
    assert "it failed" in text and "read" in text
    Page(report_page({}))


@pytest.mark.parametrize(
    "damaged",
    [
        "{",
        "[]",
        '{"rows_in": -1}',
        '{"rows_in": "3"}',
        '{"seconds": NaN}',
        '{"seconds": 1e999}',
        '{"nodes": [{}]}',
        '{"nodes": [{"name": "a", "latency": {"p50": Infinity}}]}',
        '{"timeline": {"seconds": [0, "x"]}}',
    ],
)
def test_damaged_report_is_an_error(damaged: str) -> None:
    with pytest.raises(StateError, match="report of the run is damaged"):
        report_page(damaged)


@pytest.mark.parametrize(
    "timeline",
    [
        {"seconds": [0, 0, 0], "rows": {"r": [1, 2, 3]}},
        {"seconds": [2, 1, 0], "rows": {"r": [1, 2, 3]}},
        {"seconds": [0, 1, 2], "rows": {"r": [1, 2]}, "queued": {"r": [1]}},
        {"seconds": [0, 1, 2], "rows": {"r": [9, 5, 1]}, "queued": {"r": [0, 0, 0]}},
        {"seconds": [0, 1e11, 1e12], "rows": {"r": [0, 2**62, 2**63]}, "queued": {"r": [0, 0, 2**63]}},
    ],
)
def test_timeline_that_makes_no_sense_does_no_harm(timeline: dict[str, Any]) -> None:
    queue = {"capacity": 2, "mean": 1.0, "max": 2}
    node = {"name": "r", "kind": "source", "queue": queue, "latency": {"batches": 1, "p50": 0.0, "max": 1e11}}
    page = report_page({"pipeline": "p", "nodes": [node], "timeline": timeline})
    Page(page)
    assert "nan" not in page and "inf" not in page


def test_run_writes_its_report_as_a_page(dataflare: Any, pipeline: Any, folder: Path) -> None:
    result = dataflare("run", pipeline(NODES), "--report-html", "out/report.html", "--json")
    assert result.exit_code == 0
    text = Page((folder / "out/report.html").read_text()).text
    assert "orders" in text and "completed" in text and json.loads(result.stdout)["id"] in text


def test_run_that_fails_has_a_page_with_the_error(dataflare: Any, pipeline: Any, folder: Path) -> None:
    (folder / "orders.csv").write_text("order\n" + "1\n" * 99_999 + "1,2\n")
    result = dataflare("run", pipeline(NODES), "--report-html", "report.html")
    assert result.exit_code == 1
    text = Page((folder / "report.html").read_text()).text
    assert "What went wrong" in text and "failed" in text and "orders.csv" in text


@pytest.mark.parametrize("name", ["orders.csv", "report", "nothing/../orders.csv", "pipeline.yaml"])
def test_page_replaces_no_file_of_another_kind(dataflare: Any, pipeline: Any, folder: Path, name: str) -> None:
    before = (folder / "orders.csv").read_bytes()
    result = dataflare("run", pipeline(NODES), "--report-html", name)
    assert result.exit_code == 2
    assert ".html" in result.stderr
    assert (folder / "orders.csv").read_bytes() == before and not (folder / "out").exists()


def test_page_that_cannot_be_written_stops_the_run_before_it_begins(
    dataflare: Any, pipeline: Any, folder: Path
) -> None:
    result = dataflare("run", pipeline(NODES), "--report-html", "orders.csv/report.html")
    assert result.exit_code == 1 and "orders.csv/report.html" in result.stderr
    assert not (folder / "out").exists()


@pytest.mark.parametrize(("broken", "code"), [(False, 1), (True, 4)])
def test_page_that_fails_at_the_end_does_not_hide_how_the_run_ended(
    dataflare: Any, pipeline: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, broken: bool, code: int
) -> None:
    def full(_: Any) -> str:
        raise DataError("no space left", file="report.html")

    monkeypatch.setattr(page_module, "report_page", full)
    nodes = NODES.replace("out/orders.jsonl", "report.html") if broken else NODES
    result = dataflare("run", pipeline(nodes), "--report-html", "report.html")
    assert result.exit_code == code and "no space left" in result.stderr
    assert ("the report of this run" in result.stderr) == broken
    assert broken or (folder / "out/orders.jsonl").exists()
    assert not [each for each in folder.iterdir() if "report" in each.name]


def test_pipeline_cannot_write_to_its_report(dataflare: Any, pipeline: Any, folder: Path) -> None:
    nodes = NODES.replace("out/orders.jsonl", "report.html")
    result = dataflare("run", pipeline(nodes), "--report-html", "report.html")
    assert result.exit_code == 4 and "the report of this run" in result.stderr


def test_check_makes_no_page(dataflare: Any, pipeline: Any, folder: Path) -> None:
    result = dataflare("run", pipeline(NODES), "--check", "--report-html", "report.html")
    assert result.exit_code == 2 and not (folder / "report.html").exists()


def test_runs_of_the_history_have_a_page(dataflare: Any, pipeline: Any, folder: Path) -> None:
    file = pipeline(STATEFUL)
    done = json.loads(dataflare("run", "--json", file).stdout)
    assert json.loads(dataflare("runs", "list", "--json", file).stdout)[0]["id"] == done["id"]
    assert dataflare("runs", "show", file, "1", "--html", "run.html").exit_code == 0
    assert "completed" in Page((folder / "run.html").read_text()).text

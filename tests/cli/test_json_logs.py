"""Log events as JSON: each line is one object, whatever is logged."""

from __future__ import annotations

import json
import logging
import sys
import types
from typing import Any

import pytest

from cli_terminal import HOSTILE, Terminal, assert_harmless
from dataflare.cli import report_files, screen
from dataflare.cli.json_logs import JsonLogHandler
from dataflare.pipeline.run_errors import DataError
from dataflare.run_ids import RunIds, current_ids

NODES = """\
  read: {connector: csv, read: orders.csv}
  tidy: {plugin: json-mapper.wasm, input: read}
  write: {connector: jsonl, input: tidy, write: out/orders.jsonl}
"""


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Logs an event, and returns what was written as JSON."""
    out = Terminal(0)
    monkeypatch.setattr(screen, "sys", types.SimpleNamespace(stdout=out, stderr=out))

    def log(message: Any, *arguments: Any, exc_info: Any = None, **extra: Any) -> dict[str, Any]:
        record = logging.LogRecord("dataflare.x", logging.INFO, "file", 1, message, arguments, exc_info)
        record.__dict__.update(extra)
        JsonLogHandler().emit(record)
        written = out.getvalue()
        out.truncate(0)
        out.seek(0)
        assert written.isascii() and written.count("\n") == 1 and written.endswith("\n")
        assert_harmless(written, terminal=False)
        event: dict[str, Any] = json.loads(written, parse_constant=lambda name: pytest.fail(name))
        return event

    return log


def test_event_has_time_level_logger_and_message(logged: Any) -> None:
    event = logged("%d rows", 3)
    assert (event["level"], event["logger"], event["message"]) == ("info", "dataflare.x", "3 rows")
    assert event["time"].endswith("+00:00") and set(event) == {"time", "level", "logger", "message"}


def test_event_of_a_run_names_it(logged: Any) -> None:
    token = current_ids.set(RunIds("r", "p", "n", 4))
    try:
        event = logged("x")
    finally:
        current_ids.reset(token)
    assert (event["run"], event["pipeline"], event["node"], event["batch"]) == ("r", "p", "n", 4)


def test_event_of_a_plugin_has_its_name_and_fields(logged: Any) -> None:
    event = logged("x", plugin="tidy", fields={"rows": "3"})
    assert (event["plugin"], event["fields"]) == ("tidy", {"rows": "3"})


def test_event_has_its_exception(logged: Any) -> None:
    try:
        raise ValueError("wrong")
    except ValueError:
        assert "ValueError: wrong" in logged("x", exc_info=sys.exc_info())["exception"]


@pytest.mark.parametrize(
    ("message", "arguments", "extra"),
    [
        (HOSTILE.replace("%", ""), (), {}),
        ("%s", (HOSTILE,), {"plugin": HOSTILE, "fields": {HOSTILE: HOSTILE}}),
        ("x", (), {"fields": {"a": float("nan"), "b": [float("inf")]}}),
        ("%d", ("no number",), {}),
        ("%s", (), {}),
        ("x", (), {"fields": {"a": object()}}),
    ],
)
def test_event_of_any_content_is_one_harmless_line(logged: Any, message: str, arguments: Any, extra: Any) -> None:
    event = logged(message, *arguments, **extra)
    assert {"level", "logger", "message"} <= set(event)


def test_command_writes_its_log_as_json(dataflare: Any, pipeline: Any) -> None:
    result = dataflare("--log-level", "debug", "--log-format", "json", "run", "--json", pipeline(NODES))
    assert result.exit_code == 0
    events = [json.loads(line) for line in result.stderr.splitlines()]
    report = json.loads(result.stdout)
    of_run = [each for each in events if "run" in each]
    assert {each["run"] for each in of_run} == {report["id"]}
    assert {each.get("node") for each in of_run} >= {"read", "tidy", "write"}


def test_unknown_format_is_refused(dataflare: Any) -> None:
    result = dataflare("--log-format", "xml", "runs", "list", "pipeline.yaml")
    assert result.exit_code == 2 and "text, json" in result.stderr


def test_numbers_of_a_run_are_written_for_prometheus(dataflare: Any, pipeline: Any, folder: Any) -> None:
    assert dataflare("run", pipeline(NODES), "--metrics-file", "out/run.prom").exit_code == 0
    text = (folder / "out/run.prom").read_text()
    assert 'dataflare_node_rows_in{plugin="tidy",kind="processor",pipeline="orders"} 3.0\n' in text
    assert 'dataflare_run_completed{pipeline="orders"} 1.0\n' in text
    assert dataflare("run", pipeline(NODES), "--metrics-file", "orders.csv").exit_code == 2
    assert dataflare("run", pipeline(NODES), "--check", "--metrics-file", "x.prom").exit_code == 2


def test_numbers_of_a_run_that_failed_say_so(dataflare: Any, pipeline: Any, folder: Any) -> None:
    columns = "[{name: each, op: divide, left: price, right: quantity}]"
    nodes = NODES.replace(
        "json-mapper.wasm, input: read", f"derive-columns.wasm, input: read, config: {{columns: {columns}}}"
    )
    assert dataflare("run", pipeline(nodes), "--metrics-file", "run.prom").exit_code == 1
    text = (folder / "run.prom").read_text()
    assert 'dataflare_run_completed{pipeline="orders"} 0.0\n' in text
    assert 'dataflare_node_errors{plugin="tidy",kind="transformer",pipeline="orders"} 1.0\n' in text


def test_numbers_that_cannot_be_written_are_an_error_in_the_one_report(
    dataflare: Any, pipeline: Any, folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise DataError("no space left on device", file="run.prom")

    monkeypatch.setattr(report_files, "_fill", full)
    result = dataflare("run", pipeline(NODES), "--metrics-file", "run.prom", "--json")
    report = json.loads(result.stdout)
    assert (result.exit_code, report["status"], report["rows_out"]) == (1, "completed", 3)
    assert "no space left" in report["error"]["message"] and "no space left" in result.stderr
    assert (folder / "out/orders.jsonl").exists() and not (folder / "run.prom").exists()
    result = dataflare("run", pipeline(NODES), "--metrics-file", "run.prom")
    assert result.exit_code == 1 and "3 rows in, 3 rows out" in result.stdout and "no space left" in result.stderr

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
import typer
from rich.cells import cell_len

from cli_terminal import Terminal
from dataflare.cli import audit, output
from dataflare.cli.figures import byte_count, count, duration
from dataflare.cli.options import parse_config
from dataflare.errors import (
    CallTimeout,
    ConfigError,
    DataflareError,
    GuestPanic,
    NotAComponent,
    PermissionDenied,
    PluginError,
    UsageError,
    WorldMismatch,
)
from dataflare.permissions.words import parse_grants
from dataflare.pipeline.report import RunReport
from dataflare.pipeline.run_errors import DataError, NodeFailed
from dataflare.security.audit import AuditEvent


def node_failed(cause: DataflareError) -> NodeFailed:
    error = NodeFailed("clean", cause, RunReport("orders"), where="p.yaml:3")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("wrong"), 2),
        (UsageError("wrong"), 2),
        (NotAComponent("wrong"), 3),
        (WorldMismatch("wrong"), 3),
        (PermissionDenied("wrong"), 4),
        (PluginError("wrong"), 1),
        (CallTimeout("wrong"), 1),
        (DataError("wrong"), 1),
        (KeyError("wrong"), 1),
    ],
)
def test_exit_code_says_whose_fault_it_was(error, code):
    assert output.exit_code(error) == code


@pytest.mark.parametrize(
    ("cause", "code"),
    [
        (ConfigError("w"), 2),
        (WorldMismatch("w"), 3),
        (PermissionDenied("w"), 4),
        (GuestPanic("w"), 1),
        (DataError("w"), 1),
    ],
)
def test_exit_code_of_a_failed_node_is_that_of_its_cause(cause, code):
    assert output.exit_code(node_failed(cause)) == code


def test_error_as_json_has_the_fields_that_are_there_and_its_cause():
    cause = GuestPanic("trapped", plugin="clean", export="a#b", backtrace=("f",), log_lines=("l",), hint="look")
    assert output.error_json(node_failed(cause)) == {
        "type": "NodeFailed",
        "message": "p.yaml:3: node 'clean' failed: plugin 'clean', a#b: trapped",
        "hint": "look",
        "where": "p.yaml:3",
        "node": "clean",
        "cause": {
            "type": "GuestPanic",
            "message": "plugin 'clean', a#b: trapped",
            "hint": "look",
            "plugin": "clean",
            "export": "a#b",
            "backtrace": ["f"],
            "log_lines": ["l"],
        },
    }


def test_error_for_people_goes_to_standard_error_with_its_hint(capsys):
    with pytest.raises(typer.Exit) as exit_, output.printed_errors():
        raise ConfigError("[bold]wrong[/]", where="p.yaml:1", hint="mend it")
    captured = capsys.readouterr()
    assert exit_.value.exit_code == 2
    assert (captured.out, captured.err) == ("", "error: p.yaml:1: [bold]wrong[/]\n  hint: mend it\n")


def test_interrupt_ends_with_130(capsys):
    with pytest.raises(typer.Exit) as exit_, output.printed_errors():
        raise KeyboardInterrupt
    assert exit_.value.exit_code == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_fault_of_the_host_itself_is_not_hidden():
    with pytest.raises(ZeroDivisionError), output.printed_errors():
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (1023, "1,023 B"), (1536, "1.5 KiB"), (3 * 2**20, "3.0 MiB"), (2**41, "2,048.0 GiB")],
)
def test_bytes_are_written_with_a_unit(number, text):
    assert byte_count(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.00034, "340 us"), (0.0124, "12 ms"), (1.239, "1.24 s"), (200.2, "3 min 20 s")]
)
def test_durations_are_written_with_a_unit(seconds, text):
    assert duration(seconds) == text


def test_counts_have_commas():
    assert count(336776) == "336,776"


def test_grants_are_read_from_words(tmp_path):
    grants = parse_grants(["clock", f"files:in={tmp_path}", f"files:write:out={tmp_path}"])
    assert grants.capabilities == {"clock", "files"}
    assert {name: grant.writable for name, grant in grants.files.items()} == {"in": False, "out": True}


@pytest.mark.parametrize(
    "word",
    ["clocks", "files", "files:=x", "files:a=", "files:a", "clock:x", "", "files:out=x:rw", "shared", "secrets:a=b"],
)
def test_word_that_is_no_grant_is_refused(word):
    with pytest.raises(ConfigError, match="is not a grant") as error:
        parse_grants([word])
    assert error.value.where == "--grant"


def test_configuration_is_json_or_a_file_with_it(tmp_path):
    file = tmp_path / "config.json"
    file.write_text('{"a": 1}')
    assert parse_config('{"a": 1}') == parse_config(f"@{file}") == {"a": 1}


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "@/absent/file"])
def test_configuration_that_is_no_object_is_refused(text):
    with pytest.raises(ConfigError):
        parse_config(text)


def test_json_is_one_document_and_ends_with_a_line_feed(capsys):
    output.write_json({"name": "Zoë", "rows": [1, 2]})
    written = capsys.readouterr().out
    assert written.endswith("}\n") and json.loads(written) == {"name": "Zoë", "rows": [1, 2]}


def test_tables_are_as_wide_as_their_cells_are_on_the_screen():
    events = [
        AuditEvent(
            when=datetime(2026, 1, 1, tzinfo=UTC),
            plugin=name,
            capability="files",
            function="open",
            object="files:d",
            decision="allow",
        )
        for name in ("plain", "数据插件", "e\u0301te\u0301")
    ]
    stream = Terminal(80)
    stream.screen().print(audit._table(events))
    lines = stream.plain().splitlines()
    assert len(lines) > 4 and len({cell_len(line) for line in lines}) == 1 and cell_len(lines[0]) <= 80

"""Attacks on the reader of what the command line says, and by files that are not what their names promise."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from rich.text import Text

from arena import Arena, Mutation, answers, attack, bystander, key
from cli_terminal import FAKE, HOSTILE, Terminal, assert_harmless
from dataflare.cli import app as application
from dataflare.cli import internal_errors, output, screen
from dataflare.cli.screen import LogHandler
from dataflare.cli.variables import gather_variables
from dataflare.documents.reader import parse_document
from dataflare.documents.variables import Variables
from dataflare.errors import ConfigError, DataflareError, PluginError
from dataflare.pipeline.config_schema import misfits
from dataflare.pipeline.specification import parse_specification
from dataflare.printable import printable
from dataflare.security.audit import utc_now
from dataflare.security.signatures import sign_file
from dataflare.user_files import read_file

_dumps = json.dumps


def ends_soon(call: Callable[[], Any]) -> DataflareError:
    """The error that a call raises within a few seconds."""
    results: list[Any] = []

    def body() -> None:
        try:
            results.append(call())
        except DataflareError as error:
            results.append(error)

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join(3)
    assert results, "it waits"
    assert isinstance(results[0], DataflareError), f"it was let through, and returned {results[0]!r}"
    return results[0]


@attack("files-in")
def pipe_as_a_signature(arena: Arena) -> None:
    """Put a pipe beside a component, under the name of its signature, so that verifying it waits without end."""
    component = arena.folder / "plugin.wasm"
    component.write_bytes(bystander().binary)
    os.mkfifo(arena.folder / "plugin.wasm.sig")
    error = ends_soon(lambda: arena.host(trust=arena.trust()).load(component))
    assert isinstance(error, ConfigError) and "it is a pipe" in str(error)


@attack("files-in")
def device_as_a_component(arena: Arena) -> None:
    """Name a device as a component: its bytes have no end."""
    component = arena.folder / "plugin.wasm"
    component.symlink_to("/dev/zero")
    error = ends_soon(lambda: arena.host().inspect(component))
    assert isinstance(error, ConfigError) and "it is a device" in str(error)


@attack("files-in")
def signature_of_great_length(arena: Arena) -> None:
    """Fill a signature's file with blanks, so that reading it takes all memory."""
    component = arena.folder / "plugin.wasm"
    component.write_bytes(arena.package().binary)
    path = sign_file(component, key("acme"))
    with path.open("ab") as file:
        file.write(b" " * 2**20)
    arena.raises(ConfigError, lambda: arena.trust().verify_file(component, now=utc_now()), says="is longer than")


@attack("files-in")
def file_that_grows_while_it_is_read(arena: Arena) -> None:
    """Append to a file after its length was looked at."""
    path = arena.folder / "policy.yaml"
    path.write_bytes(b"x")

    def grow(_: object) -> None:
        path.write_bytes(b"x" * 100_000)

    arena.raises(ConfigError, lambda: read_file(path, 1000, check=grow), says="is longer than 1000 bytes")


def shown(show: Callable[[], object], *, columns: int = 0) -> str:
    """What is on standard output and standard error together, as in a pipe, or on a terminal of some columns."""
    stream = Terminal(columns)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screen, "sys", SimpleNamespace(stdout=stream, stderr=stream))
        patch.setenv("COLUMNS", str(columns or 80))
        show()
    return stream.getvalue()


def error_of(text: str) -> PluginError:
    return PluginError(text, plugin="plugin", export="process", hint="change the plugin's configuration")


@attack("terminal")
def escape_sequences_in_a_plugins_error(arena: Arena) -> None:
    """Clear the screen and set the window's title from the text of an error."""
    for text in ("\x1b[2J\x1b]0;owned\x07", "\x9b2J", "\x07\x08\x7f\x00"):
        assert_harmless(shown(lambda text=text: output.show_error(error_of(text))))


@attack("terminal")
def line_faked_by_a_line_break(arena: Arena) -> None:
    """Write a line break and a line that looks like the report of a run that went well."""
    for separator in ("\n", "\r", "\r\n", "\x0b", "\x0c", "\x85", "\u2028", "\u2029"):
        assert_harmless(shown(lambda text=f"failed{separator}{FAKE}": output.show_error(error_of(text))))


@attack("terminal")
def line_faked_by_padding(arena: Arena) -> None:
    """Fill a line with spaces up to its end, so that the next words look like a new line."""
    for columns in (40, 80, 133):
        for blanks in range(columns - 70 if columns > 100 else 0, columns):
            text = "failed" + " " * blanks + FAKE
            written = shown(lambda text=text: output.show_error(error_of(text)), columns=columns)
            for line in re.sub(r"\x1b\[[0-9;]*m", "", written).split("\n"):
                # What is too long is broken by the terminal itself.
                assert not any(line[at:].startswith(FAKE) for at in range(0, len(line), columns)), line


@attack("terminal")
def hint_faked_by_a_line_break(arena: Arena) -> None:
    """Have an error seem to give a hint of the host's."""
    written = shown(lambda: output.show_error(error_of(f"failed\n  hint: {FAKE}")))
    assert_harmless(written)
    assert [line for line in written.split("\n") if line.startswith("  hint: ")] == [
        "  hint: change the plugin's configuration"
    ]


@attack("terminal")
def direction_of_writing_turned_round(arena: Arena) -> None:
    """Turn the direction of writing round in a file's name, so that it reads as another."""
    for character in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c":
        assert_harmless(shown(lambda each=character: output.stdout().say(f"plugin{each}msaw.wasm: good")))  # type: ignore[attr-defined]


@attack("terminal")
def invisible_characters_in_a_name(arena: Arena) -> None:
    """Put invisible characters into a name, so that it looks like a trusted one or carries a message."""
    for character in "\u200b\u200c\u200d\u2060\ufeff\u00ad\u034f\u180e\u3164\ufe0f\U000e0041\U000e0100\ud800":
        text = f"acme{character}"
        assert_harmless(shown(lambda text=text: output.stdout().say(text)))  # type: ignore[attr-defined]
        assert printable(text) not in ("acme", text)


@attack("terminal")
def markup_in_a_description(arena: Arena) -> None:
    """Colour a word or turn it into a link, by the markup of the library that draws tables."""
    text = "[bold green]signed[/] [link=http://evil.example]here[/link] :white_check_mark: [/]"
    written = shown(lambda: output.show_error(error_of(text)), columns=200)
    assert text in written and "evil.example\x1b\\" not in written and "\x1b]8" not in written


@attack("terminal")
def control_characters_in_json_on_a_terminal(arena: Arena) -> None:
    """Hide control characters in JSON output, where JSON itself escapes only some of them."""
    text = "".join(map(chr, range(0xA0))) + "\u202e\u2028\ud800"
    written = shown(lambda: output.write_json({"error": {text: text}}), columns=80)
    assert_harmless(written, terminal=True)
    assert json.loads(written) == {"error": {text: text}}


@attack("terminal")
def escape_sequences_in_an_audit_log(arena: Arena) -> None:
    """Write escape sequences into an audit log, for the operator who looks at it."""
    values = {"when": "2026-01-01T00:00:00Z", "capability": "files", "function": "open", "decision": "deny"}
    event = {**values, "plugin": HOSTILE[:20], "object": f"x\n{FAKE}", "reason": "\x1b[2J"}
    path = arena.folder / "audit.jsonl"
    path.write_text(json.dumps(event) + "\n")
    for columns in (0, 40, 80):
        written = shown(lambda: application.run(["audit", str(path)]), columns=columns)
        assert "deny" in written
        assert_harmless(written, terminal=columns > 0)


@attack("terminal")
def escape_sequences_in_a_log_event(arena: Arena) -> None:
    """Log a text that looks like an event of the host's, by a line break and an escape sequence."""
    record = logging.LogRecord("dataflare.plugin.p", logging.WARNING, "", 0, "x\n%s\x1b[1A", (FAKE,), None)
    record.fields = {"key\x1b[2J": HOSTILE}
    for columns in (0, 60):
        assert_harmless(shown(lambda: LogHandler().emit(record), columns=columns), terminal=columns > 0)


@attack("terminal")
def escape_sequences_in_a_fault_of_the_host(arena: Arena) -> None:
    """Be quoted in an exception that nobody expected, whose text Python itself would print."""

    def fail() -> None:
        with pytest.raises(SystemExit), internal_errors.shown_faults():
            raise KeyError(HOSTILE)

    assert_harmless(shown(fail))


PIPELINE = """\
name: p
nodes:
  read:
    connector: csv
    read: ${FILE}
  write:
    connector: jsonl
    input: read
    write: out.jsonl
"""


@attack("secrets")
def secret_as_a_variable_of_a_pipeline(arena: Arena) -> None:
    """Write a secret's variable into a pipeline's text, to have the host put its value there."""
    text = PIPELINE.replace("FILE", "DATAFLARE_SECRET_TOKEN")
    variables = Variables({"DATAFLARE_SECRET_TOKEN": "hunter2"})
    error = arena.raises_any(
        ConfigError, lambda: parse_specification(text, file=arena.folder / "p.yaml", variables=variables)
    )
    assert "is a secret" in str(error) and "hunter2" not in str(error)


@attack("secrets")
def environment_read_by_a_pipeline_under_a_policy(arena: Arena) -> None:
    """Name a variable of the operator's environment in a pipeline, to have its value written to a file."""
    (arena.folder / "p.yaml").write_text(PIPELINE.replace("FILE", "CLOUD_PASSWORD"))
    (arena.folder / "policy.yaml").write_text("version: 1\nplugins: {}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLOUD_PASSWORD", "hunter2")
        line = ["run", "--check", str(arena.folder / "p.yaml"), "--policy", str(arena.folder / "policy.yaml")]
        written = [shown(lambda: application.run(line))]
        patch.setenv("DATAFLARE_POLICY", str(arena.folder / "policy.yaml"))
        for words in (["state", "list"], ["state", "export"], ["runs", "list"], ["plan"]):
            written.append(shown(lambda words=words: application.run([*words, str(arena.folder / "p.yaml")])))
    for text in written:
        assert "the variable CLOUD_PASSWORD is not defined" in text and "hunter2" not in text, text


@attack("files-in")
def variable_that_adds_keys_to_a_pipeline(arena: Arena) -> None:
    """Give a variable a value of several lines, so that what follows the first is read as keys and nodes."""
    value = "a.csv\n  evil:\n    connector: jsonl\n    input: read\n    write: /etc/passwd"
    variables = Variables({"FILE": value})
    parsed = parse_specification(PIPELINE, file=arena.folder / "p.yaml", variables=variables)
    assert set(parsed.pipeline.nodes) == {"read", "write"}


@attack("limits")
def schema_of_a_configuration_that_never_ends(arena: Arena) -> None:
    """Give a schema for the configuration that refers to its parts many times over, so that checking it never ends."""
    levels = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 10} for n in range(9)}
    schema = {"$defs": levels, "$ref": "#/$defs/a0"}
    begun = time.thread_time()
    assert misfits({"a": 1}, json.dumps(schema)) == []
    assert time.thread_time() - begun < 0.75


def _substituted_first(data: bytes | str, *, name: str, variables: Any = None) -> Any:
    text = data if isinstance(data, str) else data.decode()
    for variable, value in variables.values.items():
        text = text.replace(f"${{{variable}}}", value)
    return parse_document(text.encode(), name=name)


def _with_environment(settings: Any, files: Any, **_: Any) -> Variables:
    return gather_variables(settings, files)


def _show_flat(error: DataflareError) -> None:
    for line in str(error).split("\n"):
        output.stderr().say(line)  # type: ignore[attr-defined]


def _say_unbroken(self: Any, text: Any, **_: Any) -> None:
    self.print(text, soft_wrap=True)


def _raw_json(document: Any, **_: Any) -> str:
    return _dumps(document, ensure_ascii=False)


def _as_long_as_it_was(descriptor: int, _: int) -> bytes:
    return b"" if os.lseek(descriptor, 0, os.SEEK_CUR) else _READ(descriptor, 1)


def _with_markup(*parts: Any) -> Text:
    joined = "".join(each if isinstance(each, str) else each[0] for each in parts)
    return Text.from_markup(joined.removesuffix("[/]"))


_READ = os.read
MUTATIONS = [
    Mutation("dataflare.user_files:os.read", _as_long_as_it_was, ("file_that_grows_while_it_is_read",)),
    Mutation("dataflare.cli.output:Text.assemble", _with_markup, ("markup_in_a_description",)),
    Mutation(
        "dataflare.cli.state_files:gather_variables",
        _with_environment,
        ("environment_read_by_a_pipeline_under_a_policy",),
    ),
    Mutation("dataflare.documents.variables:SECRET_PREFIX", "\0", ("secret_as_a_variable_of_a_pipeline",)),
    Mutation(
        "dataflare.cli.run:gather_variables", _with_environment, ("environment_read_by_a_pipeline_under_a_policy",)
    ),
    Mutation(
        "dataflare.pipeline.specification:parse_document",
        _substituted_first,
        ("variable_that_adds_keys_to_a_pipeline",),
    ),
    Mutation("dataflare.pipeline.config_schema:_MAX_STEPS", 25_000_000, ("schema_of_a_configuration_that_never_ends",)),
    Mutation("dataflare.user_files:_FLAGS", os.O_RDONLY, ("pipe_as_a_signature",)),
    Mutation("dataflare.user_files:stat.S_ISREG", answers(True), ("pipe_as_a_signature", "device_as_a_component")),
    Mutation(
        "dataflare.cli.screen:printable",
        str,
        (
            "direction_of_writing_turned_round",
            "invisible_characters_in_a_name",
            "escape_sequences_in_an_audit_log",
            "escape_sequences_in_a_log_event",
            "escape_sequences_in_a_fault_of_the_host",
        ),
    ),
    Mutation(
        "dataflare.cli.output:show_error", _show_flat, ("line_faked_by_a_line_break", "hint_faked_by_a_line_break")
    ),
    Mutation(
        "dataflare.printable:printable.__code__",
        (lambda text: text).__code__,
        ("escape_sequences_in_a_plugins_error", "invisible_characters_in_a_name"),
    ),
    Mutation("dataflare.printable:_INVISIBLE", re.compile("[^\\s\\S]"), ("invisible_characters_in_a_name",)),
    Mutation("dataflare.cli.screen:Screen.say", _say_unbroken, ("line_faked_by_padding",)),
    Mutation("dataflare.cli.output:json.dumps", _raw_json, ("control_characters_in_json_on_a_terminal",)),
    Mutation("dataflare.security.signatures:MAX_SIGNATURE_BYTES", 2**30, ("signature_of_great_length",)),
]

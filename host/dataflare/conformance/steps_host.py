"""Steps for hosts: what a probe is told to do, and how the host must answer."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from dataflare import UsageError
from dataflare.conformance.adapter import HostConnection, NoAnswer
from dataflare.conformance.files import probe_file
from dataflare.conformance.host_calls import decoded_rows, encoded_bytes, encoded_rows, encoded_schema
from dataflare.conformance.http_server import CaseServer
from dataflare.conformance.steps import NotConformant, step
from dataflare.conformance.values import objects, shown, typed_rows, without_views
from dataflare.json_values import parse_json

__all__ = ["HostBench"]

_BYTES: Final = ("state", "part", "token", "rest")

_WITHIN_S: Final = 30.0
_ALL_GRANTS: Final = (
    *("clock", "metrics", "random", "tasks", "state", "files:nothing={folder}", "secrets:nothing"),
    *("http:GET:https://nothing.invalid", "plugins:nothing", "shared:nothing"),
)
"""What the probe needs to be loaded: nothing that exists."""


class HostBench:
    """What the steps of one case for hosts work with.

    Args:
        host: The host.
        folder: An empty folder, for the case alone.
    """

    about = note = ""
    """Nothing is said with outcomes."""

    def __init__(self, host: HostConnection, folder: Path) -> None:
        self.host = host
        self.folder = folder
        self.plugins: dict[str, int] = {}
        self.servers: dict[str, CaseServer] = {}

    def close(self) -> None:
        """End what the case has started; idempotent."""
        while self.servers:
            self.servers.popitem()[1].close()

    def ask(self, request: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
        """Send a request to the host; a late or missing answer is its failure."""
        within_s = float(arguments.get("within-s", _WITHIN_S))
        start = time.monotonic()
        try:
            answer = self.host.ask(request, within_s=within_s)
        except NoAnswer as error:
            raise NotConformant(str(error), given=shown(request)) from error
        took = time.monotonic() - start
        if took > within_s:
            raise NotConformant(f"the answer came after {took:.1f} s, and should within {within_s:g} s")
        return answer

    def filled(self, value: Any) -> Any:
        """Put the case's folder in place of `{folder}`, and the address of a server in that of its name."""
        if isinstance(value, str):
            for name, place in {
                "folder": str(self.folder),
                **{n: each.origin for n, each in self.servers.items()},
            }.items():
                value = value.replace(f"{{{name}}}", place)
            return value
        if isinstance(value, list):
            return [self.filled(each) for each in value]
        if isinstance(value, dict):
            return {key: self.filled(each) for key, each in value.items()}
        return value


def _expect(arguments: dict[str, Any], found: Any, given: Any) -> None:
    """Demand what the step says under `gives`; without it, an `ok`."""
    due = arguments.get("gives", {"ok": {}})
    if message := _mismatch(found, due, ""):
        error = found.get("error") if isinstance(found, dict) else None
        said = error.get("message") if isinstance(error, dict) else None
        if isinstance(said, str) and said:
            message += f"; the host says: {shown(said)}"
        raise NotConformant(message, given=shown(json.dumps(given, ensure_ascii=False)))


def _mismatch(found: Any, due: Any, where: str) -> str:
    """Say how a value differs from a pattern; empty if it fits.

    An object has at least the keys of the pattern, a list has as many items; `{one-of: [...]}` is any of some patterns,
    `{among: [...]}` a list that has these items in this order, and may have others.
    """
    if isinstance(due, dict) and set(due) == {"among"}:
        left: Iterator[Any] = iter(found if isinstance(found, list) else ())
        missing = [each for each in due["among"] if all(_mismatch(item, each, "") for item in left)]
        return f"{where or 'the answer'} is {shown(found)}, and should have {shown(missing)}" if missing else ""
    if isinstance(due, dict) and set(due) == {"one-of"}:
        if any(not _mismatch(found, each, where) for each in due["one-of"]):
            return ""
        return f"{where or 'the answer'} is {shown(found)}, and should be one of {shown(due['one-of'])}"
    if isinstance(due, dict) and isinstance(found, dict):
        for key, value in due.items():
            if key not in found:
                return f"{where or 'the answer'} has no {key!r}, but is {shown(found)}"
            if message := _mismatch(found[key], value, f"{where}.{key}".lstrip(".")):
                return message
        return ""
    if isinstance(due, list) and isinstance(found, list):
        if len(due) != len(found):
            return f"{where} has {len(found)} items, and should have {len(due)}: {shown(found)}"
        pairs = enumerate(zip(found, due, strict=True))
        return next((m for n, (one, other) in pairs if (m := _mismatch(one, other, f"{where}[{n}]"))), "")
    if type(found) is not type(due) and not (_is_number(found) and _is_number(due)):
        return f"{where or 'the answer'} is {shown(found)}, and should be {shown(due)}"
    return "" if found == due else f"{where or 'the answer'} is {shown(found)}, and should be {shown(due)}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@step("folder")
def folder(bench: HostBench, arguments: dict[str, Any]) -> None:
    """Make a folder with files and folders, and links to others."""
    place = bench.folder / arguments["name"]
    place.mkdir()
    for name, text in arguments.get("files", {}).items():
        (place / name).write_text(text, encoding="utf-8")
    for name in arguments.get("folders", ()):
        (place / name).mkdir()
    for name, target in arguments.get("links", {}).items():
        (place / name).symlink_to(bench.filled(target))


@step("serve")
def serve(bench: HostBench, arguments: dict[str, Any]) -> None:
    """Start a server, `{server}` or the name in `as`, which answers as the arguments say, by path."""
    answers = dict(arguments)
    bench.servers[answers.pop("as", "server")] = CaseServer(bench.filled(answers))


@step("served")
def served(bench: HostBench, arguments: dict[str, Any]) -> None:
    """What came to the server, or to the one in `of`, must be as `gives` says, without the headers in `lacks`."""
    found = bench.filled(bench.servers[arguments.get("of", "server")].requests)
    _expect(arguments, found, "the server's requests")
    for name in {name for each in found for name, _ in each["headers"]} & set(arguments.get("lacks", ())):
        raise NotConformant(f"a request came with the header {name!r}, and should without it", given=shown(found))


@step("secrets")
def secrets(bench: HostBench, arguments: dict[str, Any]) -> None:
    """Begin with a host whose store has these secrets."""
    bench.ask({"do": "reset", "secrets": arguments}, {})


@step("shared-limit")
def shared_limit(bench: HostBench, arguments: int) -> None:
    """Begin with a host that lets the plugins of a pipeline share batches of so many bytes together."""
    bench.ask({"do": "reset", "shared-bytes": arguments}, {})


@step("load")
def load(bench: HostBench, arguments: dict[str, Any]) -> None:
    """Load a probe (`of: source` for one of that kind), a part of it, or bytes that are written in the case."""
    kind = arguments.get("of", "processor")
    component = probe_file(kind)
    if "cut" in arguments or "hex" in arguments:
        data = bytes.fromhex(arguments["hex"]) if "hex" in arguments else component.read_bytes()[: arguments["cut"]]
        component = bench.folder / "component.wasm"
        component.write_bytes(data)
    request = {"do": "load", "component": str(component)}
    request |= {name: arguments[name] for name in ("name", "pipeline", "config", "limits") if name in arguments}
    grants = [*arguments.get("grants", []), *(_ALL_GRANTS if kind == "processor" else ())]
    without = arguments.get("without")
    request["grants"] = bench.filled([each for each in grants if each.partition(":")[0] != without])
    answer = bench.ask(request, arguments)
    _expect(arguments, answer, request)
    if "ok" in answer:
        number = answer["ok"].get("plugin") if isinstance(answer["ok"], dict) else None
        if type(number) is not int:
            raise NotConformant(f"the answer is {shown(answer)}, without a number `plugin`", given=shown(request))
        bench.plugins[arguments.get("as", "probe")] = number


@step("process")
def process(bench: HostBench, arguments: dict[str, Any]) -> None:
    """Give a plugin a record: `do`, operations of the probe, or `input`, any text."""
    given = json.dumps({"do": bench.filled(arguments["do"])}) if "do" in arguments else arguments["input"]
    request = {"do": "process", "plugin": _plugin(bench, arguments), "input": given}
    if "cancel-after-ms" in arguments:
        request["cancel-after-ms"] = arguments["cancel-after-ms"]
    answer = bench.ask(request, arguments)
    if "do" in arguments and isinstance(answer.get("ok", {}).get("output"), str):
        answer = _came(answer)
    _expect(arguments, answer, arguments.get("do", given))


def _came(answer: dict[str, Any]) -> dict[str, Any]:
    try:
        return {**answer, "came": parse_json(answer["ok"]["output"])["came"]}
    except (ValueError, KeyError, TypeError) as error:
        raise NotConformant(f"what the probe answered did not come through: {shown(answer)}") from error


@step("batch")
def batch(bench: HostBench, arguments: dict[str, Any]) -> None:
    """Give a plugin a batch, `rows` or `types`; `same: true` demands that it comes back as it was."""
    given = typed_rows() if arguments.get("types") else pa.RecordBatch.from_pylist(arguments["rows"])
    request = {"do": "process-batch", "plugin": _plugin(bench, arguments), "rows": encoded_rows(given)}
    answer = bench.ask(request, arguments)
    if "ok" in answer:
        found = _came_back(answer["ok"]["rows"])
        if arguments.get("same") and not without_views(found).equals(without_views(given)):
            raise NotConformant(f"the batch came back as another one: {shown(found)}", given=shown(given))
        answer = {**answer, "rows": None if arguments.get("same") else objects(found)}
    _expect(arguments, answer, arguments.get("rows", "a column of each type"))


def _came_back(text: str) -> pa.RecordBatch:
    try:
        return decoded_rows(text)
    except UsageError as error:
        raise NotConformant(f"what came back is not a batch: {error.message}") from error


@step("call")
def call(bench: HostBench, arguments: dict[str, Any]) -> None:
    """Call a `function` of a plugin's interface, `with` arguments; bytes are texts of Latin-1."""
    request = {"do": "call", "plugin": _plugin(bench, arguments), "function": arguments["function"]}
    answer = bench.ask({**request, "with": _as_sent(arguments.get("with", {}))}, arguments)
    if "ok" in answer:
        if "gives" not in arguments:
            return
        answer = {**answer, "ok": _as_written(answer["ok"])}
    _expect(arguments, answer, arguments)


def _as_sent(given: dict[str, Any]) -> dict[str, Any]:
    """Arguments as the protocol has them."""
    sent = dict(given)
    for name in _BYTES:
        if name in sent:
            sent[name] = encoded_bytes(sent[name].encode("latin-1"))
    if "rows" in sent:
        sent["rows"] = encoded_rows(pa.RecordBatch.from_pylist(sent["rows"]))
    if "targets" in sent:
        sent["targets"] = [_as_sent(each) for each in sent["targets"]]
    if "columns" in sent:
        sent["schema"] = encoded_schema(pa.schema([_column(name, kind) for name, kind in sent.pop("columns").items()]))
    return sent


def _column(name: str, given: str | list[str]) -> pa.Field:
    """A column of a type, or of a type and a role."""
    if isinstance(given, str):
        return pa.field(name, pa.type_for_alias(given))
    kind, role = given
    return pa.field(name, pa.type_for_alias(kind), metadata={"dataflare.role": role})


def _as_written(came: Any) -> Any:
    """An answer as cases write it."""
    if not isinstance(came, dict):
        return came
    written = dict(came)
    for name in _BYTES:
        if isinstance(written.get(name), str):
            written[name] = _from_base64(written[name])
    if isinstance(written.get("parts"), list):
        written["parts"] = [_from_base64(each) if isinstance(each, str) else each for each in written["parts"]]
    if "rows" in written and isinstance(written["rows"], str):
        written["rows"] = objects(_came_back(written["rows"]))
    return written


def _from_base64(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode("latin-1")
    except ValueError as error:
        raise NotConformant(f"{shown(text)} came, which is not Base64") from error


@step("asked-health")
def asked_health(bench: HostBench, arguments: dict[str, Any]) -> None:
    """Ask a plugin for its health."""
    request = {"do": "health", "plugin": _plugin(bench, arguments)}
    _expect(arguments, bench.ask(request, arguments), request)


@step("events")
def events(bench: HostBench, arguments: dict[str, Any]) -> None:
    """Ask what plugins of a name have logged, measured and reported; `at-most` bounds the number of a kind."""
    request = {"do": "events", "plugin": arguments.get("name", "probe")}
    answer = bench.ask(request, arguments)
    for kind, most in arguments.get("at-most", {}).items():
        if len(answer.get("ok", {}).get(kind, [])) > most:
            raise NotConformant(f"{len(answer['ok'][kind])} {kind} came, and should be at most {most}")
    _expect(arguments, answer, request)


@step("end")
def end(bench: HostBench, arguments: dict[str, Any]) -> None:
    """End a plugin."""
    request = {"do": "close", "plugin": bench.plugins.pop(arguments.get("plugin", "probe"))}
    _expect(arguments, bench.ask(request, arguments), request)


@step("file-is")
def file_is(bench: HostBench, arguments: dict[str, Any]) -> None:
    """A file of the case's folder has this text, or, without a text, does not exist."""
    path = bench.folder / arguments["path"]
    found = path.read_text(encoding="utf-8") if path.is_file() else None
    if found != arguments.get("text"):
        raise NotConformant(f"{arguments['path']} is {shown(found)}, and should be {shown(arguments.get('text'))}")


def _plugin(bench: HostBench, arguments: dict[str, Any]) -> int:
    return bench.plugins[arguments.get("plugin", "probe")]

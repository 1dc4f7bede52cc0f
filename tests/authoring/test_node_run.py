"""Plugins in JavaScript and TypeScript, natively: Node has the plugin, and the real host is behind its interfaces."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataflare.authoring.dev import Developing, Round
from dataflare.authoring.node_values import NodeValues, WrongValue
from dataflare.authoring.samples import Sample
from dataflare.authoring.templates import kinds_of, new_plugin
from dataflare.errors import CallTimeout, DataflareError, GuestPanic, MemoryLimitExceeded
from dataflare.runtime.host import Host
from dataflare.wit import model as wit

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")

_CLASS = "import { Processor } from './dataflare/index.js';\nexport default class P extends Processor {\n"


@pytest.fixture
def host() -> Iterator[Host]:
    with Host() as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a processor in JavaScript, whose path has a space and an umlaut."""
    new_plugin(tmp_path / "trim", kind="processor", language="javascript")
    (tmp_path / "a földer").mkdir()
    return (tmp_path / "trim").rename(tmp_path / "a földer" / "trim")


def once(folder: Path, host: Host, sample: Sample | None = None) -> Round:
    made = Developing(folder, host, sample or Sample(), sandbox=False, build_timeout_s=600)
    (found,) = made.rounds(once=True)
    assert found.native
    return found


def error_of(folder: Path, host: Host, text: str) -> tuple[DataflareError, str]:
    """What comes of a `plugin.js`: the error, and what was printed."""
    (folder / "plugin.js").write_text(text)
    found = once(folder, host)
    assert found.error is not None
    return found.error, found.printed


@pytest.mark.parametrize("kind", kinds_of("javascript"))
def test_plugin_of_new_runs_natively(tmp_path: Path, host: Host, kind: str) -> None:
    new_plugin(tmp_path / "it", kind=kind, language="javascript")
    found = once(tmp_path / "it", host)
    assert found.error is None and found.good and found.tried is not None and found.tried.expected
    assert list(found.steps) == ["build", "load", "rows"]


def test_typescript_runs_natively_and_errors_have_its_own_lines(tmp_path: Path, host: Host) -> None:
    new_plugin(tmp_path / "it", kind="processor", language="typescript")
    plugin = tmp_path / "it" / "plugin.ts"
    text = plugin.read_text()
    assert once(tmp_path / "it", host).good
    # The types are not in what Node runs: its lines are others.
    head = "interface Unused {\n  a: string;\n}\n"
    plugin.write_text(
        head
        + text.replace("process(record", "process(_: never): never {\n    throw new Error('odd');\n  }\n  p(record")
    )
    error = once(tmp_path / "it", host).error
    line = next(at for at, each in enumerate(plugin.read_text().splitlines(), 1) if "'odd'" in each)
    assert "internal: Error: odd" in str(error) and f"process@plugin.ts:{line}:" in str(error)
    plugin.write_text(text + "const wrong: number = 'a';\n")
    error = once(tmp_path / "it", host).error
    assert str(error).startswith(f"plugin.ts:{text.count(chr(10)) + 1}: error TS")


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ("\nexport default class {\n  process() { return ]; }\n}\n", "plugin.js:3: SyntaxError: Unexpected token", ""),
        ("export default 5;\n", "plugin.js: its default export has to be a class of the kind processor", ""),
        (
            "export const a = 5;\n",
            "plugin.js: it has to export the plugin's class as its default",
            "export default class",
        ),
        ("\n\nexport default undefined.x;\n", "plugin.js:3: TypeError: Cannot read properties of undefined", ""),
        ("import { Nope } from './dataflare/index.js';\n", "plugin.js:1: SyntaxError: The requested module", ""),
        ("\nimport 'dataflare:host/state@1.0.0';\n", "plugin.js:2: there is no module", "add state to `needs`"),
        ("import 'node:fs';\n", 'plugin.js:1: there is no module "node:fs" to import', "relative paths"),
        ("import './nowhere.js';\n", 'plugin.js:1: there is no module "./nowhere.js" to import', "relative paths"),
        (
            "import { log } from 'dataflare:host/logging@1.0.0';\nlog('info', 'a', []);\nexport default class {}\n",
            "plugin.js:2: TypeError: the host cannot be called while the plugin is imported",
            "",
        ),
    ],
)
def test_plugin_that_cannot_be_imported_is_told_with_file_and_line(
    folder: Path, host: Host, text: str, says: str, hint: str
) -> None:
    error, printed = error_of(folder, host, text)
    assert error.message.startswith(says) and hint in error.hint and printed == ""


def test_exception_is_told_with_its_line_alone_and_what_was_printed_before_is_shown(folder: Path, host: Host) -> None:
    error, printed = error_of(
        folder, host, f"{_CLASS}process(record) {{\nconsole.log('id', record.id);\nthrow new Error('odd');\n}}}}\n"
    )
    assert str(error).endswith("internal: Error: odd\nprocess@plugin.js:5:7") and printed == "id 1\n"


def test_what_the_plugin_logs_is_shown(folder: Path, host: Host) -> None:
    text = "import { log } from 'dataflare:host/logging@1.0.0';\n"
    (folder / "plugin.js").write_text(
        f"{text}{_CLASS}process(r) {{ log('info', `seen ${{r.id}}`, []); return r; }}}}\n"
    )
    assert "INFO seen 1\n" in once(folder, host, Sample(config={})).printed


def test_plugin_that_ends_its_process_or_takes_all_memory_is_an_error_of_the_round(folder: Path, host: Host) -> None:
    error, _ = error_of(folder, host, f"{_CLASS}process() {{ process.exit(3); }}}}\n")
    assert isinstance(error, GuestPanic) and "ended its process: ended with code 3" in str(error)
    case = folder / "tests" / "cases" / "trims.yaml"
    case.write_text(f"limits: {{ memory: 64MiB }}\n{case.read_text()}")
    grow = "const a = []; for (;;) a.push(new Array(1000).fill(1.5));"
    error, printed = error_of(folder, host, f"{_CLASS}process() {{ {grow} }}}}\n")
    assert isinstance(error, MemoryLimitExceeded) and "memory_bytes = 67108864" in str(error)
    assert "JavaScript" not in printed


def test_plugin_that_prints_without_end_is_ended(folder: Path, host: Host) -> None:
    error, printed = error_of(folder, host, f"{_CLASS}process() {{ for (;;) console.log('x'.repeat(2 ** 20)); }}}}\n")
    assert "it printed more than 64 MiB" in str(error) and printed.endswith("(more was printed)")


def test_plugin_that_loops_is_ended(folder: Path, host: Host) -> None:
    case = folder / "tests" / "cases" / "trims.yaml"
    case.write_text(f"limits: {{ call_timeout: 1s }}\n{case.read_text()}")
    error, _ = error_of(folder, host, f"{_CLASS}process() {{ for (;;); }}}}\n")
    assert isinstance(error, CallTimeout) and "endless loop" in error.hint


def test_wrong_value_for_the_host_is_told_with_its_place(folder: Path, host: Host) -> None:
    text = "import { log } from 'dataflare:host/logging@1.0.0';\n"
    error, _ = error_of(folder, host, f"{text}{_CLASS}process(r) {{\nlog('loud', 'a', []);\n}}}}\n")
    assert "log: level is 'loud', not one of trace, debug" in str(error) and "process@plugin.js:5:1" in str(error)


def test_files_have_the_permissions_of_the_case(folder: Path, host: Host) -> None:
    (folder / "plugin.yaml").write_text(f"{(folder / 'plugin.yaml').read_text()}needs: [files]\n")
    head = "import { open } from 'dataflare:host/files@1.0.0';\n"
    body = "process(r) { const file = open(r.path); const data = file.read(100); file[Symbol.dispose]();"
    (folder / "plugin.js").write_text(f"{head}{_CLASS}{body} return {{ text: new TextDecoder().decode(data) }}; }}}}\n")
    for path in (folder / "tests" / "cases").iterdir():
        path.unlink()
    case = folder / "tests" / "cases" / "it.yaml"
    case.write_text("folders: { in: { a.txt: hällo } }\ninput: [{ path: in/a.txt }]\noutput: [{ text: hällo }]\n")
    assert once(folder, host).good
    case.write_text("folders: { in: { a.txt: hällo } }\ninput: [{ path: out/a.txt }]\noutput: []\n")
    error = once(folder, host).error
    assert "no directory 'out' is granted" in str(error)


def test_class_that_exports_its_lifecycle_itself_is_built(folder: Path, host: Host) -> None:
    from dataflare.toolchain.guests import guest_of
    from dataflare.toolchain.javascript import JavaScriptDriver

    (folder / "plugin.js").write_text("export const lifecycle = {};\n")
    assert JavaScriptDriver().in_node(guest_of(folder)) is None


_U8, _S64, _F64, _TEXT = map(wit.Primitive, ("u8", "s64", "f64", "string"))


@pytest.mark.parametrize(
    ("value", "kind", "json"),
    [
        (b"\x00\xff", wit.ListOf(_U8), {"$": "Uint8Array", "v": "AP8="}),
        (2**63 - 1, _S64, {"$": "int", "v": "9223372036854775807"}),
        (float("-inf"), _F64, {"$": "float", "v": "-Infinity"}),
        (None, wit.OptionOf(_TEXT), None),
        ((1.5, "ä"), wit.TupleOf((_F64, _TEXT)), [1.5, "ä"]),
        (["a"], wit.ListOf(_TEXT), ["a"]),
    ],
)
def test_value_comes_back_from_its_json_as_it_was(value: Any, kind: wit.Type, json: Any) -> None:
    values = NodeValues()
    assert values.to_node(value, kind) == json
    assert values.from_node(json, kind, "it") == value


def test_numbers_in_arrays_of_other_types_are_taken_where_they_fit() -> None:
    values, kind = NodeValues(), wit.ListOf(wit.Primitive("s32"))
    given = values.to_node(np.array([1, -2]), wit.ListOf(_S64))
    assert values.from_node(given, kind, "it").tolist() == [1, -2]
    assert values.from_node([1, -2], kind, "it").tolist() == [1, -2]
    with pytest.raises(WrongValue, match="it is a BigInt64Array, not a Int32Array"):
        values.from_node(values.to_node(np.array([2**40]), wit.ListOf(_S64)), kind, "it")


@pytest.mark.parametrize(
    ("value", "kind", "says"),
    [
        (None, _TEXT, "it is missing, not a text"),
        (256, _U8, "it is 256, not a whole number from 0 to 255"),
        (True, _U8, "it is true, not a whole number"),
        (5, _S64, "it is 5, not a whole number as a BigInt"),
        ({"$": "handle", "v": 7}, wit.Named("batch", "dataflare:data/batches@1.0.0"), "not a batch that is still open"),
        ({"$": "Uint8Array", "v": "?"}, wit.ListOf(_U8), "it is not a Uint8Array"),
        ({"$": "Odd", "v": ""}, wit.ListOf(_U8), "it is a Odd, not a list or a Uint8Array"),
        ("x", wit.ListOf(_TEXT), "it is 'x', not a list"),
        ([1], wit.ListOf(_TEXT), r"it\[0\] is 1, not a text"),
    ],
)
def test_value_of_another_type_is_refused(value: Any, kind: wit.Type, says: str) -> None:
    with pytest.raises(WrongValue, match=says):
        NodeValues().from_node(value, kind, "it")


def test_handle_is_what_stands_behind_it_until_it_is_dropped() -> None:
    class Thing:
        closed = 0

        def close_handle(self) -> None:
            self.closed += 1

    values, thing = NodeValues(), Thing()
    kind = wit.Named("batch", "dataflare:data/batches@1.0.0")
    given = values.to_node(thing, kind)
    assert values.from_node({"$": "handle", "v": given["v"][1]}, wit.Borrow(kind), "it") is thing
    values.drop(given["v"][1])
    values.drop(given["v"][1])
    assert thing.closed == 1

"""Plugins in Go: what authors are told, and what holds in the sandbox."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from conformance_kit import faults_of_template
from dataflare.authoring.building import build_plugin
from dataflare.authoring.case_files import read_cases
from dataflare.authoring.cases import run_cases
from dataflare.authoring.templates import kinds_of, new_plugin
from dataflare.errors import ConfigError, DataflareError
from dataflare.grants import DirectoryGrant, Grants, HttpGrant
from dataflare.runtime.host import Host
from dataflare.toolchain.go import GoDriver
from dataflare.toolchain.go_toolchain import go_identity, go_tools
from dataflare.toolchain.guests import Guest, guest_of
from dataflare.toolchain.run_tool import BuildFailed, ToolchainMissing

pytestmark = pytest.mark.skipif(
    shutil.which("npm") is None and os.environ.get("CI") != "true", reason="there is no Node.js"
)


def made(tmp_path: Path, kind: str = "processor") -> Guest:
    # The name is that of other tests, whose components are the same.
    folder = tmp_path / "plug in é" / "a-plugin"
    new_plugin(folder, kind=kind, language="go")
    return guest_of(folder)


def change(guest: Guest, old: str, new: str, *, name: str = "plugin.go") -> None:
    path = guest.folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def refused(guest: Guest, tmp_path: Path) -> BuildFailed:
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(BuildFailed) as caught:
        GoDriver().build(guest, work)
    return caught.value


@pytest.mark.parametrize("kind", kinds_of("go"))
def test_plugin_of_new_passes_its_cases_and_is_conformant(tmp_path: Path, kind: str) -> None:
    guest = made(tmp_path, kind)
    with Host() as host:
        built, file = build_plugin(guest.folder, host)
        assert host.inspect(built.guest.output).wasi == ()
        results = list(run_cases(read_cases(guest.folder), built.guest.output, file, host))
    assert results and not [each.problem for each in results if each.problem]
    assert faults_of_template(built.guest.output, kind) == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("return record, nil", "return record nil", "plugin.go:36: syntax error: unexpected name nil"),
        ("p.config.Field)", "p.config.Feild)", "plugin.go:27: p.config.Feild undefined"),
        ("trimmed)", "[]trimmed)", "plugin.go:35: []trimmed (type) is not an expression"),
        ('"strings"', '"strinks"', "plugin.go:5: package strinks is not in std"),
    ],
)
def test_error_of_the_compiler_is_told_with_file_and_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    guest = made(tmp_path)
    change(guest, old, new)
    error = refused(guest, tmp_path)
    assert says in str(error)
    assert str(tmp_path) not in str(error)


def test_export_of_another_kind_is_told(tmp_path: Path) -> None:
    guest = made(tmp_path)
    change(guest, "ExportProcessor", "ExportTransformer")
    error = refused(guest, tmp_path)
    assert "undefined: dataflare.ExportTransformer" in str(error)
    assert error.hint == "plugin.yaml says `kind: processor`, the plugin exports a transformer"


def test_call_of_an_interface_that_is_not_among_the_needs_is_told(tmp_path: Path) -> None:
    guest = made(tmp_path)
    change(guest, '"dataflare"\n', '"dataflare"\n\t"dataflare/state"\n')
    change(guest, "return record, nil", 'return record, state.Put("a", 1)')
    error = refused(guest, tmp_path)
    assert "it calls the host's interface state" in str(error)
    assert error.hint == "plugin.yaml: add state to `needs`"


def test_folder_without_a_module_says_so(tmp_path: Path) -> None:
    guest = made(tmp_path)
    (guest.folder / "go.mod").unlink()
    assert "there is no go.mod" in str(refused(guest, tmp_path))


def test_sdk_that_cannot_be_written_is_an_error_with_the_place(tmp_path: Path) -> None:
    guest = made(tmp_path)
    (guest.folder / "dataflare").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        GoDriver().build(guest, tmp_path)


def test_unit_tests_run_natively_and_failures_are_told_with_the_line(tmp_path: Path) -> None:
    guest = made(tmp_path)
    assert GoDriver().unit_tests(guest) == "2 passed"
    change(guest, '"Ada"}`', '"Bo"}`', name="plugin_test.go")
    with pytest.raises(BuildFailed, match=r'^plugin_test\.go:13: \{"id":1,"name":"Ada"\}'):
        GoDriver().unit_tests(guest)


@pytest.fixture
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAFLARE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("dataflare.toolchain.go_toolchain._USUAL_PLACE", tmp_path / "go")


@pytest.mark.usefixtures("nothing_installed")
def test_machine_without_go_and_pip_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert go_tools().endswith("downloaded on first use")
    monkeypatch.setattr("dataflare.toolchain.go_toolchain.has_pip", lambda: False)
    with pytest.raises(ToolchainMissing, match="there is no Go") as caught:
        go_tools()
    assert "install Go 1.24 or newer" in caught.value.hint


@pytest.mark.usefixtures("nothing_installed")
def test_go_that_is_too_old_or_does_not_work_is_as_good_as_none(tmp_path: Path) -> None:
    pinned = go_identity()
    for script in ("echo go version go1.23.4 linux/amd64", "exit 1", "echo nonsense"):
        (tmp_path / "go").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "go").chmod(0o755)
        assert go_identity() == pinned
    (tmp_path / "go").write_text("#!/bin/sh\necho go version go1.30.1 linux/amd64\n")
    assert go_identity() == "go 1.30.1"


HOSTILE = Path(__file__).with_name("hostile.go")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "hostile"
    new_plugin(folder, kind="processor", language="go")
    shutil.copy(HOSTILE, folder / "plugin.go")
    (folder / "plugin.yaml").write_text(
        (folder / "plugin.yaml").read_text()
        + "needs: [clock, files, http, metrics, random, secrets, shared, state, tasks]\n"
    )
    with Host() as host:
        build_plugin(folder, host)
    return folder / "build" / "hostile.wasm"


@contextmanager
def started(component: Path, out: Path | None = None) -> Iterator[Any]:
    grants = Grants(
        clock=True,
        files={"out": DirectoryGrant(path=out or component.parent, access="write")},
        http={"http://127.0.0.1:1": HttpGrant()},
        metrics=True,
        random=True,
        secrets=frozenset({"token"}),
        shared={"table": "write"},
        state=True,
        tasks=True,
    )
    with Host() as host, host.load(component, name="hostile", config={}, grants=grants) as plugin:
        yield plugin.start()


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("panic", "plugin.go:43: panic: no more é"),
        ("index", "plugin.go:45: panic: runtime error: index out of range [5] with length 0"),
        ("nil", "invalid memory address or nil pointer dereference"),
        ("elsewhere", "panic: in another goroutine"),
        ("deadlock", "all goroutines are asleep - deadlock!"),
        ("exit", "INFO auf Wég ????? \U0001f600\n"),
        ("recurse", "nested its calls too deeply"),
        ("allocate", "asked for more memory than memory_bytes"),
        ("random", "crypto/rand: failed to read random data"),
        ("fail", "250"),
        ("error", "internal: something else"),
        ("wrapped", "invalid-input: field 7: too long"),
        ("file", "open /etc/passwd: Bad file number"),
        ("secret", "denied: no secret 'token' is granted"),
        ("http", "127.0.0.1"),
    ],
)
def test_what_ends_a_call_is_told(hostile: Path, what: str, says: str) -> None:
    with started(hostile) as plugin, pytest.raises(DataflareError) as caught:
        plugin.process(f'{{"do":"{what}"}}')
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("what", "found"),
    [
        ("state", {"known": False, "number": 7, "found": [False, True, True, True, ["a"], True]}),
        (
            "files",
            {
                "same": True,
                "found": [
                    3_000_005,
                    "bc",
                    True,
                    "there is no 'out/b.txt'",
                    True,
                    3_000_007,
                    1,
                    [{"Name": "out", "IsWritable": True}],
                ],
            },
        ),
        ("others", {"found": [True, True, 5, False, True, '{"a":1}\n']}),
    ],
)
def test_what_the_host_offers_is_there(hostile: Path, tmp_path: Path, what: str, found: dict[str, Any]) -> None:
    with started(hostile, tmp_path) as plugin:
        assert json.loads(plugin.process(f'{{"do":"{what}"}}')) == {"do": what, **found}


def test_sleep_takes_no_time(hostile: Path) -> None:
    with started(hostile) as plugin:
        assert plugin.process('{"do":"sleep"}') == '{"do":"sleep"}'


def test_records_come_through_as_they_are(hostile: Path) -> None:
    texts = [
        '{"do":"","a":9007199254740993,"b":1e400,"c":-0.0,"d":[1,{"e":null}],"f":true,"g":"<&>"}',
        '{"do":"","é\\"":"\\u0001\\\\ \U0001f600"}',
        '{"do":"","deep":' + "[" * 100 + "]" * 100 + "}",
    ]
    with started(hostile) as plugin:
        assert [plugin.process(each) for each in texts] == texts
        assert plugin.process('{ "do" : "x" , "do":[ 1 , "a b" ] }') == '{"do":[1,"a b"]}'


@pytest.mark.parametrize(
    ("text", "says"), [("[]", "it is not an object"), ('{"do":', "unexpected end"), ('{"do":01}', "invalid character")]
)
def test_record_that_is_not_json_is_refused_and_the_plugin_goes_on(hostile: Path, text: str, says: str) -> None:
    with started(hostile) as plugin:
        with pytest.raises(DataflareError, match=f"the record: .*{says}"):
            plugin.process(text)
        assert plugin.process('{"do":""}') == '{"do":""}'


def test_memory_of_calls_is_collected(hostile: Path) -> None:
    record = '{"do":"","text":"' + "x" * 1_000_000 + '"}'
    with started(hostile) as plugin:
        for _ in range(300):
            assert plugin.process(record) == record

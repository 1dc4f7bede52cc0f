"""Plugins in the languages that Zig's compiler compiles: what authors are told, and what holds in the sandbox."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from conformance_kit import faults_of_template
from dataflare.authoring.building import build_plugin
from dataflare.authoring.case_files import read_cases
from dataflare.authoring.cases import run_cases
from dataflare.authoring.dev import Developing
from dataflare.authoring.samples import Sample
from dataflare.authoring.templates import kinds_of, new_plugin
from dataflare.cli.app import app
from dataflare.data.json_writer import encode_json_lines
from dataflare.engine.engine import Engine
from dataflare.errors import ConfigError, DataflareError, GuestPanic
from dataflare.runtime.host import Host
from dataflare.toolchain.c import CDriver
from dataflare.toolchain.guests import Guest, guest_of
from dataflare.toolchain.languages import load_driver
from dataflare.toolchain.run_tool import BuildFailed, ToolchainMissing
from dataflare.toolchain.zig_toolchain import zig_tools

pytestmark = pytest.mark.skipif(
    shutil.which("npm") is None and os.environ.get("CI") != "true", reason="there is no Node.js"
)
MAIN = {"c": "plugin.c", "cpp": "plugin.cpp", "zig": "plugin.zig"}


def made(tmp_path: Path, language: str = "c", kind: str = "processor") -> Guest:
    folder = tmp_path / "plug in é" / f"a-{kind}"
    new_plugin(folder, kind=kind, language=language)
    return guest_of(folder)


def change(guest: Guest, old: str, new: str) -> None:
    path = guest.folder / MAIN[guest.language]
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def refused(guest: Guest, tmp_path: Path) -> BuildFailed:
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(BuildFailed) as caught:
        load_driver(guest.language)(guest).build(guest, work)
    return caught.value


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("*keep = *text != 0;", "*keep = *text != 0", "plugin.c:19: error: expected ';'"),
        ("config.field);", "config.feild);", "plugin.c:15: error: no member named 'feild'"),
        ("df_text(text)", "text", "plugin.c:20: error: incompatible pointer types"),
        ('"dataflare.h"', '"missing.h"', "plugin.c:2: error: 'missing.h' file not found"),
    ],
)
def test_error_of_the_compiler_is_told_with_file_and_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    guest = made(tmp_path)
    change(guest, old, new)
    error = refused(guest, tmp_path)
    assert says in str(error)
    assert str(tmp_path) not in str(error)


@pytest.mark.parametrize("language", ["cpp", "zig"])
@pytest.mark.parametrize("kind", kinds_of("cpp"))
def test_plugin_of_new_passes_its_cases_and_is_conformant(tmp_path: Path, kind: str, language: str) -> None:
    guest = made(tmp_path, language, kind)
    with Host() as host:
        built, file = build_plugin(guest.folder, host)
        results = list(run_cases(read_cases(guest.folder), built.guest.output, file, host))
    assert load_driver(language)(guest).unit_tests(guest) == "2 passed"
    assert results and not [each.problem for each in results if each.problem]
    assert faults_of_template(built.guest.output, kind) == []


def test_error_in_cpp_is_told_with_file_and_line(tmp_path: Path) -> None:
    guest = made(tmp_path, "cpp", "transformer")
    change(guest, "col(config.of).cast", "col(config.of).casst")
    assert str(refused(guest, tmp_path)).startswith("plugin.cpp:21: error: no member named 'casst'")


def test_what_the_library_of_cpp_refuses_is_told(tmp_path: Path) -> None:
    guest = made(tmp_path, "cpp", "transformer")
    change(guest, '#include "dataflare.hpp"', '#include "dataflare.hpp"\n#include <vector>')
    change(guest, "  return df_put", "  std::vector<int>().at(df_rows(*batch));\n  return df_put")
    with Host() as host:
        built, _ = build_plugin(guest.folder, host)
        with (
            host.load(built.guest.output, name="a", config={"of": "a", "to": "b"}) as plugin,
            pytest.raises(DataflareError) as caught,
        ):
            started_plugin: Any = plugin.start()
            started_plugin.transform(pa.RecordBatch.from_pydict({"a": [1], "b": [2]}))
    assert "vector" in str(caught.value)


def test_plugin_without_its_constant_is_told_which(tmp_path: Path) -> None:
    guest = made(tmp_path)
    change(guest, "const df_processor df_processor_plugin", "static const df_processor mine")
    error = refused(guest, tmp_path)
    assert "there is no df_processor_plugin" in str(error)
    assert "define the constant df_processor_plugin" in error.hint


def test_call_of_an_interface_that_is_not_among_the_needs_is_told(tmp_path: Path) -> None:
    guest = made(tmp_path)
    change(guest, "  *keep =", '  df_value *found;\n  if (!df_state_get("a", &found, error)) return false;\n  *keep =')
    error = refused(guest, tmp_path)
    assert "it calls the host's interface state" in str(error)
    assert error.hint == "plugin.yaml: add state to `needs`"


def test_call_of_the_system_is_told(tmp_path: Path) -> None:
    guest = made(tmp_path)
    change(guest, '#include "dataflare.h"', '#include <stdio.h>\n#include "dataflare.h"')
    change(guest, "  *keep =", '  if (!fopen("/etc/passwd", "r")) return false;\n  *keep =')
    error = refused(guest, tmp_path)
    assert "wasi_snapshot_preview1" in str(error) and "call the host's interfaces" in error.hint


def test_plugin_without_its_file_says_so(tmp_path: Path) -> None:
    guest = made(tmp_path)
    (guest.folder / "plugin.c").unlink()
    assert "there is no plugin.c" in str(refused(guest, tmp_path))


def test_sdk_that_cannot_be_written_is_an_error_with_the_place(tmp_path: Path) -> None:
    guest = made(tmp_path)
    (guest.folder / "dataflare").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        CDriver().build(guest, tmp_path)


@pytest.mark.parametrize(
    ("language", "folder", "tests"), [("c", "logged", 2), ("cpp", "counted", 1), ("zig", "counted", 1)]
)
def test_log_of_changes_is_read_natively(tmp_path: Path, language: str, folder: str, tests: int) -> None:
    guest = made(tmp_path, language, "source")
    main = MAIN[language]
    (guest.folder / main).write_text((Path(__file__).parent / folder / main).read_text())
    if language != "zig":
        test = main.replace(".", "_test.")
        (guest.folder / "tests" / test).write_text((Path(__file__).parent / folder / test).read_text())
    assert load_driver(language)(guest).unit_tests(guest) == f"{tests} passed"


def test_unit_tests_run_natively_and_failures_are_told_with_the_line(tmp_path: Path) -> None:
    guest = made(tmp_path)
    assert CDriver().unit_tests(guest) == "2 passed"
    path = guest.folder / "tests" / "plugin_test.c"
    path.write_text(path.read_text().replace('\\"Ada\\"}");', '\\"Bo\\"}");'))
    with pytest.raises(BuildFailed, match=r"^tests/plugin_test\.c:9: it is \{.*Ada.*\}, not \{.*Bo.*\}"):
        CDriver().unit_tests(guest)


COMPUTING = r"""
#include "dataflare.h"

static bool transform(df_batch *batch, df_error *error) {
  df_expression *a = df_column("a"), *b = df_column("b"), *x = df_column("x"), *s = df_column("s"), *p = df_column("p");
  const struct { const char *name; df_expression *value; } all[] = {
      {"sum", df_add(a, b)},
      {"difference", df_subtract(a, x)},
      {"product", df_multiply(a, df_literal_integer(-3))},
      {"quotient", df_divide(a, b)},
      {"ratio", df_divide(df_cast(a, "double"), b)},
      {"negated", df_call("negate_checked", 1, a)},
      {"size", df_call("abs", 1, a)},
      {"size_of_x", df_call("abs", 1, x)},
      {"equal", df_equal(a, x)},
      {"not_equal", df_call("not_equal", 2, a, b)},
      {"less", df_less(s, df_literal_text("b"))},
      {"less_equal", df_call("less_equal", 2, a, b)},
      {"greater", df_greater(x, a)},
      {"greater_equal", df_call("greater_equal", 2, a, b)},
      {"between", df_between(a, df_literal_integer(-1), b)},
      {"not", df_not(p)},
      {"and", df_and(p, df_less(a, b))},
      {"or", df_or(p, df_less(a, b))},
      {"is_null", df_call("is_null", 1, s)},
      {"filled", df_call("coalesce", 2, a, x)},
      {"chosen", df_call("if_else", 3, p, a, b)},
      {"as_text", df_cast(a, "string")},
      {"as_int32", df_cast(a, "int32")},
  };
  for (size_t i = 0; i < DF_COUNT(all); i++)
    if (!df_put(batch, all[i].name, all[i].value, error)) return false;
  df_integers whole;
  df_numbers real;
  df_texts texts;
  if (!df_integer_column(*batch, "as_int32", &whole, error) || !df_put_integers(batch, "a", whole, error)) return false;
  if (!df_number_column(*batch, "x", &real, error) || !df_put_numbers(batch, "x_again", real, error)) return false;
  if (!df_text_column(*batch, "s", &texts, error) || !df_put_texts(batch, "s", texts, error)) return false;
  if (!df_filter(batch, df_call("is_valid", 1, df_column("b")), error)) return false;
  return df_cast_column(batch, "b", "double", error) && df_slice(batch, 1, df_rows(*batch) - 1, error);
}

const df_transformer df_transformer_plugin = {.transform = transform};
"""
ROWS = [
    {"a": 0, "b": 1, "x": 0.0, "s": "a", "p": True},
    {"a": 7, "b": -2, "x": 7.0, "s": "é", "p": True},
    {"a": -7, "b": 2, "x": 1e300, "s": None, "p": False},
    {"a": None, "b": 3, "x": 0.5, "s": "b", "p": None},
    {"a": 2, "b": None, "x": None, "s": "", "p": True},
    {"a": 5, "b": 9, "x": None, "s": 'q"', "p": None},
]


def test_twin_computes_what_the_host_computes(tmp_path: Path) -> None:
    guest = made(tmp_path, kind="transformer")
    (guest.folder / "plugin.c").write_text(COMPUTING)
    with Host() as host:
        built, _ = build_plugin(guest.folder, host)
        with host.load(built.guest.output, config={}) as plugin:
            started_plugin: Any = plugin.start()
            found = started_plugin.transform(pa.RecordBatch.from_pylist(ROWS))
    assert found.num_rows == 4
    expected = bytes(encode_json_lines(found, 2**20)).decode()
    given = "".join(f"{json.dumps(each, ensure_ascii=False)}\n" for each in ROWS)
    test = f"DF_CHECK_TEXT(df_test_transform({json.dumps(given, ensure_ascii=False)}), "
    test += f"{json.dumps(expected, ensure_ascii=False)});"
    path = guest.folder / "tests" / "plugin_test.c"
    path.write_text(f'#include "dataflare_test.h"\n\nDF_TEST(same) {{\n  df_test_configure("{{}}");\n  {test}\n}}\n')
    assert CDriver().unit_tests(guest) == "1 passed"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ('df_call("utf8_reverse", 1, df_column("s"))', "the twin does not have the function utf8_reverse"),
        ('df_add(df_column("a"), df_column("s"))', "add_checked: column 's' is string, not a number"),
        ('df_divide(df_column("a"), df_literal_integer(0))', "7 and 0 have no result of 64 bits"),
        ('df_cast(df_column("s"), "int64")', "the twin does not have a cast of"),
    ],
)
def test_twin_says_what_it_does_not_have_and_what_is_wrong(tmp_path: Path, value: str, says: str) -> None:
    guest = made(tmp_path, kind="transformer")
    change(guest, 'df_divide(df_cast(df_column(config.of), "double"), df_column(config.to))', value)
    path = guest.folder / "tests" / "plugin_test.c"
    path.write_text(
        '#include "dataflare_test.h"\n\nDF_TEST(it) {\n  df_test_configure("{\\"of\\":\\"a\\",\\"to\\":\\"b\\"}");\n'
        '  df_test_transform("{\\"a\\":7,\\"s\\":\\"x\\"}\\n");\n}\n'
    )
    with pytest.raises(BuildFailed) as caught:
        CDriver().unit_tests(guest)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("int z[2] = {1, 2}; if (z[record->count + 1]) return false;", r"^plugin\.c:15: index 3 out of bounds"),
        ("if (5 / ((int)record->count - 2)) return false;", r"^plugin\.c:15: "),
        ('df_panic("no %s", "more");', r"^plugin\.c:15: no more"),
        ("__builtin_trap();", r"^the test white_space_at_the_ends_goes was ended by SIG"),
        ('return df_fail(error, DF_INVALID_INPUT, "odd");', r"^white_space_at_the_ends_goes: odd, of the record \{"),
    ],
)
def test_what_ends_a_unit_test_is_told_with_its_place(tmp_path: Path, line: str, says: str) -> None:
    guest = made(tmp_path)
    change(guest, "df_error *error) {", f"df_error *error) {{\n  {line}")
    with pytest.raises(BuildFailed, match=says) as caught:
        CDriver().unit_tests(guest)
    assert "\n" not in str(caught.value).partition("\n  hint")[0]


@pytest.mark.slow
def test_trap_in_a_round_names_its_file_and_line_and_the_build_of_packages_stays(tmp_path: Path) -> None:
    guest = made(tmp_path)
    change(guest, "  *keep = ", "  __builtin_trap();\n  *keep = ")
    plugin = guest.folder / "plugin.c"
    line = plugin.read_text().splitlines().index("  __builtin_trap();") + 1
    with Engine(cache_dir=tmp_path / "compiled", debug=True) as engine, Host(engine=engine) as host:
        (found,) = Developing(guest.folder, host, Sample(), sandbox=False, build_timeout_s=900).rounds(once=True)
    assert isinstance(found.error, GuestPanic), found.error
    assert found.error.backtrace[0].startswith(f"process at {plugin}:{line}:")
    assert [path.name for path in (guest.folder / "build").iterdir()] == ["debug"]


@pytest.mark.slow
def test_trap_in_a_case_names_its_file_and_line(tmp_path: Path) -> None:
    guest = made(tmp_path)
    change(guest, "  *keep = ", "  __builtin_trap();\n  *keep = ")
    plugin = guest.folder / "plugin.c"
    line = plugin.read_text().splitlines().index("  __builtin_trap();") + 1
    shutil.rmtree(guest.folder / "tests", ignore_errors=True)
    case = guest.folder / "tests" / "cases" / "it.yaml"
    case.parent.mkdir(parents=True)
    case.write_text("input: [{ name: Ada }]\noutput: [{ name: Ada }]\n")
    done = CliRunner().invoke(app, ["test", str(guest.folder), "--cache-dir", str(tmp_path / "cache")])
    assert done.exit_code == 1 and f"at: process at {plugin}:{line}:" in done.stdout, done.output


def test_machine_without_zig_and_pip_is_told_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("dataflare.toolchain.zig_toolchain._installed", lambda: None)
    monkeypatch.setattr("dataflare.toolchain.zig_toolchain.importlib.util.find_spec", lambda _: None)
    with pytest.raises(ToolchainMissing, match="there is no Zig") as caught:
        zig_tools()
    assert "pip install ziglang==" in caught.value.hint


HOSTILE = r"""
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "dataflare.h"

static int deeper(int level) {
  volatile char pad[256];
  pad[level & 255] = (char)level;
  return level < 0 ? 0 : deeper(level + 1) + pad[level & 255];
}

static bool process(df_value *record, bool *keep, df_error *error) {
  (void)keep;
  const char *what = df_get(record, "do")->text;
  if (!strcmp(what, "assert")) assert(!"this must hold");
  if (!strcmp(what, "abort")) abort();
  if (!strcmp(what, "panic")) df_panic("no %s", "more");
  if (!strcmp(what, "recurse")) printf("%d", deeper(1));
  if (!strcmp(what, "allocate")) for (;;) memset(df_alloc(1 << 20), 1, 1 << 20);
  if (!strcmp(what, "fail")) return df_rate_limited(error, 250);
  return true;
}

const df_processor df_processor_plugin = {.process = process};
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "hostile"
    new_plugin(folder, kind="processor", language="c")
    (folder / "plugin.c").write_text(HOSTILE)
    with Host() as host:
        build_plugin(folder, host)
    return folder / "build" / "hostile.wasm"


@contextmanager
def started(component: Path) -> Iterator[Any]:
    with Host() as host, host.load(component, name="hostile", config={}) as plugin:
        yield plugin.start()


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("assert", "this must hold"),
        ("abort", "unreachable"),
        ("panic", "plugin.c:19: no more"),
        ("recurse", "out of bounds"),
        ("allocate", "out of memory"),
        ("fail", "250"),
    ],
)
def test_what_ends_a_plugin_is_told(hostile: Path, what: str, says: str) -> None:
    with started(hostile) as plugin, pytest.raises(DataflareError) as caught:
        plugin.process(f'{{"do":"{what}"}}')
    assert says in str(caught.value)


def test_records_come_through_as_they_are(hostile: Path) -> None:
    texts = [
        '{"do":"","a":9007199254740993,"b":1e400,"c":-0.0,"d":[1,{"e":null}],"f":true}',
        '{"do":"","é\\"":"\\u0001\\\\ \U0001f600"}',
        '{"do":"","deep":' + "[" * 100 + "]" * 100 + "}",
    ]
    with started(hostile) as plugin:
        assert [plugin.process(each) for each in texts] == texts
        assert plugin.process('{ "do" : "\\ud83d\\ude00\\u00e9\\/" , "do":"" }') == '{"do":""}'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "it is not an object"),
        ('{"do":', "there is no value"),
        ('{"do":01}', "a number is not valid"),
        ('{"do":"\\ud800"}', "an escape that is not valid"),
        ('{"do":""} x', "something follows"),
        ('{"do":' + "[" * 200 + "]" * 200 + "}", "nested too deeply"),
        ('{"a\\u0000b":1}', "a zero byte"),
    ],
)
def test_record_that_is_not_json_is_refused_and_the_plugin_goes_on(hostile: Path, text: str, says: str) -> None:
    with started(hostile) as plugin:
        with pytest.raises(DataflareError, match=says):
            plugin.process(text)
        assert plugin.process('{"do":""}') == '{"do":""}'


def test_memory_of_a_call_goes_with_it(hostile: Path) -> None:
    record = '{"do":"","text":"' + "x" * 1_000_000 + '"}'
    with started(hostile) as plugin:
        for _ in range(300):
            assert plugin.process(record) == record

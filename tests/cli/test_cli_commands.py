from __future__ import annotations

import json

import pytest

import dataflare as package


def test_help_lists_every_command(dataflare):
    result = dataflare("--help")
    assert result.exit_code == 0
    for command in ("run", "inspect", "compile", "bench"):
        assert f"\n  {command} " in result.stdout


def test_without_a_command_the_help_is_shown_and_the_code_is_2(dataflare):
    result = dataflare()
    assert result.exit_code == 2
    assert "Usage: " in result.stdout + result.stderr


def test_version_is_shown(dataflare):
    result = dataflare("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("dataflare ") and package.__name__ == "dataflare"


@pytest.mark.parametrize(
    "arguments", [("nope",), ("run",), ("run", "a", "b"), ("run", "--nope", "a"), ("inspect",), ("compile",)]
)
def test_wrong_command_line_ends_with_2(dataflare, arguments):
    result = dataflare(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Usage: " in result.stderr


def test_unknown_log_level_ends_with_2_and_names_the_levels(dataflare):
    result = dataflare("--log-level", "loud", "inspect", "json-mapper.wasm")
    assert result.exit_code == 2
    assert "'loud' is not one of debug, info, warning, error" in result.stderr


def test_compile_fills_the_cache_once(dataflare, folder):
    first = dataflare("compile", "--cache-dir", "cache", "json-mapper.wasm")
    second = dataflare("compile", "--cache-dir", "cache", "json-mapper.wasm")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "json-mapper.wasm: compiled in " in first.stdout
    assert "json-mapper.wasm: compiled already" in second.stdout
    assert len(list((folder / "cache/compiled").glob("*.cwasm"))) == 1


def test_cache_is_listed_and_cleared(dataflare, folder):
    dataflare("compile", "--cache-dir", "cache", "json-mapper.wasm")
    listed = json.loads(dataflare("cache", "list", "--json", "--cache-dir", "cache").stdout)
    (entry,) = listed["entries"]
    assert entry["plugin"] == "json-mapper" and entry["size_bytes"] == listed["size_bytes"] > 0
    assert "1 compiled plugins" in dataflare("cache", "list", "--cache-dir", "cache").stdout
    cleared = json.loads(dataflare("cache", "clear", "--json", "--cache-dir", "cache").stdout)
    assert (cleared["removed"], cleared["size_bytes"]) == (1, listed["size_bytes"])
    assert dataflare("cache", "clear", "--cache-dir", "cache").stdout.startswith("removed 0 compiled plugins, 0 B")


def test_cache_that_cannot_be_used_ends_with_2_and_names_the_variable(dataflare, folder):
    (folder / "file").write_text("")
    result = dataflare("cache", "list", "--cache-dir", "file")
    assert result.exit_code == 2 and "DATAFLARE_CACHE" in result.stderr


def test_compile_goes_on_after_a_file_that_is_no_component_and_ends_with_3(dataflare, folder):
    (folder / "bad.wasm").write_text("text")
    result = dataflare("compile", "--json", "bad.wasm", "json-mapper.wasm")
    bad, good = json.loads(result.stdout)["components"]
    assert result.exit_code == 3
    assert bad["error"]["type"] == "NotAComponent"
    assert good["digest"].startswith("sha256:")


def test_compile_with_fuel_makes_both_kinds_of_code(dataflare):
    result = dataflare("compile", "--fuel", "--json", "--cache-dir", "cache", "json-mapper.wasm")
    assert [each["fuel"] for each in json.loads(result.stdout)["components"]] == [False, True]


def test_bench_measures_rows_and_calls(dataflare, folder):
    config = '{"columns": [{"name": "next", "op": "add", "left": "order", "right": 1}]}'
    result = dataflare(
        "bench", "derive-columns.wasm", "--config", config, "--data", "orders.csv", "--seconds", "0.1", "--json"
    )
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert (document["plugin"], document["kind"]) == ("derive-columns", "transformer")
    assert document["calls"] > 0 and document["rows"] >= document["calls"]


def test_bench_without_the_grant_ends_with_4(dataflare):
    result = dataflare("bench", "csv-source.wasm", "--config", '{"path": "data/orders.csv"}', "--seconds", "0.1")
    assert result.exit_code == 4
    assert "it needs files" in result.stderr


@pytest.mark.parametrize("command", ["check", "discover", "bench", "conformance run"])
def test_hint_for_what_is_not_granted_names_the_option_of_the_command(dataflare, command):
    result = dataflare(*command.split(), "csv-source.wasm")
    assert result.exit_code == 4
    assert "hint: if it may use it, give --grant files:NAME=DIRECTORY\n" in result.stderr

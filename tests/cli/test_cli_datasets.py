from __future__ import annotations

import json

SOURCE = ("csv-source.wasm", "--config", '{"path": "data"}', "--grant", "files:data=.")
TARGET = ("jsonl-destination.wasm", "--config", '{"path": "out/"}', "--grant", "files:write:out=.")


def test_discover_lists_datasets_with_their_columns(dataflare, folder):
    (folder / "words.csv").write_text("word\none\n")
    result = dataflare("discover", *SOURCE)
    assert result.exit_code == 0, result.stderr
    assert "orders.csv (full, splittable)" in result.stdout
    document = json.loads(dataflare("discover", *SOURCE, "--json").stdout)
    assert [each["name"] for each in document["datasets"]] == ["orders.csv", "words.csv"]
    assert document["datasets"][1]["columns"] == [{"name": "word", "type": "string", "nullable": True}]


def test_discover_tells_what_a_destination_can_do(dataflare):
    result = dataflare("discover", *TARGET, "--json")
    assert json.loads(result.stdout) == {"abilities": ["add-columns", "append", "replace", "widen-columns"]}


def test_discover_of_a_plugin_without_datasets_ends_with_2(dataflare):
    result = dataflare("discover", "json-mapper.wasm")
    assert result.exit_code == 2
    assert "is a processor, which has no datasets" in result.stderr


def test_check_tells_whether_a_plugin_is_ready(dataflare):
    result = dataflare("check", *SOURCE)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == ["csv-source 1.0.0, a source, is healthy", "datasets: orders.csv"]
    assert json.loads(dataflare("check", *TARGET, "--json").stdout)["health"] == "healthy"


def test_check_of_a_configuration_that_is_refused_ends_with_1(dataflare):
    result = dataflare("check", "csv-source.wasm", "--config", '{"path": "data/nothing"}', "--grant", "files:data=.")
    assert result.exit_code == 1
    assert "path: data/nothing: not found" in result.stderr


def test_check_without_the_grant_ends_with_4(dataflare):
    assert dataflare("check", *SOURCE[:3]).exit_code == 4

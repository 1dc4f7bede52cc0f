from __future__ import annotations

import hashlib
import json

import pytest

EMPTY_COMPONENT = b"\0asm\x0d\0\x01\0"
EMPTY_MODULE = b"\0asm\x01\0\0\0"


def test_inspect_tells_kind_metadata_and_what_has_to_be_granted(dataflare):
    result = dataflare("inspect", "csv-source.wasm")
    assert result.exit_code == 0, result.stderr
    found = dict(line.split(None, 1) for line in result.stdout.splitlines() if not line.startswith(" "))
    assert found["kind"].strip() == "source"
    assert found["world"].strip() == "dataflare:plugin/source-plugin@1.0.0"
    assert found["name"].strip() == "csv-source 1.0.0"
    assert found["needs"].strip() == "files"
    assert found["WASI"].strip() == "none"


def test_inspect_as_json_has_digest_size_and_configuration(dataflare, folder):
    content = (folder / "json-mapper.wasm").read_bytes()
    result = dataflare("inspect", "--json", "json-mapper.wasm")
    document = json.loads(result.stdout)
    assert (result.exit_code, document["kind"], document["capabilities"]) == (0, "processor", [])
    assert document["digest"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert document["size_bytes"] == len(content)
    assert json.loads(document["metadata"]["config_schema"])["type"] == "object"
    assert "dataflare:plugin/processor@1.0.0" in document["exports"]


def test_static_inspection_compiles_nothing(dataflare, folder):
    result = dataflare("inspect", "--static", "--json", "--cache-dir", "cache", "csv-source.wasm")
    document = json.loads(result.stdout)
    assert (result.exit_code, document["kind"], document["metadata"]) == (0, "source", None)
    assert list((folder / "cache").rglob("*.cwasm")) == []


def test_component_for_no_world_ends_with_3_and_says_why(dataflare, folder):
    (folder / "empty.wasm").write_bytes(EMPTY_COMPONENT)
    result = dataflare("inspect", "empty.wasm")
    assert result.exit_code == 3
    assert "a plugin of no world" in result.stdout
    assert "the export dataflare:plugin/lifecycle@1.0.0 is missing" in result.stdout


def test_component_for_no_world_as_json_lists_the_problems(dataflare, folder):
    (folder / "empty.wasm").write_bytes(EMPTY_COMPONENT)
    result = dataflare("inspect", "--json", "empty.wasm")
    document = json.loads(result.stdout)
    assert (result.exit_code, document["kind"], document["worlds"]) == (3, None, [])
    assert len(document["problems"]) == 2


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"", "is empty"), (b"text", "not WebAssembly"), (EMPTY_MODULE, "core WebAssembly module")],
)
def test_what_is_no_component_ends_with_3(dataflare, folder, content, why):
    (folder / "bad.wasm").write_bytes(content)
    result = dataflare("inspect", "bad.wasm")
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith("error: bad.wasm: ") and why in result.stderr


def test_component_that_is_cut_short_ends_with_3(dataflare, folder):
    content = (folder / "csv-source.wasm").read_bytes()
    (folder / "cut.wasm").write_bytes(content[: len(content) // 2])
    result = dataflare("inspect", "cut.wasm")
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith("error: cut.wasm: is cut short or damaged")


def test_file_that_is_absent_ends_with_2_as_text_and_as_json(dataflare):
    result = dataflare("inspect", "--json", "absent.wasm")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["type"] == "ConfigError"
    assert result.stderr == "error: absent.wasm: cannot be read: No such file or directory\n"


def test_brackets_in_a_name_are_shown_as_they_are(dataflare, folder):
    (folder / "[red]x[bold].wasm").write_bytes((folder / "json-mapper.wasm").read_bytes())
    result = dataflare("inspect", "--static", "[red]x[bold].wasm")
    assert result.exit_code == 0
    assert "[red]x[bold].wasm" in result.stdout


def test_lines_of_tables_end_without_blanks(dataflare):
    shown = dataflare("inspect", "--static", "csv-source.wasm").stdout
    assert "imports" in shown and [line for line in shown.splitlines() if line != line.rstrip()] == []

from __future__ import annotations

import json

import pytest
from rich.cells import cell_len

from cli_terminal import Terminal
from dataflare.cli.run_report import show_report
from dataflare.pipeline.report import NodeReport, RunReport

COPY = """\
  read: { connector: csv, read: orders.csv }
  write: { connector: jsonl, input: read, write: out/orders.jsonl }
"""
PRICE = """\
  read: { connector: csv, read: orders.csv }
  price:
    plugin: derive-columns.wasm
    input: read
    config: { columns: [{ name: each, op: OP, left: amount, right: quantity }] }
  write: { connector: jsonl, input: price, write: out/orders.jsonl }
"""
SOURCE = """\
  read:
    plugin: csv-source.wasm
    config: { path: data/orders.csv }
    grants: GRANTS
  write: { connector: jsonl, input: read, write: out/orders.jsonl }
"""


def test_run_writes_the_output_and_a_table_of_the_nodes(dataflare, pipeline, folder):
    result = dataflare("run", pipeline(PRICE.replace("OP", "divide")))
    assert result.exit_code == 0, result.stderr
    lines = (folder / "out/orders.jsonl").read_text().splitlines()
    assert [json.loads(line)["each"] for line in lines] == [3.125, None, 5.0]
    for word in ("pipeline orders", "read", "price", "write", "3 rows in, 3 rows out in"):
        assert word in result.stdout
    assert result.stderr == ""


def test_run_as_json_is_one_document_with_the_report(dataflare, pipeline):
    result = dataflare("run", "--json", pipeline(COPY))
    report = json.loads(result.stdout)
    assert (result.exit_code, report["pipeline"], report["status"]) == (0, "orders", "completed")
    assert [(node["name"], node["kind"], node["rows_out"]) for node in report["nodes"]] == [
        ("read", "source", 3),
        ("write", "destination", 3),
    ]
    assert "error" not in report


def test_check_loads_and_writes_nothing(dataflare, pipeline, folder):
    result = dataflare("run", "--check", pipeline(COPY))
    assert (result.exit_code, result.stdout.strip()) == (0, "pipeline.yaml: 2 nodes, valid")
    assert not (folder / "out").exists()


def test_check_as_json_gives_the_order_of_the_nodes(dataflare, pipeline):
    result = dataflare("run", "--check", "--json", pipeline("\n".join(reversed(COPY.splitlines()))))
    assert json.loads(result.stdout) == {"pipeline": "orders", "status": "valid", "order": ["read", "write"]}


def test_wrong_key_ends_with_2_and_names_line_and_likely_key(dataflare, pipeline):
    result = dataflare("run", pipeline(COPY.replace("input:", "inptu:")))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        "error: pipeline.yaml:4: nodes.write.inptu: unknown key",
        "  hint: did you mean 'input'?",
    ]


def test_wrong_pipeline_as_json_is_a_document_with_the_error(dataflare, pipeline):
    result = dataflare("run", "--json", pipeline(COPY.replace("input:", "inptu:")))
    document = json.loads(result.stdout)
    assert (result.exit_code, document["status"]) == (2, "failed")
    assert document["error"] == {
        "type": "ConfigError",
        "message": "pipeline.yaml:4: nodes.write.inptu: unknown key",
        "hint": "did you mean 'input'?",
        "where": "pipeline.yaml:4",
    }
    assert "unknown key" in result.stderr


@pytest.mark.parametrize("name", ["absent.yaml", "."])
def test_pipeline_that_cannot_be_read_ends_with_2(dataflare, name):
    result = dataflare("run", name)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {name}: cannot be read: ")


@pytest.mark.parametrize("content", [b"", b"\xff", b"- a\n", b"name: [", b"name: a\nname: b\n"])
def test_what_is_no_pipeline_ends_with_2_and_one_error(dataflare, folder, content):
    (folder / "bad.yaml").write_bytes(content)
    result = dataflare("run", "bad.yaml")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: bad.yaml")
    assert "Traceback" not in result.stderr


def test_plugin_that_refuses_its_configuration_ends_with_1_and_leaves_no_output(dataflare, pipeline, folder):
    result = dataflare("run", pipeline(PRICE.replace("OP", "divid")))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: pipeline.yaml:7: node 'price' failed: plugin 'price', ")
    assert "invalid-config" in result.stderr and "hint: change the plugin's configuration" in result.stderr
    assert list((folder / "out").glob("*")) == [] if (folder / "out").exists() else True


def test_wrong_row_ends_with_1_names_its_line_and_keeps_the_file_from_before(dataflare, pipeline, folder):
    path = pipeline(COPY)
    dataflare("run", path)
    before = (folder / "out/orders.jsonl").read_text()
    (folder / "orders.csv").write_text("order,amount\n1,2\n3\n")
    result = dataflare("run", path)
    assert result.exit_code == 1
    assert f"{folder}/orders.csv:3: " in result.stderr
    assert (folder / "out/orders.jsonl").read_text() == before
    assert [each.name for each in (folder / "out").iterdir()] == ["orders.jsonl"]


def test_failed_run_as_json_has_report_error_and_cause(dataflare, pipeline):
    result = dataflare("run", "--json", pipeline(PRICE.replace("OP", "divide").replace("left: amount", "left: price")))
    document = json.loads(result.stdout)
    assert (result.exit_code, document["status"], document["error"]["type"]) == (1, "failed", "NodeFailed")
    assert (document["error"]["node"], document["error"]["where"]) == ("price", "pipeline.yaml:4")
    assert document["error"]["cause"]["type"] == "PluginError"
    assert document["error"]["cause"]["export"] == "dataflare:plugin/transformer@1.0.0#output-schema"
    assert [(node["name"], node["errors"]) for node in document["nodes"]] == [("read", 0), ("price", 1), ("write", 0)]


def test_fault_as_json_has_the_backtrace(dataflare, pipeline):
    nodes = PRICE.replace("OP", "divide").replace("    input: read", "    input: read\n    limits: { fuel: 1000 }")
    result = dataflare("run", "--json", pipeline(nodes))
    cause = json.loads(result.stdout)["error"]["cause"]
    assert (result.exit_code, cause["type"]) == (1, "OutOfFuel")
    assert isinstance(cause["backtrace"], list) and isinstance(cause["log_lines"], list)


def test_plugin_without_its_grant_ends_with_4(dataflare, pipeline):
    result = dataflare("run", pipeline(SOURCE.replace("GRANTS", "{}")))
    assert (result.exit_code, result.stdout) == (4, "")
    assert "plugin 'read': it needs files, which is not granted to it" in result.stderr


def test_plugin_with_its_grant_runs(dataflare, pipeline, folder):
    result = dataflare("run", pipeline(SOURCE.replace("GRANTS", "{ files: { data: { path: . } } }")))
    assert result.exit_code == 0, result.stderr
    assert len((folder / "out/orders.jsonl").read_text().splitlines()) == 3


def test_granted_directory_that_is_absent_ends_with_2(dataflare, pipeline):
    result = dataflare("run", pipeline(SOURCE.replace("GRANTS", "{ files: { data: { path: absent } } }")))
    assert result.exit_code == 2
    assert "absent: No such file or directory" in result.stderr


def test_plugin_that_is_no_component_ends_with_3(dataflare, pipeline, folder):
    (folder / "derive-columns.wasm").write_text("no component")
    result = dataflare("run", pipeline(PRICE.replace("OP", "divide")))
    assert result.exit_code == 3
    assert result.stderr.startswith("error: pipeline.yaml:5: node 'price' failed: ")
    assert "is not WebAssembly" in result.stderr


@pytest.mark.parametrize(
    ("file", "what", "hint"),
    [
        ("derive-columns.wasm", "is WebAssembly, not YAML", "plugin: FILE"),
        ("orders.csv", "is not a pipeline", "dataflare schema FILE"),
    ],
)
def test_another_file_than_a_pipeline_says_what_to_do_with_it(dataflare, folder, file, what, hint):
    result = dataflare("run", file)
    assert (result.exit_code, what in result.stderr, hint in result.stderr) == (2, True, True)


def test_plugin_in_the_place_of_another_kind_ends_with_2(dataflare, pipeline):
    result = dataflare("run", pipeline(COPY.replace("connector: csv, read: orders.csv", "plugin: json-mapper.wasm")))
    assert result.exit_code == 2
    assert "node 'read' is a processor, and has no input" in result.stderr


def test_cache_dir_takes_the_compiled_plugins(dataflare, pipeline, folder):
    result = dataflare("run", "--cache-dir", "cache", pipeline(PRICE.replace("OP", "divide")))
    assert result.exit_code == 0, result.stderr
    assert list((folder / "cache/compiled").glob("*.cwasm")) != []


def test_cache_that_others_can_write_ends_with_2(dataflare, pipeline, folder):
    (folder / "cache/compiled").mkdir(parents=True)
    (folder / "cache/compiled").chmod(0o777)
    result = dataflare("run", "--cache-dir", "cache", pipeline(COPY))
    assert result.exit_code == 2
    assert "can be written by others" in result.stderr and "chmod 700" in result.stderr


def shown(report, *, verbose=False):
    stream = Terminal(80)
    show_report(stream.screen(), report, verbose=verbose)
    return stream.plain()


def test_report_tells_which_rules_were_broken_and_how_often():
    node = NodeReport("check", "validator", "v.wasm", rows_in=5, rows_out=4)
    node.violations.update({"positive": 1234, "present": 0})
    text = shown(RunReport("orders", [node]))
    assert "check: positive 1,234" in text
    assert "present" not in text


def test_report_shows_names_of_rules_as_they_are():
    node = NodeReport("check", "validator", "v.wasm", rows_in=5, rows_out=4)
    node.violations.update({"[/red]": 1, "[bold]x": 2})
    text = shown(RunReport("orders", [node]))
    assert "[/red] 1" in text and "[bold]x 2" in text


@pytest.mark.parametrize("verbose", [False, True])
def test_report_fits_80_columns_with_all_of_its_figures(verbose):
    node = NodeReport("a-name-of-some-length", "transformer", "v.wasm", rows_in=123_456_789, rows_out=123_456_788)
    node.bytes, node.seconds, node.guest_seconds, node.bytes_in = 2**38, 3599.0, 1.5, 2**37
    lines = shown(RunReport("orders", [node], seconds=1), verbose=verbose).splitlines()
    assert max(map(cell_len, lines)) <= 80
    text = "\n".join(lines)
    for figure in ("a-name-of-some-length", "123,456,789", "123,456,788", "59 min 59 s"):
        assert figure in text
    assert ("256.0 GiB" in text) == ("transformer" in text) == ("1.50 s" in text) == verbose


def test_quiet_run_prints_nothing(dataflare, pipeline):
    result = dataflare("run", "--quiet", pipeline(COPY))
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert dataflare("run", "--quiet", "--check", pipeline(COPY)).stdout == ""


def test_quiet_run_prints_errors(dataflare, pipeline):
    assert dataflare("run", "--quiet", pipeline(COPY.replace("input:", "inptu:"))).stderr.startswith("error: ")


def test_debug_log_tells_what_host_and_nodes_do(dataflare, pipeline):
    result = dataflare("--log-level", "debug", "run", pipeline(PRICE.replace("OP", "divide")))
    assert result.exit_code == 0
    for text in (
        "DEBUG dataflare.host: plugin 'price': a transformer from ",
        "DEBUG dataflare.pipeline: node 'read': a source, csv",
        "DEBUG dataflare.pipeline: node 'price': 3 rows in, 3 rows out in ",
        "DEBUG dataflare.pipeline: node 'write': finished",
    ):
        assert text in result.stderr

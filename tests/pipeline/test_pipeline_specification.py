from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.errors import ConfigError
from dataflare.limits import Limits
from dataflare.pipeline.connectors.registry import BUILT_IN
from dataflare.pipeline.models import Pipeline, PluginNode
from dataflare.pipeline.rehearsal import origins_of, rehearse
from dataflare.pipeline.run_errors import DataError
from dataflare.pipeline.specification import json_schema, load_specification, parse_specification

READ = "  in: {connector: csv, read: in.csv}\n"
WRITE = "  out: {connector: parquet, write: out.parquet, input: in}\n"


def refuse(specify, nodes: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        specify(nodes)
    return caught.value


def line_of(error: ConfigError) -> int:
    return int(error.where.rpartition(":")[2])


def test_nodes_are_ordered_each_after_its_input(specify):
    specification = specify(
        "  out: {connector: csv, write: a.csv, input: middle}\n  middle: {plugin: transformer.wasm, input: in}\n" + READ
    )
    assert specification.order == ("in", "middle", "out")
    assert specification.consumers("in") == ("middle",)
    assert specification.consumers("out") == ()


def test_everything_that_can_be_said_of_a_plugin_is_read(specify, tmp_path):
    specification = specify(
        """  in:
    plugin: source.wasm
    config: {path: data/x.csv, deep: {list: [1, 2.5, null, true]}}
    grants:
      files: {data: {path: sub}, out: {path: /tmp, access: write}}
      state: true
      clock: true
      metrics: true
      random: true
      random_seed: 7
    limits: {memory: 64MiB, call_timeout: 1.5s, fuel: 1000}
  check:
    plugin: validator.wasm
    input: in
    on_violation: {warning: fail, error: drop}
    violations: bad.jsonl
"""
    )
    node, check = specification.pipeline.nodes["in"], specification.pipeline.nodes["check"]
    assert isinstance(node, PluginNode)
    assert isinstance(check, PluginNode)
    assert node.config == {"path": "data/x.csv", "deep": {"list": [1, 2.5, None, True]}}
    grants, limits = specification.grants["in"], specification.limits["in"]
    assert {name: (grant.path, grant.writable) for name, grant in grants.files.items()} == {
        "data": (tmp_path / "sub", False),
        "out": (Path("/tmp").resolve(), True),
    }
    assert (grants.state, grants.clock, grants.metrics, grants.random, grants.random_seed) == (
        True,
        True,
        True,
        True,
        7,
    )
    assert (limits.memory_bytes, limits.call_timeout_s, limits.fuel) == (64 * 2**20, 1.5, 1000)
    assert check.actions.model_dump() == {"info": "keep", "warning": "fail", "error": "drop"}
    assert specification.grants["check"].capabilities == frozenset()


def test_options_of_a_connector_are_read(specify):
    specification = specify(
        "  in: {connector: csv, read: in.csv, options: {batch_rows: 10, delimiter: ';', columns: {a: int32}}}\n" + WRITE
    )
    node = specification.pipeline.nodes["in"]
    assert isinstance(node, BUILT_IN["csv"].read_node)
    assert (node.options.batch_rows, node.options.delimiter, node.options.columns) == (10, ";", {"a": "int32"})
    assert node.options.nulls == [""]


def test_what_reaches_beyond_the_machine_is_granted_by_name(specify):
    specification = specify(
        """  in:
    plugin: source.wasm
    grants:
      http:
        https://api.example.com:
          methods: [POST]
          request_headers: any
          secrets: {authorization: "Bearer {api-token}"}
          addresses: [10.0.0.0/8]
          max_request: 2MiB
          max_response: 1kB
          max_redirects: 0
          timeout: 500ms
          requests_per_s: 2.5
          burst: 3
        http://localhost:8080: {methods: [GET, HEAD], request_headers: [accept]}
      secrets: [api-token]
      plugins: [helper]
      shared: {rates: read}
      tasks: true
  helper: {plugin: processor.wasm}
  out: {plugin: destination.wasm, input: in}
"""
    )
    grants = specification.grants["in"]
    assert set(grants.http) == {"https://api.example.com", "http://localhost:8080"}
    grant = grants.http["https://api.example.com"]
    assert (grant.methods, grant.request_headers, dict(grant.secrets), grant.addresses) == (
        {"POST"},
        "any",
        {"authorization": "Bearer {api-token}"},
        {"10.0.0.0/8"},
    )
    assert (grant.max_request_bytes, grant.max_response_bytes, grant.max_redirects) == (2 * 2**20, 1000, 0)
    assert (grant.timeout_s, grant.requests_per_s, grant.burst) == (0.5, 2.5, 3)
    assert grants.http["http://localhost:8080"].request_headers == {"accept"}
    assert grants.http["http://localhost:8080"].methods == {"GET", "HEAD"}
    assert (grants.secrets, grants.plugins, dict(grants.shared), grants.tasks) == (
        {"api-token"},
        {"helper"},
        {"rates": "read"},
        True,
    )
    specification.check_kinds({"in": "source", "helper": "processor", "out": "destination"})
    assert [specification.moves_rows(name) for name in ("in", "helper", "out")] == [True, False, True]


ANY = "http:\n        https://x:\n          methods: any\n          "


@pytest.mark.parametrize(
    ("grant", "line", "words"),
    [
        ("http: {ftp://x: {}}", 6, "not of the form https://host"),
        ("http:\n        https://*.example.com: {methods: [GET]}", 7, "not a host name"),
        ("http:\n        https://x: {}", 7, "methods is missing"),
        ("http:\n        https://X.example.com:443: {methods: [GET]}", 7, "write 'https://x.example.com'"),
        ("http:\n        https://x:\n          methods: [TRACE]", 8, "cannot be granted"),
        ("http:\n        https://x:\n          methods: TRACE", 8, "give a list"),
        (
            "http:\n        https://x:\n          methods: any\n          request_headers: all",
            9,
            "give a list, not 'all'",
        ),
        (
            "http:\n        https://x:\n          methods: any\n          request_headers: [1]",
            9,
            "request_headers.0: give a text",
        ),
        (ANY + "timeout: 5", 9, "has no unit"),
        (ANY + "timeout: 2h", 9, "not in (0, 3600]"),
        ("files:\n        d: {path: ., writable: true}", 7, "writable: unknown key"),
        ("http:\n        https://x:\n          header: []", 8, "unknown key"),
        ("secrets: [A]", 6, "secrets.0: this is not of the form"),
        ("shared: {a: execute}", 6, "'execute' is not one of"),
        ("plugins:\n        - nobody", 7, "there is no plugin 'nobody' to call"),
        ("plugins:\n        - out", 7, "there is no plugin 'out' to call"),
        ("plugins: [in]", 6, "in a circle: in -> in"),
    ],
)
def test_a_grant_that_cannot_be_is_named_with_its_line(specify, grant, line, words):
    error = refuse(specify, "  in:\n    plugin: source.wasm\n    grants:\n      " + grant + "\n" + WRITE)
    assert (line_of(error), words in error.message) == (line, True), str(error)


def test_only_what_maps_batches_can_be_called(specify):
    specification = specify(
        "  in:\n    plugin: source.wasm\n    grants:\n      plugins: [second]\n  second: {plugin: second.wasm}\n"
        + WRITE
    )
    with pytest.raises(ConfigError, match="a validator, which other plugins cannot call") as caught:
        specification.check_kinds({"in": "source", "second": "validator"})
    assert line_of(caught.value) == 6


@pytest.mark.parametrize(
    ("action", "actions"),
    [
        ("", {"info": "keep", "warning": "keep", "error": "fail"}),
        (", on_violation: drop", {"info": "keep", "warning": "keep", "error": "drop"}),
        (", on_violation: {warning: drop}", {"info": "keep", "warning": "drop", "error": "fail"}),
    ],
)
def test_errors_fail_and_the_rest_is_kept_unless_it_is_said(specify, action, actions):
    node = specify(f"{READ}  check: {{plugin: validator.wasm, input: in{action}}}\n").pipeline.nodes["check"]
    assert isinstance(node, PluginNode)
    assert node.actions.model_dump() == actions


@pytest.mark.parametrize(
    ("nodes", "line", "words", "hint"),
    [
        (READ + WRITE.replace("input", "inputs"), 4, "nodes.out.inputs: unknown key", "'input'"),
        (READ + WRITE.replace("input: in", "input: [in, in]"), 4, "in is an input twice", "once"),
        (READ + WRITE.replace("input: in", "input: []"), 4, "nodes.out.input", ""),
        (READ + WRITE.replace("input: in", "input: [in, inn]"), 4, "there is no node 'inn'", "'in'"),
        (READ + WRITE.replace("input: in", "input: inn"), 4, "there is no node 'inn'", "'in'"),
        (READ + WRITE.replace(", input: in", ""), 4, "nodes.out.input is missing", ""),
        (READ.replace("csv,", "cvs,") + WRITE, 3, "no connector 'cvs'", "'csv'"),
        (READ.replace("csv,", "[csv],") + WRITE, 3, "no connector ['csv']", "'csv'"),
        (READ.replace("read", "raed") + WRITE, 3, "reads or writes, and this one has neither", "'read' with 'raed'"),
        (READ.replace("read", "write: x, read") + WRITE, 3, "reads or writes, and this one has both", ""),
        (READ.replace("read", "input: out, read") + WRITE, 3, "takes no input", ""),
        (READ.replace("connector: csv", "conector: csv") + WRITE, 3, "has neither plugin nor connector", "'connector'"),
        (READ.replace("connector", "plugin: x.wasm, connector") + WRITE, 3, "has both plugin and connector", ""),
        (READ + WRITE + "  In: {connector: csv, read: x}\n", 5, "'In' is not of the form", ""),
        (READ + WRITE + "  x:\n", 5, "give a mapping", ""),
        (READ + WRITE + "  x: [1]\n", 5, "give a mapping", ""),
        (READ + WRITE + "  x: {plugin: sorce.wasm}\n", 5, "is not there", "'source.wasm'"),
        (READ + WRITE + "  x: {plugin: none/x.wasm}\n", 5, "is not there", "build it first"),
        (READ + WRITE + "  x: {plugin: 3}\n", 5, "nodes.x.plugin: give a text, not 3", 'in quotes it is a text: "3"'),
        (READ + WRITE + "  x: {plugin: ''}\n", 5, "nodes.x.plugin", ""),
        (READ + WRITE + '  x: {plugin: "a\\0b"}\n', 5, "nodes.x.plugin", ""),
        (READ + WRITE + "  x:\n    plugin: source.wasm\n    config: 3\n", 7, "nodes.x.config: give a mapping", ""),
        (
            READ + WRITE + "  x:\n    plugin: source.wasm\n    limits:\n      memory: 256\n",
            8,
            "256 has no unit",
            "256MiB",
        ),
        (READ + WRITE + "  x:\n    plugin: source.wasm\n    limits:\n      memory: a lot\n", 8, "is not a size", ""),
        (READ + WRITE + "  x:\n    plugin: source.wasm\n    limits:\n      memory: 0B\n", 8, "at least 1", ""),
        (
            READ + WRITE + "  x:\n    plugin: source.wasm\n    limits:\n      call_timeout: 2h\n",
            8,
            "not in (0, 3600]",
            "",
        ),
        (READ + WRITE + "  x:\n    plugin: source.wasm\n    limits:\n      call_timeout: true\n", 8, "give a text", ""),
        (READ + WRITE + "  x:\n    plugin: source.wasm\n    limits:\n      fuel: 1.5\n", 8, "give a whole number", ""),
        (READ + WRITE + "  x:\n    plugin: source.wasm\n    limits:\n      fuel: 0\n", 8, "greater than or equal", ""),
        (READ + WRITE + "  x:\n    plugin: source.wasm\n    grants:\n      state: 1\n", 8, "give true or false", ""),
        (READ + WRITE + "  x:\n    plugin: source.wasm\n    grants:\n      network: true\n", 8, "unknown key", ""),
        (
            READ + WRITE + "  x:\n    plugin: source.wasm\n    grants:\n      files: {X: {path: .}}\n",
            8,
            "'X' is not of",
            "",
        ),
        (READ + WRITE + "  x:\n    plugin: source.wasm\n    grants:\n      files: {x: .}\n", 8, "give a mapping", ""),
        (
            READ + WRITE + "  x:\n    plugin: source.wasm\n    grants:\n      random_seed: 7\n",
            8,
            "without random",
            "random",
        ),
        (READ + WRITE + "  x:\n    plugin: source.wasm\n    on_violation: drp\n", 7, "'drp' is not one of", ""),
        (
            READ + WRITE + "  x:\n    plugin: source.wasm\n    on_violation:\n      eror: keep\n",
            8,
            "unknown",
            "'error'",
        ),
        (READ + WRITE + "  x:\n    plugin: source.wasm\n    on_violation:\n      error: 1\n", 8, "1 is not one of", ""),
        (READ.replace("}", ", options: {batch_rows: 0}}") + WRITE, 3, "greater than or equal to 1", ""),
        (READ.replace("}", ", options: {batch_rows: 18446744073709551615}}") + WRITE, 3, "less than or equal", ""),
        (READ.replace("}", ", options: {batch_rows: '5'}}") + WRITE, 3, "give a whole number, not '5'", ""),
        (READ.replace("}", ", options: {columns: {a: in64}}}") + WRITE, 3, "nodes.in.options.columns.a", "int64"),
        (READ.replace("}", ", options: {delimiter: ab}}") + WRITE, 3, "nodes.in.options.delimiter", ""),
        (READ.replace("}", ", options: {seperator: x}}") + WRITE, 3, "unknown key", "delimiter"),
        (READ + WRITE.replace("}", ", options: {compression: rar}}"), 4, "'rar' is not one of", ""),
        (READ + WRITE + WRITE.replace("out:", "two:"), 5, "nodes 'out' and 'two' both write", "file of its own"),
        (READ + WRITE + "  x: {connector: csv, write: y, input: out}\n", 5, "from 'out', which writes", "'in'"),
        (READ + WRITE + "  x: {connector: csv, read: y}\n", 5, "the rows of node 'x' go nowhere", "input: x"),
        ("  in: {plugin: source.wasm, input: in}\n", 3, "'in' takes from 'in'", "outside of the circle"),
        ("", 2, "nodes: give a mapping, not null", ""),
        ("  {}\n", 2, "give at least one", ""),
    ],
)
def test_a_mistake_is_named_with_its_line_and_what_to_do(specify, nodes, line, words, hint):
    error = refuse(specify, nodes)
    assert (line_of(error), words in error.message, hint in error.hint) == (line, True, True), str(error)


def test_a_circle_is_named(specify):
    error = refuse(
        specify,
        READ
        + WRITE
        + "".join(f"  {one}: {{plugin: processor.wasm, input: {other}}}\n" for one, other in ("ab", "bc", "ca")),
    )
    assert "'a' takes from 'b' takes from 'c' takes from 'a'" in str(error)
    assert line_of(error) == 5


def test_all_mistakes_in_keys_and_types_are_told_at_once(specify):
    error = refuse(specify, READ.replace("read", "raed") + WRITE.replace("input", "inptu") + "  x: 3\n")
    assert [text.split(":")[1] for text in str(error).splitlines() if "pipeline.yaml:" in text] == ["3", "4", "5"]


def test_a_key_that_is_there_twice_is_refused(specify):
    error = refuse(specify, READ + WRITE + READ)
    assert line_of(error) == 5
    assert "first in line 3" in str(error)


@pytest.mark.parametrize("text", ["- 1\n", "3\n", "null\n", "name: a\n", "nodes: {}\n", "name: A b\nnodes: {}\n"])
def test_what_is_no_pipeline_is_refused(text, tmp_path):
    with pytest.raises(ConfigError) as caught:
        parse_specification(text, file=tmp_path / "p.yaml")
    assert caught.value.where.startswith(f"{tmp_path}/p.yaml:")


def test_templates_are_no_paths_of_their_own(specify, tmp_path):
    specification = specify("  in: {connector: csv, read: '$${HOME}/in.csv'}\n" + WRITE)
    node = specification.pipeline.nodes["in"]
    assert isinstance(node, BUILT_IN["csv"].read_node)
    assert specification.path(node.read) == tmp_path / "${HOME}" / "in.csv"


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        load_specification(tmp_path / "none.yaml")
    assert caught.value.where == str(tmp_path / "none.yaml")


def test_a_file_is_loaded_with_paths_from_its_folder(tmp_path):
    (tmp_path / "p.yaml").write_text(f"name: a\nnodes:\n{READ}{WRITE}")
    assert load_specification(tmp_path / "p.yaml").path("x/../in.csv") == tmp_path / "in.csv"


@pytest.mark.parametrize(
    ("kind", "nodes", "line", "words"),
    [
        ("source", READ + WRITE + "  x: {plugin: source.wasm,\n input: in}\n", 6, "is a source, and takes no input"),
        ("processor", READ + WRITE + "  x: {plugin: processor.wasm}\n", 5, "is a processor, and has no input"),
        ("transformer", READ + WRITE + "  x: {plugin: second.wasm, input: in}\n", 5, "a transformer, go nowhere"),
        ("source", READ + WRITE + "  x: {plugin: source.wasm}\n", 5, "a source, go nowhere"),
        (
            "destination",
            READ + "  x: {plugin: second.wasm, input: in}\n" + WRITE.replace("input: in", "input: x"),
            5,
            "takes its rows from 'x', a destination",
        ),
        (
            "processor",
            READ
            + "  x:\n    plugin: second.wasm\n    input: in\n    on_violation: drop\n"
            + WRITE.replace(": in}", ": x}"),
            7,
            "`on_violation` is only for validators",
        ),
        (
            "destination",
            READ + "  x:\n    plugin: second.wasm\n    input: in\n    violations: v.jsonl\n",
            7,
            "`violations` is only for validators",
        ),
    ],
)
def test_a_plugin_whose_kind_does_not_fit_its_place_is_refused(specify, kind, nodes, line, words):
    specification = specify(nodes)
    with pytest.raises(ConfigError) as caught:
        specification.check_kinds({"x": kind})
    assert line_of(caught.value) == line
    assert words in str(caught.value)


@pytest.mark.parametrize("kind", ["validator", "destination"])
def test_a_validator_or_a_destination_may_come_last(specify, kind):
    specify(READ + "  x: {plugin: second.wasm, input: in}\n").check_kinds({"x": kind})


def test_the_json_schema_knows_every_key(specify):
    schema = json_schema()
    assert schema["$schema"].endswith("2020-12/schema")
    assert schema["additionalProperties"] is False
    assert set(schema["$defs"]["PluginNode"]["properties"]) == {
        field.alias or name for name, field in PluginNode.model_fields.items()
    }
    assert schema["$defs"]["LimitsModel"]["additionalProperties"] is False
    assert json.loads(json.dumps(schema)) == schema


KEYS = st.sampled_from(
    [
        "name",
        "nodes",
        "in",
        "out",
        "plugin",
        "connector",
        "read",
        "write",
        "input",
        "options",
        "config",
        "grants",
        "csv",
    ]
)
VALUES = st.recursive(
    KEYS | st.integers() | st.none() | st.booleans() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, VALUES), st.dictionaries(st.sampled_from(["in", "out"]), st.dictionaries(KEYS, VALUES)))
def test_any_mapping_is_a_pipeline_or_refused_with_its_place(value, nodes):
    text = json.dumps({"name": "a", "nodes": nodes} | value)
    try:
        specification = parse_specification(text, file="p.yaml")
    except ConfigError as error:
        assert error.where.startswith("p.yaml")
    else:
        assert isinstance(specification.pipeline, Pipeline)


def test_a_pipeline_sets_every_limit(specify):
    given = "memory: 1MiB, call_timeout: 2s, fuel: 3, handles: 4, host_memory: 5B, host_calls: 6, host_calls_per_s: 7"
    given += ", copied: 8B, output: 9B, output_rows: 10, table_elements: 11, instances: 12, memories: 13"
    given += ", log_events_per_s: 14, log_per_s: 15B, log_dropped_events: 16"
    limits = specify(f"  in:\n    plugin: source.wasm\n    limits: {{{given}}}\n" + WRITE).limits["in"]
    usual = Limits()
    assert [field.name for field in fields(Limits) if getattr(limits, field.name) == getattr(usual, field.name)] == []
    assert (limits.log_bytes_per_s, limits.memories, limits.memory_bytes) == (15, 13, 2**20)


def test_columns_of_an_output_are_those_of_the_node_before_its_validators(specify):
    nodes = specify(
        "  read: {connector: csv, read: in.csv}\n"
        "  one: {plugin: validator.wasm, input: read}\n"
        "  two: {plugin: second.wasm, input: one}\n"
        "  write: {connector: jsonl, input: two, write: out.jsonl}\n"
    ).pipeline.nodes
    kinds = {"one": "validator", "two": "validator"}
    assert origins_of(nodes["write"].inputs, nodes, kinds) == ["read"]
    assert origins_of(nodes["write"].inputs, nodes, {**kinds, "one": "transformer"}) == ["one"]
    assert origins_of(nodes["write"].inputs, nodes, {**kinds, "two": "processor"}) == ["two"]


def test_an_output_that_cannot_be_read_to_be_appended_to_is_an_error(specify, tmp_path, monkeypatch):
    node = specify(
        "  read: {connector: csv, read: in.csv}\n"
        "  write: {connector: csv, input: read, write: out.csv, if_exists: append}\n"
    ).pipeline.nodes["write"]
    (tmp_path / "out.csv").write_text("a\n1\n")
    rehearse(node, tmp_path / "out.csv", pa.schema({"a": pa.int64()}))

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refused)
    with pytest.raises(DataError, match="cannot be written: Permission denied"):
        rehearse(node, tmp_path / "out.csv", pa.schema({"a": pa.int64()}))

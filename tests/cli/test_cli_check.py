# a table
"""`run --check`: what can be told before a row moves, with its line; and the variables of a pipeline's file."""

from __future__ import annotations

import json
import os
import sys

import pytest

PIPELINE = """\
name: orders
nodes:
  read:
    connector: csv
    read: orders.csv
  price:
    plugin: derive-columns.wasm
    input: read
    config:
      columns:
        - name: each
          op: divide
          left: amount
          right: quantity
  write:
    connector: jsonl
    input: price
    write: out/orders.jsonl
"""
SOURCE = """\
name: orders
nodes:
  read:
    plugin: csv-source.wasm
    config: { path: data/orders.csv }
    grants: { files: { data: { path: . } } }
  write:
    connector: jsonl
    input: read
    write: out/orders.jsonl
"""


def test_pipeline_that_can_run_is_valid_and_nothing_is_written(dataflare, folder):
    for text in (PIPELINE, SOURCE):
        (folder / "p.yaml").write_text(text)
        result = dataflare("run", "--check", "p.yaml")
        assert (result.exit_code, result.stdout, result.stderr) == (
            0,
            f"p.yaml: {text.count('input:') + 1} nodes, valid\n",
            "",
        )
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("text", "change", "code", "says", "hint"),
    [
        (
            SOURCE,
            ("    grants: { files: { data: { path: . } } }\n", ""),
            4,
            "p.yaml:3: node 'read' failed: plugin 'read': it needs files",
            "grants:",
        ),
        (SOURCE, ("{ path: . }", "{ path: absent }"), 2, "p.yaml:6: node 'read' failed: ", ""),
        (SOURCE, ("plugin: csv-source.wasm", "plugin: text.wasm"), 3, "p.yaml:4: node 'read' failed: ", ""),
        (
            SOURCE,
            ("path: data/orders.csv", "paht: data/orders.csv"),
            2,
            "p.yaml:5: nodes.read.config.paht: unknown key",
            "did you mean 'path'?",
        ),
        (SOURCE, ("path: data/orders.csv", "path: 3"), 2, "p.yaml:5: nodes.read.config.path: 3 is not a text", ""),
        (
            PIPELINE,
            ("op: divide", "op: divid"),
            2,
            "p.yaml:12: nodes.price.config.columns.0.op: 'divid' is not one of",
            "did you mean 'divide'?",
        ),
        (PIPELINE, ("read: orders.csv", "read: ordres.csv"), 2, "p.yaml:5: node 'read' reads ", "orders.csv"),
        (PIPELINE, ("read: orders.csv", "read: data"), 2, "p.yaml:5: node 'read' cannot read ", ""),
        (PIPELINE, ("write: out/orders.jsonl", "write: data"), 2, "p.yaml:18: node 'write' cannot write ", ""),
        (
            PIPELINE,
            ("write: out/orders.jsonl", "write: orders.csv/o.jsonl"),
            2,
            "p.yaml:18: node 'write' cannot write ",
            "",
        ),
        (
            PIPELINE,
            ("write: out/orders.jsonl", "write: there.jsonl\n    if_exists: fail"),
            2,
            "p.yaml:18: node 'write' cannot write ",
            "if_exists",
        ),
        (PIPELINE, ("write: out/orders.jsonl", "write: orders.csv"), 2, "p.yaml:18: node 'write' would write ", ""),
        (
            PIPELINE,
            ("plugin: derive-columns.wasm", "plugin: csv-source.wasm"),
            2,
            "p.yaml:8: node 'price' is a source, and takes no input",
            "",
        ),
        (
            PIPELINE,
            ("    input: price\n", "    input: prise\n"),
            2,
            "p.yaml:17: node 'write': there is no node 'prise'",
            "price",
        ),
        (
            PIPELINE,
            ("read: orders.csv", "read: orders.csv\n    options: { delimeter: ';' }"),
            2,
            "p.yaml:6: nodes.read.options.delimeter: unknown key",
            "delimiter",
        ),
        (
            PIPELINE,
            ("read: orders.csv", "read: orders.csv\n    options: { columns: { ordr: string } }"),
            1,
            "p.yaml:3: node 'read' failed: ",
            "ordr",
        ),
        (PIPELINE, ("connector: csv", "connector: parquet"), 1, "p.yaml:3: node 'read' failed: ", "connector: csv"),
        (
            PIPELINE,
            ("read: orders.csv", "read: [orders.csv, drift.csv]"),
            1,
            "p.yaml:3: node 'read' failed: ",
            "drift.csv:1: has different columns from the first file",
        ),
        (PIPELINE, ("write: out/orders.jsonl", "write: circle"), 2, "p.yaml:18: node 'write' cannot write ", "many"),
        (PIPELINE, ("write: out/", "write: /proc/"), 2, "p.yaml:18: node 'write' cannot write ", "/dev/stdout"),
    ],
)
def test_what_cannot_run_is_told_with_its_line(dataflare, folder, text, change, code, says, hint):
    assert change[0] in text
    (folder / "text.wasm").write_text("no component")
    (folder / "there.jsonl").write_text("")
    (folder / "circle").symlink_to("circle")
    (folder / "drift.csv").write_text("order,other\n1,2\n")
    (folder / "data").mkdir()
    (folder / "p.yaml").write_text(text.replace(*change))
    result = dataflare("run", "--check", "p.yaml")
    assert result.exit_code == code, result.stderr
    assert f"error: {says}" in result.stderr and hint in result.stderr
    as_json = json.loads(dataflare("run", "--check", "--json", "p.yaml").stdout)
    errors = as_json.get("errors") or [as_json["error"]]
    assert as_json["status"] in ("invalid", "failed") and any(each["message"].startswith(says) for each in errors)


COPY = """\
name: copy
nodes:
  read: { connector: CONNECTOR, read: FILE }
  write: { connector: csv, input: read, write: OUTPUT, KEYS }
"""


def copy_of(file: str, output: str, keys: str) -> str:
    text = COPY.replace("FILE", file).replace("OUTPUT", output).replace("KEYS", keys)
    return text.replace("CONNECTOR", file.rpartition(".")[2])


@pytest.mark.parametrize(
    ("file", "output", "keys", "says"),
    [
        ("orders.csv", "old.csv", "if_exists: append", "its header is 'order', 'amount', and the rows have 'order', "),
        ("orders.csv", "open.csv", "if_exists: append", ""),
        ("orders.csv", "part", "partition_by: [yaer]", "there is no column 'yaer' to partition by"),
        ("orders.csv", "part", "partition_by: [order]", ""),
        ("flat.jsonl", "part", "partition_by: [a]", "every column is in `partition_by`"),
        ("nested.jsonl", "part", "partition_by: [n]", "column 'n' is struct<a: int64>, which cannot be the name"),
        ("nested.jsonl", "out.csv", "if_exists: replace", "column 'n' is struct<a: int64>, which CSV cannot hold"),
        # More rows may have more columns, or other types.
        ("long.jsonl", "part", "partition_by: [late]", ""),
        ("long.csv", "part", "partition_by: [number]", ""),
        ("long.csv", "part", "partition_by: [late]", "there is no column 'late' to partition by"),
        ("long.csv", "old.csv", "if_exists: append", "its header is 'order', 'amount', and the rows have 'number', "),
    ],
)
def test_rows_whose_columns_are_known_are_compared_with_the_output(dataflare, folder, file, output, keys, says):
    (folder / "old.csv").write_text("order,amount\n1,2\n")
    (folder / "open.csv").write_text("order,amount,quantity\n1,2,3\n")
    (folder / "flat.jsonl").write_text('{"a": 1}\n')
    (folder / "nested.jsonl").write_text('{"n": {"a": 1}, "b": 2}\n')
    (folder / "long.jsonl").write_text('{"a": 1}\n' * 10_000 + '{"a": 1, "late": 2}\n')
    (folder / "long.csv").write_text("number,b\n" + "1.5,1\n" * 20_000 + "1,1\n")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    (folder / "p.yaml").write_text(copy_of(file, output, keys))
    result = dataflare("run", "--check", "p.yaml")
    assert (result.exit_code, says in result.stderr) == (1 if says else 0, True), result.stderr
    assert not says or result.stderr.startswith("error: p.yaml:4: node 'write' failed: ")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != "p.yaml"} == before


TWO = """\
name: two
nodes:
  read: { connector: CONNECTOR, read: [a, b], options: { OPTIONS } }
  write: { connector: jsonl, input: read, write: out.jsonl }
"""


@pytest.mark.parametrize(
    ("connector", "first", "second", "options", "says"),
    [
        ("csv", "n\n1\n", "n\n2\n3.5\n", "", "b:3: column 'n': '3.5' "),
        ("csv", "n\n1\n", "n\n3.5\n", "columns: { n: double }", ""),
        ("csv", "n\n1.5\n", "n\n3\n", "", ""),
        ("csv", "n\n1\n", "n\nx\n", "", "b:2: column 'n': 'x' "),
        # The types are those of the run, which sees more of the first file than its beginning.
        ("csv", "n\n" + "12345\n" * 40_000 + "2.5\n", "n\n3.5\n", "", ""),
        ("csv", "n\n" + "12345\n" * 40_000, "n\n3.5\n", "", "b:2: column 'n': '3.5' "),
        ("jsonl", '{"n":1}\n', '{"n":3.5}\n', "", "b:1: "),
        ("jsonl", '{"n":1}\n', '{"m":3}\n', "", "b:1: "),
        ("jsonl", '{"n":1.5}\n', '{"n":3}\n', "", ""),
    ],
)
def test_first_rows_of_later_files_are_read_as_in_the_run(dataflare, folder, connector, first, second, options, says):
    (folder / "a").write_text(first)
    (folder / "b").write_text(second)
    (folder / "p.yaml").write_text(TWO.replace("CONNECTOR", connector).replace("OPTIONS", options))
    for arguments in (["--check"], ["--quiet"]):
        result = dataflare("run", *arguments, "p.yaml")
        assert (result.exit_code, says in result.stderr) == (1 if says else 0, True), result.stderr
        assert not says or result.stderr.startswith("error: p.yaml:3: node 'read' failed: ")


def test_a_driver_that_is_not_installed_is_told(dataflare, folder, monkeypatch):
    (folder / "p.yaml").write_text(
        "name: p\ndatabases: { shop: { url: 'sqlite:shop.db' } }\nnodes:\n"
        "  read: { connector: sql, database: shop, read: orders }\n"
        "  write: { connector: jsonl, input: read, write: out.jsonl }\n"
    )
    monkeypatch.setitem(sys.modules, "adbc_driver_sqlite", None)
    result = dataflare("run", "--check", "p.yaml")
    assert result.exit_code == 2
    assert "p.yaml:4: node 'read' failed: " in result.stderr and "needs the driver adbc-driver-sqlite" in result.stderr
    assert "pip install 'dataflare[sql]'" in result.stderr


def test_all_wrong_roles_are_told_with_their_lines_and_what_comes_after_them(dataflare, folder):
    (folder / "p.yaml").write_text(
        "name: p\nnodes:\n  read:\n    connector: csv\n    read: orders.csv\n    roles:\n"
        "      key: [ordr, order, idd]\n      cursor: amonut\n      operation: op\n"
        "  write: { connector: csv, input: read, write: out, partition_by: [yaer] }\n"
    )
    result = dataflare("run", "--check", "p.yaml")
    assert result.exit_code == 2
    told = [line.replace(f"{folder}/", "") for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert told == [
        "error: p.yaml:7: node 'read': there is no column 'ordr'",
        "error: p.yaml:7: node 'read': there is no column 'idd'",
        "error: p.yaml:8: node 'read': there is no column 'amonut'",
        "error: p.yaml:9: node 'read': there is no column 'op'",
        "error: p.yaml:10: node 'write' failed: out: there is no column 'yaer' to partition by",
    ]
    assert "did you mean 'order'?" in result.stderr and "did you mean 'amount'?" in result.stderr


def test_all_that_is_wrong_is_told_at_once(dataflare, folder):
    text = PIPELINE.replace("op: divide", "op: divid").replace("read: orders.csv", "read: absent.csv")
    (folder / "p.yaml").write_text(text)
    result = dataflare("run", "--check", "p.yaml")
    assert result.exit_code == 2 and result.stderr.count("error: ") == 2


def test_output_below_a_folder_that_is_not_writable_is_told(dataflare, folder, monkeypatch):
    (folder / "p.yaml").write_text(PIPELINE)
    # Root may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    result = dataflare("run", "--check", "p.yaml")
    assert result.exit_code == 2 and "nothing can be added to" in result.stderr


def test_grant_hint_is_yaml_to_paste(dataflare, folder):
    (folder / "p.yaml").write_text(SOURCE.replace("    grants: { files: { data: { path: . } } }\n", ""))
    result = dataflare("run", "p.yaml")
    assert result.exit_code == 4
    assert "    grants:\n      files: { NAME: { path: DIRECTORY } }\n" in result.stderr
    document = json.loads(dataflare("run", "--json", "p.yaml").stdout)
    assert document["error"]["hint"].endswith("grants:\n  files: { NAME: { path: DIRECTORY } }")
    assert "hint" not in document["error"]["message"]


def test_refused_configuration_of_a_run_names_the_line_of_the_key(dataflare, folder):
    (folder / "p.yaml").write_text(PIPELINE.replace("op: divide", "op: divid"))
    result = dataflare("run", "p.yaml")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: p.yaml:12: node 'price' failed: ")
    assert "note: nodes.price.config.columns.0.op: 'divid' is not one of" in result.stderr


def test_variables_are_set_on_the_command_line_in_files_and_in_the_environment(dataflare, folder, monkeypatch):
    (folder / "p.yaml").write_text(
        PIPELINE.replace("read: orders.csv", "read: ${IN}").replace("op: divide", "op: ${OP:-divide}")
    )
    (folder / "e.env").write_text("IN=orders.csv\n")
    assert dataflare("run", "--set", "IN=orders.csv", "p.yaml").exit_code == 0
    assert dataflare("run", "--env-file", "e.env", "p.yaml").exit_code == 0
    monkeypatch.setenv("IN", "orders.csv")
    assert dataflare("run", "p.yaml").exit_code == 0
    assert dataflare("run", "--check", "--set", "OP=divid", "p.yaml").exit_code == 2


def test_undefined_variable_ends_with_2_and_its_line(dataflare, folder):
    (folder / "p.yaml").write_text(PIPELINE.replace("read: orders.csv", "read: ${ORDERS_FILE}"))
    result = dataflare("run", "--set", "ORDER_FILE=x", "p.yaml")
    assert result.exit_code == 2
    assert result.stderr == (
        "error: p.yaml:5: the variable ORDERS_FILE is not defined\n  hint: did you mean 'ORDER_FILE'?\n"
    )


@pytest.mark.parametrize(
    ("words", "hint"),
    [(("--set", "dai=2"), "did you mean 'day'?"), (("--set", "day=1", "--set", "other=2"), "leave --set other out")],
)
def test_variable_that_the_file_does_not_use_is_a_mistake(dataflare, folder, words, hint):
    (folder / "in.csv").write_text("a\n1\n")
    (folder / "p.yaml").write_text(
        "name: p\nnodes:\n  r: {connector: csv, read: in.csv}\n"
        '  w: {connector: csv, input: r, write: "out-${day:-0}.csv"}\n'
    )
    done = dataflare("run", "p.yaml", *words)
    assert (done.exit_code, "does not use it" in done.stderr, hint in done.stderr) == (2, True, True), done.stderr
    assert not list(folder.glob("out*"))


DATABASE = """\
name: copy
databases: { shop: { url: "URL", access: ACCESS } }
nodes:
  read: { connector: csv, read: orders.csv }
  write: { connector: sql, database: shop, write: orders, input: read, KEYS }
"""
TABLE = """\
name: copy
databases: { shop: { url: "URL", access: ACCESS } }
nodes:
  read: { connector: sql, database: shop, read: orders }
  write: { connector: jsonl, input: read, write: out.jsonl }
"""


@pytest.mark.parametrize("kind", ["sqlite", "duckdb"])
@pytest.mark.parametrize(
    ("text", "file", "access", "says", "hint"),
    [
        (TABLE, "absent.db", "read", "the file is not there", "relative to the pipeline's file"),
        (TABLE, "absent.db", "write", "the file is not there", "relative to the pipeline's file"),
        (TABLE, "absent/a.db", "read", "there is no folder ", "make it"),
        (TABLE, ".", "read", "it is a directory", "relative to the pipeline's file"),
        (TABLE, "orders.csv", "read", "it is not a ", "connector: csv"),
        (TABLE, "other.db", "read", "it is not a ", "url: '"),
        (DATABASE, "absent/a.db", "write", "there is no folder ", "make it"),
        (DATABASE, "orders.csv", "write", "it is not a ", "connector: csv"),
    ],
)
def test_a_database_whose_file_cannot_be_one_is_told_in_the_check_and_the_run(
    dataflare, folder, kind, text, file, access, says, hint
):
    other = {"sqlite": b"12345678DUCK", "duckdb": b"SQLite format 3\0"}[kind]
    (folder / "other.db").write_bytes(other + b"\0" * 100)
    before = (folder / "orders.csv").read_bytes()
    (folder / "p.yaml").write_text(
        text.replace("URL", f"{kind}:{file}").replace("ACCESS", access).replace(", KEYS", "")
    )
    for options in ([], ["--check"]):
        result = dataflare("run", *options, "p.yaml")
        assert result.exit_code == 1, result.stderr
        assert "node 'write'" in result.stderr if text is DATABASE else "node 'read'" in result.stderr
        assert "p.yaml:" in result.stderr and says in result.stderr and hint in result.stderr, result.stderr
    assert not (folder / "absent.db").exists() and (folder / "orders.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("keys", "roles", "is_valid"),
    [
        ("mode: merge", "", False),
        ("mode: merge, key: [order]", "", True),
        ("mode: merge", ", roles: {key: [order]}", True),
    ],
)
def test_merging_without_a_key_is_told_before_the_run(dataflare, folder, keys, roles, is_valid):
    text = DATABASE.replace("URL", "sqlite:new.db").replace("ACCESS", "write").replace("KEYS", keys)
    (folder / "p.yaml").write_text(text.replace("orders.csv }", f"orders.csv{roles} }}"))
    result = dataflare("run", "--check", "p.yaml")
    assert (result.exit_code == 0) == is_valid, result.stderr
    assert is_valid or "p.yaml:5: node 'write': to merge, name the columns of the key" in result.stderr


def test_what_the_check_can_ask_for_before_a_run_is_told(dataflare, folder):
    (folder / "p.yaml").write_text(
        PIPELINE.replace("config:", "limits: { memory: 64KiB }\n    config:").replace(
            "read: orders.csv", "read: odrers.csv"
        )
    )
    result = dataflare("run", "--check", "p.yaml")
    assert "which is not there\n  hint: in its folder: did you mean 'orders.csv'?" in result.stderr
    assert (
        "p.yaml:9: node 'price' failed: plugin 'derive-columns', instantiation: asked for more memory" in result.stderr
    )
    (folder / "p.yaml").write_text(
        TABLE.replace("URL", "postgresql://u@localhost/x").replace("access: ACCESS", "password: absent")
    )
    result = dataflare("run", "--check", "p.yaml")
    assert "p.yaml:4: node 'read' failed: there is no secret 'absent'" in result.stderr

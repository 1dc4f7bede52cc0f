from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml
from typer.testing import CliRunner

from dataflare.cli.app import app
from dataflare.errors import ConfigError
from dataflare.security.access import Access, AccessDocument


@pytest.fixture
def orders(tmp_path):
    path = tmp_path / "orders.csv"
    path.write_text("id,zip,amount\n1,01234,9.5\n2,99999,\n")
    return path


def run(*arguments):
    return CliRunner().invoke(app, ["schema", *map(str, arguments)])


def test_columns_are_shown_ready_to_paste(orders):
    result = run(orders)
    assert result.exit_code == 0, result.output
    pasted = yaml.safe_load(result.stdout[result.stdout.index("options:") :])
    assert pasted == {"options": {"columns": {"id": "int64", "zip": "string", "amount": "double"}}}
    assert "leading zeros" in result.stdout
    assert "all 2 rows" in result.stdout


def test_columns_are_written_as_json(orders):
    result = run(orders, "--json", "--option", "columns={id: int32}")
    document = json.loads(result.stdout)
    assert document["columns"][0] == {"name": "id", "type": "int32", "inferred": False, "note": ""}
    assert (document["connector"], document["sampled_rows"], document["whole"]) == ("csv", 2, True)


def test_the_schema_of_pipeline_files_is_written():
    assert json.loads(run("--pipeline").stdout)["$schema"].startswith("https://json-schema.org/")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), 2),
        (("none.csv",), 1),
        (("none.bin",), 2),
        (("x.csv", "--option", "delimiter"), 2),
        (("x.csv", "--option", "delimeter=;"), 2),
        (("x.csv", "--connector", "xml"), 2),
    ],
)
def test_what_is_wrong_has_an_exit_code(arguments, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments).exit_code == code


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("pipeline", "nodes"),
        ("policy", "plugins"),
        ("trust", "keys"),
        ("roles", "members"),
        ("manifest", "asks"),
        ("plugin", "needs"),
    ],
)
def test_the_schema_of_each_kind_of_file_is_written_for_editors(kind, key):
    result = CliRunner().invoke(app, ["schema", f"--{kind}"])
    assert result.exit_code == 0, result.stderr
    schema = json.loads(result.stdout)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert key in schema["properties"]
    assert schema["additionalProperties"] is False


EXTRAS = ("casbin", "componentize_py", "keyring", "openpyxl", "opentelemetry", "river")


@pytest.mark.parametrize("kind", ["pipeline", "roles"])
def test_the_schemas_need_no_extra(kind):
    code = f"import sys; sys.modules |= dict.fromkeys({EXTRAS}); from dataflare.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "schema", f"--{kind}"], capture_output=True, timeout=60)
    assert (done.returncode, "properties" in json.loads(done.stdout)) == (0, True), done.stderr


def test_roles_without_their_extra_name_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "casbin", None)
    with pytest.raises(ConfigError, match="roles need what is not installed") as caught:
        Access(AccessDocument.model_validate({"version": 1, "members": {}}))
    assert caught.value.hint == "pip install 'dataflare[access]'"


def test_two_schemas_at_a_time_are_refused():
    result = CliRunner().invoke(app, ["schema", "--policy", "--trust"])
    assert (result.exit_code, "one JSON Schema at a time" in result.stderr) == (2, True)

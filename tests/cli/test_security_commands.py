"""`package`, `inspect`, `policy`, `key`, `sign`, `verify`, `audit`, and `run` with what plugins may do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from dataflare.cli.app import app
from dataflare.security.audit import AuditEvent, FileAuditLog, read_audit, utc_now
from dataflare.security.keys import PublicKey
from dataflare.security.manifest import read
from dataflare.security.policy import Policy

COMPONENTS = Path(__file__).parents[2] / "guest-sdks" / "rust" / "components"
SOURCE_MANIFEST = """
name: csv-source
version: 1.0.0
kind: source
publisher: acme
asks:
  files: {data: {access: read}}
"""
POLICY = """
version: 1
plugins:
  csv-source:
    grants:
      files:
        data: {path: data, access: read}
connectors:
  grants:
    files:
      out: {path: out, access: write}
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    for name in ("POLICY", "TRUST", "AUDIT", "ACCESS", "PRINCIPAL", "KEY", "CACHE"):
        monkeypatch.delenv(f"DATAFLARE_{name}", raising=False)

    def invoke(*words: object) -> Result:
        return CliRunner().invoke(app, [str(each) for each in words])

    return invoke


def packaged(
    run: Any, manifest: str = SOURCE_MANIFEST, output: str = "source.wasm", name: str = "csv-source"
) -> Result:
    Path("manifest.yaml").write_text(manifest)
    return run("package", COMPONENTS / f"{name}.wasm", "-m", "manifest.yaml", "-o", output, "--json")


def test_package_puts_a_manifest_in_that_inspect_shows(run):
    done = packaged(run)
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert (document["name"], document["version"], document["kind"]) == ("csv-source", "1.0.0", "source")
    manifest = read(Path("source.wasm").read_bytes())
    assert manifest is not None and manifest.publisher == "acme"
    shown = run("inspect", "source.wasm", "--static")
    assert shown.exit_code == 0
    assert "csv-source 1.0.0, a source, by acme" in shown.stdout and "files:read:data" in shown.stdout
    as_json = json.loads(run("inspect", "source.wasm", "--static", "--json").stdout)
    assert as_json["manifest"]["asks"] == {"files": {"data": {}}}


def test_packaged_component_keeps_its_digest(run):
    first = json.loads(packaged(run).stdout)["digest"]
    second = json.loads(packaged(run, SOURCE_MANIFEST.replace("acme", "other"), "again.wasm").stdout)["digest"]
    assert first == second


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("kind: source", "kind: processor"), "kind: the manifest says processor, the component is a source"),
        (("version: 1.0.0", "version: 1.0.1"), "version: the manifest says '1.0.1'"),
        (("name: csv-source", "name: other"), "name: the manifest says 'other'"),
        (("files: {data: {access: read}}", "{}"), "imports files, which the manifest does not ask for"),
        (
            ("access: read}}", "access: read}}\n  secrets: [token]"),
            "asks for secrets, which the component does not import",
        ),
        (("kind: source", "kind: source\ncolour: red"), "colour"),
    ],
)
def test_manifest_that_does_not_fit_is_refused(run, change, said):
    done = packaged(run, SOURCE_MANIFEST.replace(*change))
    assert done.exit_code == 2
    assert said in json.loads(done.stdout)["error"]["message"]
    assert not Path("source.wasm").exists()


def test_package_refuses_what_is_no_component(run):
    Path("text.wasm").write_text("no")
    Path("manifest.yaml").write_text(SOURCE_MANIFEST)
    assert run("package", "text.wasm", "-m", "manifest.yaml", "-o", "out.wasm").exit_code == 3


def test_policy_check_tells_what_is_missing(run):
    packaged(run)
    Path("policy.yaml").write_text(POLICY)
    assert run("policy", "check", "policy.yaml", "source.wasm").exit_code == 0
    Path("policy.yaml").write_text(POLICY.replace("data:", "elsewhere:", 1))
    done = run("policy", "check", "policy.yaml", "source.wasm", "--json")
    assert done.exit_code == 4
    (report,) = json.loads(done.stdout)["plugins"]
    assert report["missing"] == ["files:read:data"] and "files:read:elsewhere" in report["unused"]


def test_policy_check_without_a_rule_is_refused(run):
    packaged(run)
    Path("policy.yaml").write_text("version: 1\n")
    done = run("policy", "check", "policy.yaml", "source.wasm")
    assert done.exit_code == 4 and "no rule for the plugin 'csv-source'" in done.stdout


def test_policy_check_refuses_a_pipeline_that_the_policy_does_not_know(run):
    packaged(run)
    Path("policy.yaml").write_text(POLICY + "pipelines:\n  nightly: {file: nightly.yaml}\n")
    assert run("policy", "check", "policy.yaml", "source.wasm", "--pipeline", "nightly").exit_code == 0
    done = run("policy", "check", "policy.yaml", "source.wasm", "--pipeline", "nigthly", "--json")
    error = json.loads(done.stdout)["error"]
    assert done.exit_code == 2 and error["where"] == "--pipeline"
    assert error["message"].endswith("policy.yaml knows no pipeline 'nigthly'")
    assert error["hint"] == "did you mean 'nightly'?"


def test_policy_check_points_at_a_wrong_line(run):
    packaged(run)
    Path("policy.yaml").write_text("version: 1\nplugin: {}\n")
    done = run("policy", "check", "policy.yaml", "source.wasm", "--json")
    assert done.exit_code == 2 and json.loads(done.stdout)["error"]["where"] == "policy.yaml:2"


def test_policy_diff_tells_a_version_that_asks_for_more(run):
    packaged(run)
    wider = SOURCE_MANIFEST.replace("access: read}}", "access: write}}\nlimits: {memory: 2GB}")
    packaged(run, wider, "wider.wasm")
    done = run("policy", "diff", "source.wasm", "wider.wasm", "--json")
    assert done.exit_code == 5
    found = json.loads(done.stdout)
    assert found["added"] == ["files:write:data"] and found["limits_raised"][0]["name"] == "memory"
    assert run("policy", "diff", "wider.wasm", "source.wasm").exit_code == 0
    one = SOURCE_MANIFEST.replace("access: read}}", "access: read}}\n  datasets: {orders: [id]}")
    packaged(run, one, "one.wasm")
    packaged(run, one.replace("[id]", "[id, amount]"), "two.wasm")
    assert "  + datasets:orders.amount" in run("policy", "diff", "one.wasm", "two.wasm").stdout
    assert "datasets:orders=amount,id" in run("inspect", "--static", "two.wasm").stdout
    same = run("policy", "diff", "source.wasm", "source.wasm")
    assert same.exit_code == 0 and "they ask for the same" in same.stdout


def write_log(*events: dict[str, Any]) -> None:
    with FileAuditLog("audit.jsonl") as log:
        for event in events:
            log.record(
                AuditEvent.model_validate(
                    {"when": utc_now(), "plugin": "p", "capability": "files", "function": "open", **event}
                )
            )


USED = {"object": "files:read:data", "decision": "allow"}
DENIED = {"object": "files:read:other", "decision": "deny", "reason": "not granted"}


def test_policy_suggest_grants_what_was_used(run):
    write_log(USED, {**USED, "count": 2}, DENIED)
    done = run("policy", "suggest", "audit.jsonl")
    assert done.exit_code == 0
    rule = Policy.parse(done.stdout).document.plugins["p"].grants
    assert list(rule.files) == ["data"]
    run("policy", "suggest", "audit.jsonl", "--include-denied", "-o", "policy.yaml")
    assert set(Policy.read("policy.yaml").document.plugins["p"].grants.files) == {"data", "other"}


def test_damaged_log_is_told_of(run):
    write_log(USED)
    with Path("audit.jsonl").open("a") as file:
        file.write("nonsense\n")
    for words in (("policy", "suggest", "audit.jsonl"), ("audit", "audit.jsonl")):
        done = run(*words)
        assert done.exit_code == 1 and "1 lines are not events" in done.output


def test_audit_adds_up_uses(run):
    write_log(USED, {**USED, "count": 2}, {**USED, "count": 4}, {**USED, "count": 1}, DENIED)
    done = run("audit", "audit.jsonl")
    assert done.exit_code == 0
    (line,) = [line for line in done.stdout.splitlines() if "files:read:data" in line]
    assert " 5 " in line
    found = json.loads(run("audit", "audit.jsonl", "--denied", "--json").stdout)["events"]
    assert [each["object"] for each in found] == ["files:read:other"]
    assert json.loads(run("audit", "audit.jsonl", "--plugin", "q", "--json").stdout)["events"] == []


def test_key_generate_makes_two_files_once(run):
    done = run("key", "generate", "release.key", "--json")
    assert done.exit_code == 0
    public = PublicKey.read("release.key.pub")
    assert json.loads(done.stdout) == {"file": "release.key.pub", "key": str(public), "id": public.id}
    assert Path("release.key").stat().st_mode & 0o777 == 0o600
    assert run("key", "generate", "release.key").exit_code == 2
    assert public.id in run("key", "show", "release.key.pub").stdout


def write_trust(**more: Any) -> None:
    key = Path("release.key.pub").read_text().strip()
    document = {"version": 1, "keys": [{"key": key, "publisher": "acme"}], **more}
    Path("trust.yaml").write_text(json.dumps(document))


def signed(run: Any) -> None:
    packaged(run)
    run("key", "generate", "release.key")
    assert run("sign", "source.wasm", "--key", "release.key").exit_code == 0
    write_trust()


def test_signed_component_is_verified_and_a_changed_one_is_not(run):
    signed(run)
    good = run("verify", "source.wasm", "--trust", "trust.yaml", "--json")
    assert good.exit_code == 0 and json.loads(good.stdout)["publishers"] == ["acme"]
    data = bytearray(Path("source.wasm").read_bytes())
    data[len(data) // 2] ^= 1
    Path("source.wasm").write_bytes(data)
    changed = run("verify", "source.wasm", "--trust", "trust.yaml", "--json")
    assert changed.exit_code in (3, 4)
    assert json.loads(changed.stdout)["error"]["type"] in ("DigestMismatch", "NotAComponent")


def test_component_that_cannot_be_signed_is_named(run):
    run("key", "generate", "release.key")
    Path("cut.wasm").write_bytes((COMPONENTS / "csv-source.wasm").read_bytes()[:-1])
    done = run("sign", "cut.wasm", "--key", "release.key", "--name", "cut", "--version", "1.0.0")
    assert done.exit_code == 3 and "cut.wasm: " in done.output


def test_unsigned_component_is_not_verified(run):
    signed(run)
    Path("source.wasm.sig").unlink()
    done = run("verify", "source.wasm", "--trust", "trust.yaml", "--json")
    assert done.exit_code == 4 and json.loads(done.stdout)["error"]["type"] == "Unsigned"


def test_second_signature_is_added(run):
    signed(run)
    run("key", "generate", "second.key")
    done = run("sign", "source.wasm", "--key", "second.key", "--add", "--json")
    assert done.exit_code == 0 and len(json.loads(done.stdout)["keys"]) == 2
    packaged(run, SOURCE_MANIFEST.replace("acme", "evil"))
    refused = run("sign", "source.wasm", "--key", "second.key", "--add")
    assert refused.exit_code == 2 and "another component's" in refused.output


def test_nothing_is_signed_beside_a_false_signature(run):
    signed(run)
    run("key", "generate", "second.key")
    path = Path("source.wasm.sig")
    envelope = json.loads(path.read_text())
    envelope["signatures"][0]["sig"] = "A" * 86 + "=="
    path.write_text(json.dumps(envelope))
    before = path.read_bytes()
    refused = run("sign", "source.wasm", "--key", "second.key", "--add", "--json")
    assert refused.exit_code == 4 and json.loads(refused.stdout)["error"]["type"] == "SignatureInvalid"
    assert path.read_bytes() == before


def test_key_with_a_passphrase_needs_it(run):
    packaged(run)
    Path("secret").write_text("open sesame\n")
    assert run("key", "generate", "safe.key", "--passphrase-file", "secret").exit_code == 0
    assert run("sign", "source.wasm", "--key", "safe.key").exit_code == 2
    assert run("sign", "source.wasm", "--key", "safe.key", "--passphrase-file", "secret").exit_code == 0


PIPELINE = """
name: nightly
nodes:
  read:
    plugin: source.wasm
    config: {path: data/rows.csv}
  write:
    connector: jsonl
    write: out/rows.jsonl
    input: read
"""


def make_pipeline(run: Any, extra: str = "") -> None:
    signed(run)
    Path("data").mkdir()
    Path("data/rows.csv").write_text("id\n1\n2\n")
    Path("policy.yaml").write_text(POLICY)
    Path("pipeline.yaml").write_text(PIPELINE.replace("    config:", f"{extra}    config:"))


GUARDS = ("--policy", "policy.yaml", "--trust", "trust.yaml", "--audit", "audit.jsonl")


def run_guarded(run: Any, *more: str) -> Result:
    return run("run", "pipeline.yaml", "--json", "--cache-dir", "cache", *GUARDS, *more)


def test_run_takes_grants_from_the_policy_and_audits_them(run):
    make_pipeline(run)
    done = run_guarded(run)
    assert done.exit_code == 0, done.output
    assert Path("out/rows.jsonl").read_text() == '{"id":1}\n{"id":2}\n'
    events = read_audit("audit.jsonl").events
    assert ("host", "load", "allow") in [(each.capability, each.function, each.decision) for each in events]
    used = {(each.plugin, each.pipeline, each.object) for each in events if each.capability == "files"}
    assert used == {
        ("csv-source", "nightly", "files:read:data"),
        ("connector:jsonl", "nightly", "files:write:out"),
    }
    suggested = run("policy", "suggest", "audit.jsonl", "--policy", "policy.yaml")
    document = Policy.parse(suggested.stdout).document
    assert "data" in document.plugins["csv-source"].pipelines["nightly"].grants.files
    assert document.connectors.pipelines["nightly"].grants.files["out"].access == "write"
    assert document.pipelines["nightly"].file == "nightly.yaml"


def test_run_refuses_grants_that_the_policy_does_not_give(run):
    make_pipeline(run, "    grants: {files: {data: {path: data, access: write}}}\n")
    done = run_guarded(run)
    assert done.exit_code == 4
    assert "files:write:data" in json.loads(done.stdout)["error"]["message"]
    assert read_audit("audit.jsonl").events[-1].decision == "deny"


def test_run_refuses_an_unsigned_plugin(run):
    make_pipeline(run)
    Path("source.wasm.sig").unlink()
    done = run_guarded(run)
    assert done.exit_code == 4 and "Unsigned" in done.stdout
    assert not Path("out/rows.jsonl").exists()


def test_run_needs_a_principal_who_may(run):
    make_pipeline(run)
    Path("access.yaml").write_text("version: 1\nmembers: {ada: [operator], bob: [viewer]}\n")
    assert run_guarded(run, "--access", "access.yaml", "--principal", "bob").exit_code == 4
    assert run_guarded(run, "--access", "access.yaml", "--principal", "ada").exit_code == 0
    assert run_guarded(run, "--principal", "ada").exit_code == 2
    assert run_guarded(run, "--check", "--access", "access.yaml", "--principal", "bob").exit_code == 0
    assert run_guarded(run, "--check", "--access", "access.yaml", "--principal", "mallory").exit_code == 4


@pytest.mark.parametrize(
    "words",
    [
        *(("package",), ("sign",), ("verify",), ("audit",), ("policy", "check"), ("policy", "suggest")),
        *(("policy", "diff"), ("key", "generate"), ("key", "show"), ("run",)),
    ],
)
def test_help_tells_exit_codes(run, words):
    done = run(*words, "--help")
    assert done.exit_code == 0 and "Exit codes:" in done.stdout

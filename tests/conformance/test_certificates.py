"""Certificates: what `conformance run` certifies, `conformance verify` and policies accept."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import pytest
from securesystemslib.dsse import Envelope
from typer.testing import CliRunner, Result

from dataflare import ConfigError, Host, Policy, Security
from dataflare.cli.app import app
from dataflare.conformance import CaseResult, Outcome, SuiteResult, load_cases
from dataflare.conformance.grades import performance_class, quality_grade, results_digest, security_grade
from dataflare.security.keys import PrivateKey, PublicKey, generate_key_files

COMPONENT = Path(__file__).parents[2] / "guest-sdks" / "rust" / "components" / "json-mapper.wasm"


def conformance(*words: object) -> Result:
    return CliRunner().invoke(app, ["conformance", *map(str, words)])


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plugin, its certificate and its report, and the key that certified it."""
    folder = tmp_path_factory.mktemp("certified")
    generate_key_files(folder / "key")
    shutil.copy(COMPONENT, folder / "p.wasm")
    words = ["run", folder / "p.wasm", "--certificate", folder / "p.wasm.cert", "--key", folder / "key", "--json"]
    done = conformance(*words)
    assert done.exit_code == 0, done.output
    (folder / "report.json").write_text(done.output)
    return folder


def test_certificate_is_verified_with_its_report(certified):
    words = ["--trusted-key", certified / "key.pub", "--report", certified / "report.json", "--json"]
    done = conformance("verify", certified / "p.wasm", "--profile", "full", *words)
    found = json.loads(done.output)
    assert (done.exit_code, found["name"], found["profile"], found["kind"]) == (0, "json-mapper", "full", "processor")
    assert (found["security"], found["quality"]["grade"]) == ({"grade": "A", "reasons": []}, "A")
    assert found["rows_per_s"] > 1000
    shown = conformance("verify", certified / "p.wasm", *words[:2]).output
    assert "certified for `full`" in shown and "quality: A" in shown


def test_report_with_other_outcomes_or_cases_is_not_what_was_certified(certified, tmp_path):
    report = json.loads((certified / "report.json").read_text())
    for change, message in (
        (lambda cases: cases[0].update(outcome="SKIP"), "outcomes are not"),
        (lambda cases: cases.pop(), "lacks or adds cases"),
    ):
        changed = json.loads(json.dumps(report))
        change(changed["cases"])
        (tmp_path / "r.json").write_text(json.dumps(changed))
        words = ["--trusted-key", certified / "key.pub", "--report", tmp_path / "r.json"]
        done = conformance("verify", certified / "p.wasm", *words)
        assert (done.exit_code, message in done.stderr) == (4, True), done.stderr
    for text in ("{}", json.dumps({"cases": [{**report["cases"][0], "outcome": "FAIL"}, *report["cases"]]})):
        (tmp_path / "r.json").write_text(text)
        assert conformance("verify", certified / "p.wasm", *words).exit_code == 2
    (tmp_path / "r.json").write_text(json.dumps(report).replace('"outcome": ', '"outcome": "FAIL", "outcome": ', 1))
    assert conformance("verify", certified / "p.wasm", *words).exit_code == 2


def test_private_key_in_the_place_of_a_public_one_is_not_shown(certified):
    done = conformance("verify", certified / "p.wasm", "--trusted-key", certified / "key")
    assert (done.exit_code, "is not a public key" in done.stderr) == (2, True)
    secret = (certified / "key").read_text().splitlines()[1]
    assert secret[:8] not in done.stderr
    with pytest.raises(ConfigError, match="a private key is not a public key"):
        PublicKey.parse((certified / "key").read_text())


def test_damaged_component_is_named(certified, tmp_path):
    (tmp_path / "cut.wasm").write_bytes(COMPONENT.read_bytes()[:-7])
    words = ["--trusted-key", certified / "key.pub", "--certificate", certified / "p.wasm.cert"]
    done = conformance("verify", tmp_path / "cut.wasm", *words)
    assert (done.exit_code, "cut.wasm" in done.stderr) == (3, True), done.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.update(payload=file["payload"] + "="), "the payload is"),
        (lambda file: file.update(payload=file["payload"][:9] + "\n" + file["payload"][9:]), "payload is not Base64"),
        (lambda file: file["signatures"][0].update(sig="é"), "signature is not Base64"),
        (
            lambda file: file["signatures"][0].update(sig=file["signatures"][0]["sig"][:-3] + "x=="),
            "signature is Base64",
        ),
    ],
)
def test_certificate_is_written_in_one_way_alone(certified, tmp_path, change, message):
    file = json.loads((certified / "p.wasm.cert").read_text())
    change(file)
    (tmp_path / "c").write_text(json.dumps(file))
    words = ["--trusted-key", certified / "key.pub", "--certificate", tmp_path / "c"]
    done = conformance("verify", certified / "p.wasm", *words)
    assert (done.exit_code, message in done.stderr.replace("\n", " ")) == (4, True), done.stderr


@pytest.mark.parametrize(
    "claim",
    [
        {"quality": {"grade": "D"}},
        {"quality": {"grade": "A"}, "counts": {"PASS": 9, "SKIP": 1}},
        {"quality": {"grade": "B"}, "profile": "core"},
        {"counts": {"PASS": 2**70}},
        {"rows_per_s": 2**70},
        {"name": "\x1b[2J"},
    ],
    ids=str,
)
def test_certificate_that_contradicts_itself_is_malformed(certified, tmp_path, claim):
    certificate = json.loads((certified / "p.wasm.cert").read_text())
    statement = json.loads(base64.b64decode(certificate["payload"]))
    statement["predicate" if "name" not in claim else "subject"] = (
        {**statement["predicate"], **claim} if "name" not in claim else [{**statement["subject"][0], **claim}]
    )
    envelope = Envelope(json.dumps(statement).encode(), "application/vnd.in-toto+json", {})
    envelope.sign(PrivateKey.read(certified / "key").signer())
    (tmp_path / "c").write_text(json.dumps(envelope.to_dict()))
    words = ["--trusted-key", certified / "key.pub", "--certificate", tmp_path / "c"]
    done = conformance("verify", certified / "p.wasm", *words)
    assert (done.exit_code, "malformed" in done.stderr) == (4, True), done.stderr


def test_certificate_is_refused_where_it_is_not_enough(certified, tmp_path):
    generate_key_files(tmp_path / "other")
    for words, message in (
        (["--trusted-key", tmp_path / "other.pub"], "may not certify"),
        (["--trusted-key", certified / "key.pub", "--profile", "certified"], "is required"),
    ):
        done = conformance("verify", certified / "p.wasm", *words)
        assert (done.exit_code, message in done.stderr.replace("\n", " ")) == (4, True), done.stderr


def test_plugin_that_is_not_conformant_gets_no_certificate(certified, tmp_path):
    known = certified / "p.wasm"
    words = ["run", known, "--limit", "memory=1MiB", "--certificate", tmp_path / "c", "--key", certified / "key"]
    assert conformance(*words).exit_code == 1
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--certificate", "c"], "--key"),
        (["--key", "KEY"], "--certificate"),
        (["--certificate", "c", "--key", "KEY", "--case", "every"], "leave --case out"),
        (["--certificate", "c", "--key", "KEY", "--expect", "EXPECT"], "leave --expect out"),
        (["--certificate", "c", "--key", "absent"], "absent"),
    ],
)
def test_wrong_command_lines_certify_nothing(certified, words, message):
    (certified / "expect").write_text("{}")
    names = {"KEY": str(certified / "key"), "EXPECT": str(certified / "expect")}
    done = conformance("run", COMPONENT, *(names.get(each, each) for each in words))
    assert (done.exit_code, message in done.stderr) == (2, True), done.stderr


def test_policy_with_a_certificate_lets_the_plugin_run(certified):
    key = (certified / "key.pub").read_text().strip()
    policy = Policy.parse(
        json.dumps(
            {"version": 1, "require": {"certificate": "full"}, "certificates": {"keys": [key]}, "plugins": {"p": {}}}
        )
    )
    with (
        Host(security=Security(policy=policy)) as host,
        host.load(certified / "p.wasm", kind="processor", config={"set": {"a": 1}}) as plugin,
    ):
        assert json.loads(plugin.start().process("{}")) == {"a": 1}
    assert Policy.parse(policy.to_yaml()).document == policy.document


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"require": {"certificate": "full"}}, "nobody may certify"),
        ({"plugins": {"p": {"require": {"certificate": "core"}}}}, "nobody may certify"),
        ({"require": {"certificate": "best"}}, "certificate"),
        ({"certificates": {"keys": ["rsa:1"]}}, "keys"),
        ({"certificates": {"keys": [], "oldest_suite": 99}}, "oldest_suite"),
    ],
)
def test_wrong_requirements_are_refused(document, message):
    with pytest.raises(ConfigError, match=message):
        Policy.parse(json.dumps({"version": 1, **document}))


def test_the_higher_requirement_counts():
    text = {
        "version": 1,
        "certificates": {"keys": [f"ed25519:{'A' * 43}="]},
        "require": {"certificate": "full"},
        "plugins": {
            "low": {"require": {"certificate": "core"}},
            "high": {"require": {"certificate": "certified"}},
        },
    }
    policy = Policy.parse(json.dumps(text))
    needed = [policy.certificate_needed(each) for each in ("low", "high", "unknown")]
    assert needed == ["full", "certified", "full"]


def result(*outcomes: Outcome) -> SuiteResult:
    return SuiteResult(
        tuple(CaseResult(case, each, 1.0, "why") for case, each in zip(load_cases(), outcomes, strict=False))
    )


def test_grades_have_reasons():
    good, some = result(*[Outcome.PASS] * 10), result(*[Outcome.PASS] * 8, *[Outcome.SKIP] * 2)
    assert quality_grade(good, profile="full") == ("A", [])
    assert quality_grade(good, profile="core")[0] == "C"
    assert (quality_grade(some, profile="full")[0], len(quality_grade(some, profile="full")[1])) == ("B", 2)
    assert quality_grade(result(Outcome.SKIP), profile="full")[0] == "C"
    assert quality_grade(result(Outcome.FAIL), profile="full")[0] == "D"
    grades = [
        security_grade(asked, wasi)[0]
        for asked, wasi in (((), ()), (("state",), ()), (("files",), ()), (("files", "http"), ()), ((), ("wasi:io/x",)))
    ]
    assert grades == ["A", "B", "C", "D", "D"]
    assert [performance_class(each) for each in (2e6, 1e5, 5e4, 3)] == ["A", "B", "C", "D"]


def test_results_digest_depends_on_outcomes_alone():
    one, other = result(Outcome.PASS, Outcome.SKIP), result(Outcome.SKIP, Outcome.PASS)
    later = SuiteResult(tuple(reversed(one.results)))
    assert results_digest(one, kind="source", profile="full") == results_digest(later, kind="source", profile="full")
    assert results_digest(one, kind="source", profile="full") != results_digest(other, kind="source", profile="full")
    assert results_digest(one, kind="source", profile="full") != results_digest(one, kind="source", profile="core")

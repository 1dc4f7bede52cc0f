"""Every file that a command is given is read with a bound and never waited for."""

from __future__ import annotations

import os
import signal
import socket
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli_commands import commands
from dataflare.cli import security_options
from dataflare.errors import ConfigError
from dataflare.user_files import find_file, read_file

# A command line for each parameter that names a file to be read; FILE is where it stands.
READS = {
    ("run", "pipeline"): "run FILE",
    ("run", "policy"): "run pipeline.yaml --policy FILE",
    ("run", "trust"): "run pipeline.yaml --trust FILE",
    ("run", "env_files"): "run pipeline.yaml --env-file FILE",
    ("inspect", "component"): "inspect FILE",
    ("compile", "components"): "compile FILE",
    ("bench", "component"): "bench FILE",
    ("check", "component"): "check FILE",
    ("discover", "component"): "discover FILE",
    ("bindgen", "component"): "bindgen FILE -o bindings",
    ("bindgen", "wit"): "bindgen --wit FILE -o bindings",
    ("package", "component"): "package FILE -m manifest.yaml -o packaged.wasm",
    ("package", "manifest"): "package csv-source.wasm -m FILE -o packaged.wasm",
    ("sign", "component"): "sign FILE --key key --name a --version 1.0.0",
    ("sign", "key"): "sign csv-source.wasm --key FILE --name a --version 1.0.0",
    ("sign", "passphrase_file"): "sign csv-source.wasm --key key --passphrase-file FILE",
    ("verify", "component"): "verify FILE --trust trust.yaml",
    ("verify", "trust"): "verify csv-source.wasm --trust FILE",
    ("audit", "log"): "audit FILE",
    ("policy check", "policy"): "policy check FILE csv-source.wasm",
    ("policy check", "components"): "policy check policy.yaml FILE",
    ("policy suggest", "log"): "policy suggest FILE",
    ("policy suggest", "base"): "policy suggest audit.jsonl --policy FILE",
    ("policy diff", "old"): "policy diff FILE csv-source.wasm",
    ("policy diff", "new"): "policy diff csv-source.wasm FILE",
    ("key generate", "passphrase_file"): "key generate new --passphrase-file FILE",
    ("key show", "path"): "key show FILE",
    **{
        ("state " + name, parameter): f"state {name} {line}"
        for name, more in {"list": "", "show": "", "export": "", "import": " given", "edit": "", "reset": ""}.items()
        for parameter, line in {
            "pipeline": "FILE" + more,
            "env_files": f"pipeline.yaml{more} --env-file FILE",
        }.items()
    },
    ("state import", "states"): "state import pipeline.yaml FILE",
    **{
        (f"runs {name}", parameter): f"runs {name} {line}"
        for name in ("list", "show")
        for parameter, line in {"pipeline": "FILE", "env_files": "pipeline.yaml --env-file FILE"}.items()
    },
    **{
        (name, option): f"{line} --{option} FILE"
        for name, line in {
            "bench": "bench csv-source.wasm",
            "check": "check csv-source.wasm",
            "discover": "discover csv-source.wasm",
            "conformance run": "conformance run csv-source.wasm",
        }.items()
        for option in ("policy", "trust")
    },
    ("plan", "pipeline"): "plan FILE",
    **{
        ("plan", name): f"plan pipeline.yaml --{name.replace('_files', '-file').replace('_', '-')} FILE"
        for name in ("env_files", "policy", "trust")
    },
    ("conformance run", "component"): "conformance run FILE",
    ("conformance run", "expect"): "conformance run csv-source.wasm --expect FILE",
    ("conformance run", "key"): "conformance run csv-source.wasm --certificate c --key FILE",
    ("conformance run", "passphrase_file"): "conformance run csv-source.wasm --certificate c --key key "
    "--passphrase-file FILE",
    ("conformance verify", "component"): "conformance verify FILE --trusted-key key.pub",
    ("conformance verify", "trusted_key"): "conformance verify csv-source.wasm --trusted-key FILE",
    (
        "conformance verify",
        "certificate",
    ): "conformance verify csv-source.wasm --trusted-key key.pub --certificate FILE",
    ("conformance host", "expect"): "conformance host --case host/texts --expect FILE",
    ("dead-letter show", "file"): "dead-letter show FILE",
    ("dead-letter replay", "pipeline"): "dead-letter replay FILE",
    ("dead-letter replay", "env_files"): "dead-letter replay pipeline.yaml --env-file FILE",
    ("dead-letter replay", "policy"): "dead-letter replay pipeline.yaml --policy FILE",
    ("dead-letter replay", "trust"): "dead-letter replay pipeline.yaml --trust FILE",
}
# These are written, or are folders; `bench --data` and `--sample` are what connectors read.
NOT_READ = {
    ("run", "audit"),
    ("run", "state"),
    *(("conformance run", name) for name in ("junit", "html", "cache_dir")),
    *(("conformance host", name) for name in ("junit", "html", "cache_dir")),
    # The adapter reads its documents at its first request.
    *(("conformance adapter", name) for name in ("policy", "trust", "audit", "cache_dir")),
    *((name, "audit") for name in ("bench", "check", "discover", "test", "conformance run")),
    ("conformance run", "certificate_out"),
    ("conformance verify", "report"),  # after a good certificate
    *(("dead-letter replay", name) for name in ("audit", "state", "cache_dir")),
    *((f"state {name}", "state") for name in ("list", "show", "export", "import", "edit", "reset")),
    *((f"runs {name}", "state") for name in ("list", "show")),
    *(("plan", name) for name in ("audit", "state", "cache_dir")),
    ("run", "report_html"),
    ("run", "metrics_file"),
    ("runs show", "html"),
    ("run", "cache_dir"),
    ("inspect", "cache_dir"),
    ("compile", "cache_dir"),
    ("bench", "cache_dir"),
    ("check", "cache_dir"),
    ("discover", "cache_dir"),
    ("cache list", "cache_dir"),
    ("cache clear", "cache_dir"),
    ("bench", "data"),
    ("conformance run", "sample"),
    ("package", "cache_dir"),
    ("package", "output"),
    ("bindgen", "output"),
    ("new", "into"),
    ("build", "folder"),
    ("build", "cache_dir"),
    *(("dev", name) for name in ("folder", "sample", "cache_dir", "audit")),
    ("test", "folder"),
    ("test", "cache_dir"),
    ("policy suggest", "output"),
    ("key generate", "path"),
}
# Every command has `--access`, which is read before anything else.
OTHERS = {
    "cache list": "cache list",
    "cache clear": "cache clear",
    "schema": "schema",
    "new": "new a",
    "build": "build",
    "test": "test",
    "dev": "dev --once",
    "doctor": "doctor",
    "conformance list": "conformance list",
    "conformance adapter": "conformance adapter",
}
for command, others in {**{name: line for (name, _), line in reversed(READS.items())}, **OTHERS}.items():
    READS[command, "access"] = f"{others.replace('FILE', 'given')} --access FILE --principal somebody"
LINES = sorted({*READS.values(), "bench csv-source.wasm --config @FILE"})


def file_parameters() -> Iterator[tuple[str, str]]:
    for name, callback in commands():
        for parameter, annotation in typing.get_type_hints(callback).items():
            if "Path" in str(annotation) or parameter == "state":  # or the URL of a database
                yield name, parameter


def test_every_file_of_every_command_is_in_the_table():
    assert set(file_parameters()) == set(READS) | NOT_READ


def test_files_that_commands_write_over_are_known_to_the_roles():
    # A state, a key and the log of a run are refused where there is something else; folders are not written over.
    others = {"audit", "state", "cache_dir", "data", "sample", "into", "folder", "path", "report", "policy", "trust"}
    assert {name for _, name in NOT_READ} - others == set(security_options.OUTPUTS)


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """What waits is a failure, not a test that hangs."""

    def ring(*_: object) -> None:
        raise TimeoutError("it waited")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def files(folder: Path, dataflare: Any) -> Path:
    """Whatever else the commands need."""
    (folder / "pipeline.yaml").write_text(
        "name: p\nnodes:\n  r: { connector: csv, read: orders.csv }\n"
        "  w: { connector: jsonl, input: r, write: o.jsonl }\n"
    )
    (folder / "manifest.yaml").write_text(
        "{ name: csv-source, version: 1.0.0, kind: source, asks: { files: { data: { access: read } } } }"
    )
    (folder / "policy.yaml").write_text("version: 1\nplugins: {}\n")
    (folder / "audit.jsonl").write_text("")
    assert dataflare("key", "generate", "key").exit_code == 0
    (folder / "trust.yaml").write_text(
        f"version: 1\nkeys:\n  - {{ key: '{(folder / 'key.pub').read_text().strip()}', publisher: acme }}\n"
    )
    return folder


def hostile_files(folder: Path) -> dict[str, str]:
    os.mkfifo(folder / "pipe")
    with (folder / "huge").open("wb") as file:
        file.truncate(2**40)
    os.chmod(folder / "huge", 0o600)
    return {"pipe": "a pipe", "/dev/zero": "a device", ".": "a directory", "huge": "is longer than"}


@pytest.mark.parametrize("line", LINES)
def test_what_is_not_a_regular_file_or_has_no_end_is_refused(files, dataflare, line):
    for name, expected in hostile_files(files).items():
        result = dataflare(*line.replace("FILE", name).split())
        assert result.exit_code == 2, (name, result.output)
        assert result.stderr.startswith((f"error: {name}: ", f"error: {Path(name).absolute()}: "))
        assert expected in result.stderr.replace("\n", " ")


def odd_files(folder: Path) -> Iterator[str]:
    (folder / "loop").symlink_to("loop")
    (folder / "empty").write_bytes(b"")
    (folder / "binary").write_bytes(b"\xff\xfe\0\x80" * 1000)
    (folder / "sparse").write_bytes(b"")
    os.truncate(folder / "sparse", 2**31)
    (folder / "below").write_bytes(b"")
    yield from ("loop", "empty", "binary", "sparse", "below/it", "/proc/self/mem")
    yield from ("/proc/self/fd", "x" * 300, "\udcff", "\u202egnp.exe", "/dev/tty", "/dev/stdin")


@pytest.mark.parametrize("line", LINES)
def test_odd_file_is_an_error_of_its_own(files, dataflare, line):
    if line.startswith(("state", "runs")):
        assert dataflare("state", "reset", "pipeline.yaml").exit_code == 0  # which makes the file that others read
    for name in odd_files(files):
        result = dataflare(*(word.replace("FILE", name) for word in line.split()))
        assert result.exit_code in (0, 2, 3, 4), (name, result.exit_code, result.output)
        assert result.exception is None or isinstance(result.exception, SystemExit), (name, result.exception)
        # Variables may be none at all, and an audit log may end within its first line.
        harmless = (
            "empty",
            "/dev/stdin",
            "/dev/tty",
            *(("binary",) if line in ("audit FILE", "policy suggest FILE") else ()),
        )
        assert result.exit_code or name in harmless, (name, result.output)


OUTPUTS = (
    *("package csv-source.wasm -m manifest.yaml -o FILE", "policy suggest audit.jsonl -o FILE", "key generate FILE"),
    *("bindgen csv-source.wasm -o FILE", "run pipeline.yaml --audit FILE", "inspect csv-source.wasm --cache-dir FILE"),
)


@pytest.mark.parametrize("line", OUTPUTS)
def test_odd_place_for_an_output_is_an_error_of_its_own(files, dataflare, line):
    for name in odd_files(files):
        if name in ("empty", "binary", "sparse"):
            continue  # regular files, which may be replaced
        result = dataflare(*(word.replace("FILE", name) for word in line.split()))
        assert result.exit_code in range(5) and "has failed" not in result.stderr, (name, result.output)
        assert result.exception is None or isinstance(result.exception, SystemExit), (name, result.exception)


def test_key_is_made_with_its_public_half_or_not_at_all(files, dataflare):
    name = "k" * 253  # with `.pub`, no name of a file any more
    result = dataflare("key", "generate", name)
    assert result.exit_code == 2 and "cannot be written" in result.stderr and not (files / name).exists()


def test_passphrase_is_text_of_a_length_that_can_be_used(files, dataflare):
    for content, expected in ((b"\xff\xfe secret\n", "not UTF-8"), (b"x" * 1024 + b"\n", "longer than 1023 bytes")):
        (files / "passphrase").write_bytes(content)
        result = dataflare("key", "generate", "protected", "--passphrase-file", "passphrase")
        assert result.exit_code == 2 and expected in result.stderr and not (files / "protected").exists()


@pytest.mark.parametrize("line", ["verify csv-source.wasm --trust trust.yaml", "sign csv-source.wasm --key key --add"])
def test_signature_is_a_regular_file_of_limited_length(files, dataflare, line):
    for name, expected in hostile_files(files).items():
        (files / "csv-source.wasm.sig").symlink_to(name)
        result = dataflare(*line.split())
        assert result.exit_code == 2 and "csv-source.wasm.sig: " in result.stderr and expected in result.stderr
        (files / "csv-source.wasm.sig").unlink()


def test_signature_that_is_a_link_to_nothing_is_not_taken_for_none(files, dataflare):
    (files / "csv-source.wasm.sig").symlink_to("absent")
    result = dataflare("verify", "csv-source.wasm", "--trust", "trust.yaml")
    assert result.exit_code == 2 and "No such file" in result.stderr


def test_socket_is_refused(folder):
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
        with pytest.raises(ConfigError, match=r"^socket: cannot be read"):
            read_file("socket", 10)


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b", "a" * 5000])
def test_name_that_no_file_can_have_is_refused(folder, name):
    with pytest.raises(ConfigError, match=r"cannot be read|is not a path"):
        read_file(name, 10)


def test_file_without_a_size_is_read_up_to_the_limit(folder):
    # Those of /proc say that they are empty.
    assert read_file("/proc/self/cmdline", 2**20)
    with pytest.raises(ConfigError, match="is longer than 3 bytes"):
        read_file("/proc/self/cmdline", 3)


def test_file_is_read_up_to_its_limit_exactly(folder):
    Path("f").write_bytes(b"x" * 100)
    assert len(read_file("f", 100)) == 100
    with pytest.raises(ConfigError, match="f: is longer than 99 bytes"):
        read_file("f", 99)


def test_absent_file_can_be_asked_for(folder):
    assert find_file("absent", 10) is None
    Path("link").symlink_to("absent")
    with pytest.raises(ConfigError, match="No such file"):
        find_file("link", 10)


def test_audit_log_is_a_regular_file(files, dataflare):
    os.mkfifo("pipe")
    for name in ("pipe", "/dev/full"):
        result = dataflare("run", "pipeline.yaml", "--audit", name)
        assert result.exit_code == 2 and f"{name}: cannot be appended to" in result.stderr


@pytest.mark.parametrize("line", ["package csv-source.wasm -m manifest.yaml -o", "policy suggest audit.jsonl -o"])
def test_only_a_regular_file_is_replaced(files, dataflare, line):
    os.mkfifo("pipe")
    (files / "link").symlink_to("/dev/null")
    for name in ("pipe", "link", "."):
        before = os.lstat(name).st_ino
        result = dataflare(*line.split(), name)
        assert result.exit_code == 2 and "cannot be written" in result.stderr
        assert os.lstat(name).st_ino == before


@pytest.mark.parametrize("line", ["run pipeline.yaml", "state list pipeline.yaml", "state reset pipeline.yaml"])
def test_state_is_a_regular_file_of_the_pipeline(files, dataflare, line):
    os.mkfifo("pipe")
    (files / "link").symlink_to("elsewhere")
    (files / "text").write_text("not a database, and long enough to be looked at as one" * 100)
    for name in ("pipe", "link", ".", "/dev/null", "absent/state", "text"):
        result = dataflare(*line.split(), "--state", name)
        assert result.exit_code == 1, (name, result.output)
        assert result.stderr.startswith("error: ") and "hint: " in result.stderr
    assert not (files / "elsewhere").exists()
    assert (files / "text").read_text().startswith("not a database")


@pytest.mark.parametrize("command", ["list", "show", "export"])
@pytest.mark.parametrize("place", [["--state", "absent.state"], []])
def test_a_command_that_reads_a_state_makes_no_file(files, dataflare, command, place):
    before = sorted(os.listdir())
    result = dataflare("state", command, *place, "pipeline.yaml")
    assert result.exit_code == 1 and "there is no state file" in result.stderr
    assert sorted(os.listdir()) == before


def test_the_place_of_an_error_in_a_state_to_import_is_named_where_there_is_one(files, dataflare):
    for text, words in (("{", "bad.json: Invalid JSON"), ('{"pipeline": 1, "sources": []}', "bad.json: pipeline: ")):
        (files / "bad.json").write_text(text)
        result = dataflare("state", "import", "pipeline.yaml", "bad.json")
        assert result.exit_code == 2 and words in result.stderr

"""Attacks by names, spellings and leftovers: on files of a run, on its log, on its state, on what reads YAML."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arena import Arena, Mutation, answers, attack
from attacks_connectors import POLICY, Place
from attacks_outputs import write
from attacks_roles import command_line
from dataflare.capabilities.capability_failure import CapabilityFailure
from dataflare.capabilities.http_broker import HttpBroker
from dataflare.capabilities.http_transport import Canned, MemoryTransport
from dataflare.capabilities.sqlite_state import SqliteStateStore
from dataflare.capabilities.state import StateLimits
from dataflare.documents.reader import parse_document
from dataflare.errors import ConfigError, DataflareError
from dataflare.grants import HttpGrant
from dataflare.pipeline.partials import remove_leftovers
from dataflare.pipeline.reading.inputs import find_files
from dataflare.pipeline.run_errors import DataError
from dataflare.security.audit import read_audit
from dataflare.security.protected import ProtectedFiles
from dataflare.wit_types.http import Request

ODD_NAME = os.fsdecode(b"\xff.csv")


def fails_with(expected: type[DataflareError], call: Callable[[], object]) -> DataflareError:
    """What a call fails with; anything but an error of its kind is the attack getting through."""
    try:
        call()
    except expected as error:
        return error
    except Exception as error:
        raise AssertionError(f"it failed with {error!r}") from error
    raise AssertionError("it was let through")


@attack("outputs")
def pipeline_of_somebody_else_as_an_output(arena: Arena) -> None:
    """Write the file of another pipeline, which the policy knows by its place, to use what that one is granted."""
    place = Place(arena, {**POLICY, "pipelines": {"billing": {"file": "out/billing.yaml"}}})
    place.is_refused("known by its file", write="out/billing.yaml")
    place.runs()


@attack("outputs")
def protected_file_spelled_otherwise(arena: Arena) -> None:
    """Name the policy in capitals, or with a decomposed accent, which some file systems treat as the same name."""
    protected = ProtectedFiles()
    folder = arena.folder / "here"
    folder.mkdir()
    protected.add(folder / "pol\u00edtica.yaml", "the policy")
    for name in ("POL\u00cdTICA.yaml", "poli\u0301tica.YAML", "pol\u00edtica.yaml"):
        assert protected.reason_of(folder / name) == "is the policy", name
    assert protected.reason_of(folder / "politica.yaml") == ""


@attack("outputs")
def program_that_runs_as_another_user_replaced(arena: Arena) -> None:
    """Overwrite a set-user-ID program with rows, so that the new file keeps its owner's rights."""
    program = arena.folder / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o6755)
    assert write(program, {"n": [1]}) is None
    assert stat.S_IMODE(program.stat().st_mode) == 0o755


@attack("outputs")
def device_of_the_kernel_as_an_output(arena: Arena) -> None:
    """Write to a device that is not a terminal or `/dev/null`, such as the machine's memory."""
    error = write(Path("/dev/urandom"), {"n": [1]})
    assert isinstance(error, DataError) and "part of the system" in str(error)
    assert write(Path("/dev/null"), {"n": [1]}) is None


@attack("outputs")
def leftovers_nested_without_end(arena: Arena) -> None:
    """Leave a folder of a thousand levels, named like what a dead run left, so that clearing it ends the next run."""
    top = f"{arena.folder}/.out.csv.{'0' * 16}.partial"
    os.mkdir(top)
    descriptor = os.open(top, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    try:
        remove_leftovers(arena.folder / "out.csv")
    except RecursionError as error:
        raise AssertionError("it got through") from error
    finally:
        _unnest(top)


def _unnest(top: str) -> None:
    """Remove a deep folder, which neither `shutil` nor pytest can."""
    while os.path.isdir(f"{top}/d"):
        os.rename(f"{top}/d", f"{top}.below")
        os.rmdir(top)
        os.rename(f"{top}.below", top)
    os.rmdir(top)


@attack("files")
def pattern_that_looks_through_a_link(arena: Arena) -> None:
    """Learn the names in another folder by a link that stands behind the pattern's first star."""
    place = Place(arena)
    (place.folder / "in" / "any").mkdir()
    (place.folder / "in" / "any" / "link").symlink_to(place.folder / "elsewhere")
    assert find_files(place.folder, "in/*/link/*.csv", some=False) == []


@attack("files")
def names_too_long_for_the_system(arena: Arena) -> None:
    """Use file names that no file system accepts, so that a check fails with a raw system error."""
    place = Place(arena)
    (place.folder / "out" / "file").write_text("")
    for name in ("x" * 300, "x" * 300 + "/y", "file/below/it"):
        fails_with(DataflareError, lambda name=name: place.runs(write=f"out/{name}"))  # type: ignore[misc]
        fails_with(DataflareError, lambda name=name: place.runs(read=f"in/{name}"))  # type: ignore[misc]
    place.runs()


@attack("roles")
def output_that_decides_about_commands(arena: Arena) -> None:
    """Have a command write its result in place of the roles, the audit log, or the policy in force."""
    for name in ("audit.jsonl", "rules.yaml"):
        (arena.folder / name).write_text("")
    env = {"DATAFLARE_AUDIT": "audit.jsonl", "DATAFLARE_POLICY": "rules.yaml"}
    (arena.folder / "link.yaml").symlink_to("access.yaml")
    for output in ("access.yaml", "link.yaml", "./x/../access.yaml", "audit.jsonl", "rules.yaml"):
        for words in (
            ("package", "none.wasm", "-m", "none.yaml", "-o", output),
            ("conformance", "run", "none.wasm", "--html", output),
            ("conformance", "run", "none.wasm", "--html", "fine.html", "--junit", output),
        ):
            result = command_line(arena, *words, "--access", "access.yaml", "--principal", "ann", env=env)
            assert result.exit_code == 4, f"it was let through: {result.output}"
    assert "deny" in (arena.folder / "audit.jsonl").read_text()


@attack("audit")
def file_whose_name_is_no_text(arena: Arena) -> None:
    """Name a file by bytes that are not UTF-8, which the log cannot hold, so that the run ends without a line."""
    log = arena.folder / "audit.jsonl"
    place = Place(arena, audit=log)
    (place.folder / "in" / ODD_NAME).write_text("n\n1\n")
    try:
        place.runs(read="in/*.csv")
    except (TypeError, ValueError) as error:
        raise AssertionError(f"the log did not take it: {error}") from error
    assert any(each.reason == "\ufffd.csv" for each in read_audit(log).events)


@attack("network")
def method_in_a_header_of_any_name(arena: Arena) -> None:
    """Name another method in a header that no list has, where any header is granted."""
    grant = HttpGrant(methods=["POST"], request_headers="any")  # type: ignore[arg-type]
    transport = MemoryTransport(lambda _: Canned())
    with HttpBroker({"https://a.example": grant}, transport) as broker:
        for name in ("X-REST-Method", "X-HTTP-Verb", "x_methodoverride", "Real-Method", "X-Override"):
            try:
                broker.send(Request("POST", "https://a.example/", [(name, "DELETE")]))
            except CapabilityFailure as failure:
                assert failure.case == "denied"
        broker.send(Request("POST", "https://a.example/", [("access-control-request-method", "PUT")]))
    assert len(transport.sent) == 1, [each.headers for each in transport.sent]


@attack("files-in")
def yaml_of_hundreds_of_thousands_of_values(arena: Arena) -> None:
    """Fill a manifest, a policy or a pipeline with short values, which take a parser long."""
    text = f"k: [{'1,' * 450_000}]"
    assert "more than 400000" in str(fails_with(ConfigError, lambda: parse_document(text, name="f")))


@attack("files-in")
def yaml_that_its_parser_stumbles_over(arena: Arena) -> None:
    """Use escapes, versions and line ends in YAML that make its parser fail in ways of its own."""
    for text in ('a: "\\U00110000"', 'a: "\\UFFFFFFFF"', f"%YAML {'9' * 5000}.1\n---\na: 1\n", "a: 1\r\r\r\rb: ["):
        fails_with(ConfigError, lambda text=text: parse_document(text, name="f"))  # type: ignore[misc]


@attack("terminal")
def key_of_a_megabyte_in_an_error(arena: Arena) -> None:
    """Fill the terminal with a name that an error quotes."""
    long = "x" * 100_000
    for text in (f"a: &{long} 1", f"a: !{long} [1]", f"{long[:900]}: 1\n{long[:900]}: 2"):
        error = fails_with(ConfigError, lambda text=text: parse_document(text, name="f"))  # type: ignore[misc]
        assert len(str(error)) < 1_000


@attack("limits")
def state_that_takes_more_than_it_counts(arena: Arena) -> None:
    """Fill the state with many short keys, or with the longest, which take a file several times their length."""
    limit = 2**20
    for length in (8, 1024):
        file = arena.folder / f"state-{length}"
        store = SqliteStateStore(file, limits=StateLimits(namespace_bytes=limit))
        store._connection.execute("PRAGMA synchronous = OFF")
        try:
            for number in range(limit):
                store.set("namespace/" * 20, f"{number * 7919 % 2**20:0{length}d}", b"")
        except CapabilityFailure as failure:
            assert failure.case == "quota-exceeded"
        store.close()
        assert file.stat().st_size < 3 * limit, f"{file.stat().st_size / limit} times the limit"


@attack("files-in")
def state_whose_values_are_of_another_type(arena: Arena) -> None:
    """Put texts and nonsense into the tables of a state, so that reading it ends the host with errors of its own."""
    for change in (
        *("UPDATE usage SET bytes = 'many'", "UPDATE usage SET bytes = -1", "UPDATE entries SET value = 'text'"),
        *("UPDATE entries SET key = 'k'", "UPDATE entries SET key = x'ff'"),
    ):
        file = arena.folder / f"state-{time.monotonic_ns()}"
        store = SqliteStateStore(file)
        store.set("n", "k", b"v")
        with sqlite3.connect(file) as other:
            other.execute(change)
        other.close()
        calls: tuple[Callable[[], Any], ...] = (
            *(lambda store=store: store.get("n", "k"), lambda store=store: store.set("n", "k", b"")),
            *(lambda store=store: store.list_keys("n", "", None, 0), lambda store=store: store.delete("n", "k")),
        )
        for call in calls:
            try:
                call()
            except CapabilityFailure as failure:
                assert "damaged" in str(failure.error.value)
            except Exception as error:
                raise AssertionError(f"{change}: {error!r}") from error
        store.close()


@attack("neighbours")
def state_used_by_a_process_that_was_forked(arena: Arena) -> None:
    """Fork while the state is open or in use: two processes on one connection damage it, or one waits for the other."""
    store = SqliteStateStore(arena.folder / "state")
    with store._lock:
        child = os.fork()
        if child == 0:
            os._exit(_outcome_in_child(store))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    store.close()


def _outcome_in_child(store: SqliteStateStore) -> int:
    began = time.monotonic()
    try:
        store.get("n", "k")
    except CapabilityFailure as failure:
        return 0 if failure.case == "other" and time.monotonic() - began < 5 else 1
    except BaseException:
        return 2
    return 3


@attack("neighbours")
def state_by_a_name_of_the_databases_own(arena: Arena) -> None:
    """Name the state `:memory:`, or change the working directory, so that kept values are silently lost."""
    before = Path.cwd()
    os.chdir(arena.folder)
    try:
        store = SqliteStateStore(":memory:")
        os.chdir("/")
        store.set("n", "k", b"v")
        store.close()
    except CapabilityFailure as failure:
        raise AssertionError(str(failure)) from failure
    finally:
        os.chdir(before)
    assert (arena.folder / ":memory:").exists()


class _Raw(ValueError):
    """What PyYAML raises, with the arguments that this package's own error takes."""

    def __init__(self, message: str, **_: str) -> None:
        super().__init__(message)


MUTATIONS = [
    Mutation(
        "dataflare.security.admission:Admission.require_output",
        answers(None),
        ("output_that_decides_about_commands",),
    ),
    Mutation(
        "dataflare.security.admission:Admission._protect_pipelines",
        answers(None),
        ("pipeline_of_somebody_else_as_an_output",),
    ),
    Mutation("dataflare.security.protected:_folded", lambda name: name, ("protected_file_spelled_otherwise",)),
    Mutation("dataflare.pipeline.outputs:_EXECUTED_AS", 0, ("program_that_runs_as_another_user_replaced",)),
    Mutation("dataflare.pipeline.outputs:_takes_data", answers(True), ("device_of_the_kernel_as_an_output",)),
    Mutation("dataflare.pipeline.partials:_UNREMOVABLE", (OSError,), ("leftovers_nested_without_end",)),
    Mutation("dataflare.pipeline.reading.inputs:_leads_away", answers(False), ("pattern_that_looks_through_a_link",)),
    Mutation("dataflare.security.connectors:_NOT_THERE", FileNotFoundError, ("names_too_long_for_the_system",)),
    Mutation("dataflare.security.audit:_HALVES", re.compile("(?!)"), ("file_whose_name_is_no_text",)),
    Mutation("dataflare.request_headers:_OVERRIDE", re.compile("x-http-method"), ("method_in_a_header_of_any_name",)),
    Mutation("dataflare.documents.reader:ConfigError", _Raw, ("yaml_that_its_parser_stumbles_over",)),
    Mutation("dataflare.documents.reader:_MAX_PARTS", 2**30, ("yaml_of_hundreds_of_thousands_of_values",)),
    Mutation("dataflare.documents.reader:cut", lambda text, _=0: text, ("key_of_a_megabyte_in_an_error",)),
    Mutation("dataflare.capabilities.state:ENTRY_BYTES", 64, ("state_that_takes_more_than_it_counts",)),
    Mutation("dataflare.capabilities.sqlite_state:_PAGE_BYTES", 4096, ("state_that_takes_more_than_it_counts",)),
    Mutation(
        "dataflare.capabilities.sql_state:checked",
        lambda value, _: value,
        ("state_whose_values_are_of_another_type",),
    ),
    Mutation(
        "dataflare.capabilities.sqlite_state:SqliteStateStore._require_own",
        answers(None),
        ("state_used_by_a_process_that_was_forked",),
    ),
    Mutation(
        "dataflare.capabilities.sqlite_state:_absolute", lambda path: path, ("state_by_a_name_of_the_databases_own",)
    ),
]

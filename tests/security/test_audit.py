from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.capabilities import clock, files, state
from dataflare.errors import AuditFailed, ConfigError, PermissionDenied, UsageError
from dataflare.security.audit import (
    MAX_LINE_BYTES,
    AuditEvent,
    FileAuditLog,
    MemoryAuditLog,
    Redactor,
    parse_audit,
    read_audit,
)
from dataflare.security.capability import Capability
from dataflare.security.enforcement import Auditor, Revocations
from dataflare.security.uses import denial_case, used_by
from dataflare.values import Err, Ok, Variant

FILES = "dataflare:host/files@1.0.0"
HTTP = "dataflare:host/http@1.0.0"
SECRETS = "dataflare:host/secrets@1.0.0"
STATE = "dataflare:host/state@1.0.0"
CLOCK = "dataflare:host/clock@1.0.0"
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def make_event(number: int = 0, **values) -> AuditEvent:
    return AuditEvent(
        **{
            "when": START + timedelta(seconds=number),
            "plugin": "rates",
            "pipeline": "nightly",
            "capability": "http",
            "function": "send",
            "object": "http:GET:https://api.example.com",
            "decision": "allow",
            **values,
        }
    )


@pytest.fixture(params=["memory", "file"])
def log(request, tmp_path):
    made = MemoryAuditLog() if request.param == "memory" else FileAuditLog(tmp_path / "audit.jsonl")
    yield made
    made.close()


def events_of(log) -> list[AuditEvent]:
    return list(log.events if isinstance(log, MemoryAuditLog) else read_audit(log._path).events)


# Logs.


def test_events_come_back_in_their_order(log):
    events = [make_event(number, reason='é\n"\\') for number in range(5)]
    for event in events:
        log.record(event)
    assert events_of(log) == events


def test_closed_log_takes_no_events_and_closes_again(log):
    log.close()
    log.close()
    with pytest.raises(UsageError, match="closed"):
        log.record(make_event())


def test_line_holds_who_what_whether_and_when(tmp_path):
    with FileAuditLog(tmp_path / "a") as log:
        log.record(make_event())
    assert json.loads((tmp_path / "a").read_text()) == {
        "when": "2026-01-02T03:04:05Z",
        "plugin": "rates",
        "pipeline": "nightly",
        "capability": "http",
        "function": "send",
        "object": "http:GET:https://api.example.com",
        "decision": "allow",
        "count": 1,
        "reason": "",
    }


def test_file_is_its_owners_alone_and_only_grows(tmp_path):
    path = tmp_path / "a"
    for number in range(2):
        with FileAuditLog(path, durable=True) as log:
            log.record(make_event(number))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(read_audit(path).events) == 2


def test_symbolic_link_is_no_log(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="cannot be appended to"):
        FileAuditLog(tmp_path / "link")
    assert not (tmp_path / "elsewhere").exists()


def test_threads_never_tear_a_line(log):
    def write(thread: int) -> None:
        for number in range(200):
            log.record(make_event(number, plugin=f"p{thread}", reason="x" * (number % 100)))

    threads = [threading.Thread(target=write, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = events_of(log)
    assert len(events) == 1600
    for thread in range(8):
        mine = [event.when for event in events if event.plugin == f"p{thread}"]
        assert mine == sorted(mine)


def test_processes_share_a_file(tmp_path):
    path = tmp_path / "a"
    code = (
        "import sys; from datetime import datetime, UTC;"
        "from dataflare.security.audit import AuditEvent, FileAuditLog;"
        "log = FileAuditLog(sys.argv[1]);"
        "[log.record(AuditEvent(when=datetime.now(UTC), plugin=sys.argv[2], capability='clock', function='now',"
        " object='clock', decision='allow')) for _ in range(200)]"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(path), f"p{number}"]) for number in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    reading = read_audit(path)
    assert (len(reading.events), reading.damaged_lines, reading.truncated) == (600, (), False)


def test_every_truncation_of_the_last_line_is_tolerated(tmp_path):
    lines = [make_event(number).line() for number in range(2)]
    whole = b"".join(lines)
    for length in range(len(lines[0]), len(whole)):
        path = tmp_path / "a"
        path.write_bytes(whole[:length])
        reading = read_audit(path)
        complete = length == len(whole) - 1  # its line feed alone is missing
        assert len(reading.events) == 1 + complete
        assert reading.damaged_lines == ()
        assert reading.truncated == (len(lines[0]) < length < len(whole) - 1)


def test_log_goes_on_after_a_line_that_a_crash_cut_short(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(make_event(0).line() + make_event(1).line()[:20])
    with FileAuditLog(path) as log:
        log.record(make_event(2))
    reading = read_audit(path)
    assert reading.events == (make_event(0), make_event(2))
    assert (reading.damaged_lines, reading.truncated) == ((2,), False)


def test_full_disk_fails_the_call_and_spoils_no_later_line(tmp_path, monkeypatch):
    path = tmp_path / "a"
    log = FileAuditLog(path)
    write = os.write

    def short_then_full(descriptor, data):
        monkeypatch.setattr(os, "write", full)
        return write(descriptor, data[:10])

    def full(descriptor, data):
        monkeypatch.setattr(os, "write", write)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", short_then_full)
    with pytest.raises(AuditFailed, match="No space"):
        log.record(make_event(0))
    log.record(make_event(1))
    log.close()
    assert read_audit(path).events == (make_event(1),)


def test_line_without_an_end_is_damaged_and_read_in_parts(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x" * (3 * MAX_LINE_BYTES) + b"\n" + make_event().line())
    reading = read_audit(path)
    assert (reading.events, reading.damaged_lines) == ((make_event(),), (1,))


def test_absent_log_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_audit(tmp_path / "absent")


@given(st.lists(st.binary(max_size=80), max_size=5))
def test_random_bytes_are_read_without_an_error(chunks):
    data = b"\n".join(chunks)
    reading = parse_audit(data.splitlines(keepends=True))
    assert reading.events == ()


@given(st.data())
def test_flipped_bits_spoil_at_most_the_lines_that_they_are_in(data):
    lines = [bytearray(make_event(number).line()) for number in range(4)]
    spoilt = data.draw(st.sampled_from(range(4)))
    position = data.draw(st.integers(0, len(lines[spoilt]) * 8 - 1))
    lines[spoilt][position // 8] ^= 1 << position % 8
    reading = parse_audit(b"".join(lines).splitlines(keepends=True))
    good = {make_event(number) for number in range(4) if number != spoilt}
    if position // 8 < len(lines[spoilt]) - 1:
        assert good <= set(reading.events)


# Redaction.


@given(st.text("abc/ ", min_size=1, max_size=30), st.text("xyz", max_size=30), st.text("xyz", max_size=30))
def test_secret_is_masked_where_it_stands(secret, before, after):
    assert Redactor([secret]).redact(before + secret + after) == f"{before}***{after}"


def test_encoded_secrets_are_taken_out_too():
    redactor = Redactor(["päss wörd/1", "päss"])
    text = redactor.redact("u=p%C3%A4ss%20w%C3%B6rd%2F1&b=cMOkc3Mgd8O2cmQvMQ== päss wörd/1 päss")
    assert "rd" not in text
    assert "p" not in text


# Uses and denials, by the WIT.


@pytest.mark.parametrize(
    ("interface", "function", "case"),
    [
        (FILES, "open", "denied"),
        (FILES, "[method]reader.read", "denied"),
        (FILES, "[method]reader.tell", None),
        (FILES, "granted", None),
        (HTTP, "send", "denied"),
        (SECRETS, "get", "not-granted"),
        (STATE, "get", "other"),
        ("dataflare:host/plugins@1.0.0", "call", "denied"),
        ("dataflare:host/shared@1.0.0", "put", "denied"),
        (CLOCK, "now", None),
        ("acme:own/thing@1.0.0", "f", None),
    ],
)
def test_refusal_follows_from_the_wit(interface, function, case):
    assert denial_case(interface, function) == case


@pytest.mark.parametrize(
    ("interface", "function", "args", "used"),
    [
        ("files", "open", ("input/a/b.csv",), "files:read:input"),
        ("files", "create", ("out/a", True), "files:write:out"),
        ("files", "open", ("../etc/passwd",), "files:?"),
        ("http", "send", (SimpleNamespace(url="https://API.example.com:443/x?token=1", method="GET"),),
         "http:GET:https://api.example.com"),
        ("http", "send", (SimpleNamespace(url="https://u:pw@api.example.com/", method="GET"),),
         "http:GET:https://api.example.com"),
        ("http", "send", (SimpleNamespace(url="file:///etc/passwd", method="GET"),), "http:?"),
        ("http", "send", (SimpleNamespace(url="https://[", method="G T"),), "http:?"),
        ("secrets", "get", ("api-token",), "secrets:api-token"),
        ("secrets", "get", ("no such\nname",), "secrets:?"),
        ("plugins", "call", ("clean", None), "plugins:clean"),
        ("shared", "get", ("lookup",), "shared:read:lookup"),
        ("shared", "put", ("lookup", None), "shared:write:lookup"),
        ("state", "set", ("password", b"1"), "state"),
        ("clock", "now", (), "clock"),
        ("files", "granted", (), "files"),
    ],
)  # fmt: skip
def test_use_is_told_from_the_arguments(interface, function, args, used):
    from dataflare.security.uses import written

    assert written(used_by(interface, function, args)) == used


# Wrapped functions.


@pytest.fixture
def memory() -> MemoryAuditLog:
    return MemoryAuditLog()


@pytest.fixture
def revocations() -> Revocations:
    return Revocations()


@pytest.fixture
def auditor(memory, revocations) -> Auditor:
    return Auditor("rates", pipeline="nightly", log=memory, revocations=revocations, now=lambda: START)


def told(memory) -> list[tuple[str, str, str]]:
    return [(event.function, event.object, event.decision) for event in memory.events]


@pytest.fixture
def wrapped_files(auditor):
    store = files.MemoryFiles(
        {
            "input": files.MemoryDirectory(files={"a": b"1", "b": b"2"}),
            "out": files.MemoryDirectory(writable=True),
        }
    )
    return auditor.wrap_imports({FILES: files.imports(store)})[FILES]


def test_allowed_and_denied_uses_are_written(wrapped_files, memory):
    assert isinstance(wrapped_files["open"]("input/a"), Ok)
    assert wrapped_files["create"]("input/new", True).error.case == "denied"
    assert wrapped_files["open"]("elsewhere/a").error.case == "denied"
    assert told(memory) == [
        ("open", "files:read:input", "allow"),
        ("create", "files:write:input", "deny"),
        ("open", "files:read:elsewhere", "deny"),
    ]
    assert memory.events[1].plugin == "rates"
    assert memory.events[1].pipeline == "nightly"
    assert memory.events[1].when == START
    assert memory.events[1].reason


def test_other_errors_are_uses_that_were_allowed(wrapped_files, memory):
    assert wrapped_files["open"]("input/absent").error.case == "not-found"
    assert told(memory) == [("open", "files:read:input", "allow")]


def test_revoked_interface_is_refused_at_the_next_call(wrapped_files, revocations, memory):
    reader = wrapped_files["open"]("input/a").value
    revocations.revoke("rates", "files")
    assert wrapped_files["open"]("input/a").error.case == "denied"
    assert wrapped_files["[method]reader.read"](reader, 10).error.case == "denied"
    with pytest.raises(PermissionDenied, match="was revoked") as caught:
        wrapped_files["granted"]()
    assert (caught.value.plugin, caught.value.capability) == ("rates", "files")
    with pytest.raises(PermissionDenied):
        wrapped_files["[method]reader.tell"](reader)
    assert [decision for _, _, decision in told(memory)] == ["allow", "deny", "deny", "deny", "deny"]
    revocations.restore("rates", "files")
    assert wrapped_files["[method]reader.read"](reader, 10) == Ok(b"1")


def test_revoked_directory_takes_its_open_files_along_and_no_others(wrapped_files, revocations):
    reader = wrapped_files["open"]("input/a").value
    writer = wrapped_files["create"]("out/a", True).value
    revocations.revoke("rates", "files:read:input")
    assert wrapped_files["[method]reader.read"](reader, 10).error.case == "denied"
    assert wrapped_files["open"]("input/b").error.case == "denied"
    assert wrapped_files["[method]writer.write"](writer, b"x") == Ok(None)
    assert [each.name for each in wrapped_files["granted"]()] == ["input", "out"]


def test_handle_of_unknown_origin_is_refused_when_anything_of_its_interface_was_revoked(auditor, revocations):
    read = auditor.wrap(FILES, "[method]reader.read", lambda handle, size: Ok(b"x"))
    assert read(3, 1) == Ok(b"x")
    revocations.revoke("rates", "files:read:input")
    assert read(3, 1).error.case == "denied"


def test_revoking_from_one_plugin_leaves_others_alone(memory, revocations):
    revocations.revoke("rates", "state")
    other = Auditor("other", log=memory, revocations=revocations)
    store = state.MemoryStateStore()
    mine = Auditor("rates", log=memory, revocations=revocations).wrap_imports({STATE: state.imports(store, "a")})[STATE]
    theirs = other.wrap_imports({STATE: state.imports(store, "b")})[STATE]
    assert theirs["set"]("k", b"1") == Ok(None)
    refused = mine["set"]("k", b"1")
    assert refused == Err(Variant("other", "state was revoked"))
    assert store.get("a", "k") is None


def test_revoking_all_refuses_functions_without_an_error_by_an_exception(auditor, revocations):
    now = auditor.wrap_imports({CLOCK: clock.imports(clock.SystemClock())})[CLOCK]["now"]
    assert now().seconds > 0
    revocations.revoke_all("rates")
    with pytest.raises(PermissionDenied, match="clock was revoked"):
        now()


def test_revocation_reaches_a_plugin_that_runs_in_another_thread(auditor, revocations):
    get = auditor.wrap(SECRETS, "get", lambda name: Ok("value"))
    first, refused = threading.Event(), threading.Event()

    def run() -> None:
        while not isinstance(get("api-token"), Err):
            first.set()
        refused.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert first.wait(10)
    revocations.revoke("rates", Capability("secrets", "api-token"))
    assert refused.wait(10)
    thread.join(10)


def test_unknown_capability_cannot_be_revoked(revocations):
    with pytest.raises(ConfigError, match="is not a capability"):
        revocations.revoke("rates", "file")
    assert revocations.of("rates") == frozenset()


def test_secret_that_a_plugin_got_never_shows_in_the_log(auditor, memory):
    get = auditor.wrap(SECRETS, "get", lambda name: Ok("hunter2"))
    send = auditor.wrap(HTTP, "send", lambda request: Err(Variant("denied", f"header hunter2 of {request.url}")))
    get("api-token")
    send(SimpleNamespace(url="https://api.example.com/?key=hunter2", method="GET"))
    assert [event.object for event in memory.events] == ["secrets:api-token", "http:GET:https://api.example.com"]
    assert not any(b"hunter2" in event.line() for event in memory.events)


def test_repeated_uses_are_written_at_powers_of_two_and_by_flush(auditor, memory):
    get = auditor.wrap(STATE, "get", lambda key: Ok(None))
    for _ in range(1000):
        get("k")
    assert [event.count for event in memory.events] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    auditor.flush()
    assert memory.events[-1].count == 1000


def test_each_request_is_written_however_often_it_repeats(auditor, memory):
    send = auditor.wrap(HTTP, "send", lambda request: Ok(None))
    for _ in range(5):
        send(SimpleNamespace(url="https://api.example.com/", method="GET"))
    assert told(memory) == [("send", "http:GET:https://api.example.com", "allow")] * 5


def test_repeated_denials_cannot_flood_the_log(auditor, memory):
    send = auditor.wrap(HTTP, "send", lambda request: Err(Variant("denied", "no")))
    for _ in range(1000):
        send(SimpleNamespace(url="https://api.example.com/", method="GET"))
    assert len(memory.events) == 10


def test_function_of_a_free_interface_stays_itself(auditor):
    def log(*args):
        return None

    assert auditor.wrap("dataflare:host/logging@1.0.0", "log", log) is log
    assert auditor.wrap("wasi:cli/environment@0.2.0", "get-environment", log) is log


def test_marks_on_a_function_stay_on_it(wrapped_files):
    assert wrapped_files["[method]writer.write-text"].text_as_bytes is True


def test_exception_of_a_function_passes_through_and_is_written(auditor, memory):
    def broken(name):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        auditor.wrap(SECRETS, "get", broken)("api-token")
    assert memory.events[0].reason == "raised ZeroDivisionError"


def test_call_fails_when_it_cannot_be_written(auditor, memory):
    memory.close()
    with pytest.raises(UsageError, match="closed"):
        auditor.wrap(SECRETS, "get", lambda name: Ok("v"))("api-token")

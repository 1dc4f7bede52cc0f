"""Attacks on the audit log, on revocation, on roles, and by files that are no plugins."""

from __future__ import annotations

import json
import os
from functools import cache
from typing import Any

import wasmtime

from arena import Arena, Mutation, answers, attack, bystander, probe
from dataflare.engine.engine import Engine
from dataflare.errors import (
    AuditFailed,
    ComponentError,
    ConfigError,
    NotAComponent,
    PermissionDenied,
    UsageError,
    WorldMismatch,
)
from dataflare.grants import DirectoryGrant, Grants
from dataflare.runtime.host import Host
from dataflare.security.access import Access
from dataflare.security.admission import Admission, Identity
from dataflare.security.audit import AuditEvent, FileAuditLog, read_audit
from dataflare.security.capability import Needs
from dataflare.security.enforcement import Auditor
from dataflare.security.manifest import MANIFEST_SECTION, ManifestTooLarge
from dataflare.security.sections import append_section
from plugin_wat import RESULT, Hostile, hostile

PATH = f"(local.get $p) (local.get $n) (i32.const {RESULT})"


def reader(arena: Arena) -> tuple[Hostile, Grants]:
    folder = arena.folder / "in"
    folder.mkdir(exist_ok=True)
    (folder / "file").write_text("text")
    return probe("files#open", PATH), Grants(files={"data": DirectoryGrant(path=folder)})


@attack("audit")
def use_that_cannot_be_audited(arena: Arena) -> None:
    """Have the log fail, to go on unseen."""
    made, grants = reader(arena)
    plugin = arena.load(made.binary, grants=grants)
    arena.answers_with("ok", plugin, made, "files#open", "data/file")
    arena.log.close()
    arena.raises(UsageError, lambda: plugin.process(made.order("ask", "data/file")), says="audit log is closed")


@attack("audit")
def lines_forged_in_the_log(arena: Arena) -> None:
    """Write a line break and an event of one's own into a name that is logged."""
    made, grants = reader(arena)
    path = arena.folder / "audit.jsonl"
    forged = '{"when": "2026-01-01T00:00:00Z", "plugin": "other", "decision": "allow"}'
    with FileAuditLog(path) as log:
        host = arena.host(audit=log)
        plugin = arena.load(made.binary, host, grants=grants)
        plugin.process(made.order("ask", f"x\n{forged}\n/y"))
        plugin.process(made.order("ask", f"data/x\n{forged}\n"))
        plugin.close()
    reading = read_audit(path)
    assert not reading.damaged_lines and {each.plugin for each in reading.events} == {"plugin"}


@attack("audit")
def log_deleted_while_it_is_written(arena: Arena) -> None:
    """Delete the audit log during a run, which goes on writing to a file that has no name."""
    path = arena.folder / "audit.jsonl"
    with FileAuditLog(path) as log:
        event = AuditEvent.model_validate_json(
            '{"when": "2026-01-01T00:00:00Z", "plugin": "p", "capability": "c", "function": "f", "object": "o",'
            ' "decision": "allow"}'
        )
        log.record(event)
        path.rename(arena.folder / "audit.1")  # as programs that keep logs of each day do
        log.record(event)
        (arena.folder / "audit.1").unlink()
        arena.raises(AuditFailed, lambda: log.record(event), says="was deleted")


@attack("audit")
def log_exchanged_for_a_link(arena: Arena) -> None:
    """Put a link to another file in place of the audit log, to have that overwritten."""
    for text in ("precious", ""):
        (arena.folder / "victim").write_text(text)
        (arena.folder / "audit.jsonl").unlink(missing_ok=True)
        (arena.folder / "audit.jsonl").symlink_to(arena.folder / "victim")
        arena.raises(ConfigError, lambda: arena.host(audit=arena.folder / "audit.jsonl"))
        assert (arena.folder / "victim").read_text() == text


@attack("outputs")
def file_that_is_taken_for_a_log(arena: Arena) -> None:
    """Have the audit log be named like a pipeline's input or a key, so that lines are appended to it."""
    for text in ("a,b\n1,2\n", "name: p\n", '{"a": 1}\n', "\n", '{"when"; 1}\n'):
        victim = arena.folder / "victim"
        victim.write_text(text)
        error = arena.raises(ConfigError, lambda path=victim: arena.host(audit=path), says="not an audit log")  # type: ignore[misc]
        assert error.hint and victim.read_text() == text


@attack("audit")
def log_that_others_can_read(arena: Arena) -> None:
    """Read in the audit log what other plugins do."""
    path = arena.folder / "audit.jsonl"
    arena.host(audit=path).close()
    assert path.stat().st_mode & 0o077 == 0


@attack("audit")
def flood_that_buries_what_matters(arena: Arena) -> None:
    """Use a capability a million times, to hide one refusal in the log."""
    made, grants = reader(arena)
    plugin = arena.load(made.binary, grants=grants)
    for _ in range(300):
        plugin.process(made.order("ask", "data/missing"))
    plugin.process(made.order("ask", "private/file"))
    assert len(arena.log.events) < 30
    arena.assert_denied(capability="files", object="files:read:private")


@attack("revocation")
def use_after_revocation(arena: Arena) -> None:
    """Go on using a directory that was taken back while the plugin runs."""
    made, grants = reader(arena)
    host = arena.host()
    plugin = arena.load(made.binary, host, grants=grants)
    arena.answers_with("ok", plugin, made, "files#open", "data/file")
    host.revoke("plugin", "files:read:data")
    arena.answers_with("denied", plugin, made, "files#open", "data/file")
    arena.assert_denied(capability="files", object="files:read:data", reason="files:read:data was revoked")


@cache
def keeper() -> Hostile:
    """Opens a file, keeps the handle, and reads from it later."""
    return hostile(
        {
            "open": f"(call $files#open {PATH}) (global.set $kept (i32.load (i32.const {RESULT + 4})))",
            "read": f"(call $files#method-reader.read (global.get $kept) (i32.const 16) (i32.const {RESULT}))"
            f" (call $answer-outcome (i32.load8_u (i32.const {RESULT})) (i32.load8_u (i32.const {RESULT + 4})))",
        },
        uses=("files#open", "files#[method]reader.read"),
        extra="(global $kept (mut i32) (i32.const 0))",
    )


@attack("revocation")
def handle_kept_past_revocation(arena: Arena) -> None:
    """Open a file in time, and read it after the directory was taken back."""
    _, grants = reader(arena)
    host = arena.host()
    plugin = arena.load(keeper().binary, host, grants=grants)
    plugin.process(keeper().order("open", "data/file"))
    read = "files#[method]reader.read"
    assert keeper().outcome(read, plugin.process(keeper().order("read"))) == "ok"
    host.revoke("plugin", "files")
    assert keeper().outcome(read, plugin.process(keeper().order("read"))) == "denied"


@attack("revocation")
def revoked_under_another_name(arena: Arena) -> None:
    """Be loaded under another name, so that the revocation of the plugin's own does not fit."""
    made, grants = reader(arena)
    host = arena.host()
    package = arena.package(made.binary, name="rates", asks={"files": {"data": {"access": "read"}}})
    plugin = arena.load(package.binary, host, name="alias", grants=grants)
    host.revoke("rates")
    arena.answers_with("denied", plugin, made, "files#open", "data/file")


ROLES = {"version": 1, "members": {"vera": ["viewer"], "otto": ["operator"], "anna": ["author"]}}


def as_principal(arena: Arena, who: str, **options: Any) -> Host:
    return arena.host(access=Access.parse(json.dumps(ROLES)), principal=who, **options)


@attack("roles")
def viewer_who_runs_a_pipeline(arena: Arena) -> None:
    """Run a plugin with a role that may only look."""
    host = as_principal(arena, "vera")
    arena.raises(PermissionDenied, lambda: arena.load(bystander().binary, host), says="may not run")
    arena.assert_denied(capability="access", function="run", object="pipelines/default")
    arena.load(bystander().binary, as_principal(arena, "otto")).close()


@attack("roles")
def author_who_changes_the_policy(arena: Arena) -> None:
    """Write a plugin, and the policy that lets it do everything, oneself."""
    policy = arena.policy(clock=True)
    host = as_principal(arena, "anna", policy=arena.policy(name="another"))
    arena.raises(PermissionDenied, lambda: host.set_policy(policy), says="may not write policies")
    arena.assert_denied(capability="access", function="write", object="policies")
    assert host.policy is not policy
    operator = as_principal(arena, "otto", policy=arena.policy(name="another"))
    operator.set_policy(policy)
    assert operator.policy is policy


@attack("roles")
def author_who_revokes(arena: Arena) -> None:
    """Take capabilities back from somebody else's plugin."""
    host = as_principal(arena, "anna")
    arena.raises(PermissionDenied, lambda: host.revoke("rates"), says="may not revoke plugins/rates")
    assert host.revocations.of("rates") == frozenset()


@attack("roles")
def stranger_who_stops_a_pipeline(arena: Arena) -> None:
    """Stop a pipeline, or look at plugins, as somebody without any role."""
    host = as_principal(arena, "mallory")
    arena.raises(PermissionDenied, lambda: host.cancel("nightly"), says="without a role")
    arena.raises(PermissionDenied, lambda: host.inspect(bystander().binary), says="may not read")


@attack("roles")
def principal_without_roles(arena: Arena) -> None:
    """Name oneself without a file of roles, hoping that everything is allowed then."""
    arena.raises(ConfigError, lambda: arena.host(principal="admin"), says="has no roles")
    arena.raises(ConfigError, lambda: arena.host(access=Access.parse(json.dumps(ROLES))), says="principal")


@attack("roles")
def role_taken_as_a_name(arena: Arena) -> None:
    """Call oneself like a role."""
    for name in ("role:admin", "admin", "operator"):
        host = as_principal(arena, name)
        arena.raises(PermissionDenied, lambda host=host: arena.load(bystander().binary, host))


def no_plugin(arena: Arena, binary: bytes, expected: type[ComponentError] = NotAComponent) -> None:
    arena.refused_load(expected, lambda: arena.load(binary))


@attack("files-in")
def core_module_in_place_of_a_component(arena: Arena) -> None:
    """Load a core module, for which no types are known."""
    no_plugin(arena, bytes(wasmtime.wat2wasm('(module (func (export "process")))')))


@attack("files-in")
def component_that_is_cut_short(arena: Arena) -> None:
    """Load a component without its end."""
    binary = bystander().binary
    for size in (0, 4, 9, len(binary) // 2, len(binary) - 1):
        no_plugin(arena, binary[:size])


@attack("files-in")
def section_longer_than_the_file(arena: Arena) -> None:
    """Say that a section has four gigabytes."""
    no_plugin(arena, bystander().binary + b"\x00\xff\xff\xff\xff\x0f")


@attack("files-in")
def component_for_no_world(arena: Arena) -> None:
    """Load a component that is not a plugin."""
    no_plugin(arena, bytes(wasmtime.wat2wasm("(component)")), WorldMismatch)


@attack("files-in")
def import_of_something_unknown(arena: Arena) -> None:
    """Import an interface that no host has, beside those of a plugin."""
    import_ = '(import "evil:host/shell@1.0.0" (instance $evil (export "run" (func (param "command" string)))))'
    no_plugin(arena, hostile({"nothing": ""}, beside=import_).binary, WorldMismatch)


@attack("files-in")
def import_of_another_type(arena: Arena) -> None:
    """Import a function of the host with another type, to read memory by the difference."""
    import_ = '(import "dataflare:host/logging@1.0.0" (instance (export "is-enabled" (func (param "level" u64)))))'
    no_plugin(arena, hostile({"nothing": ""}, beside=import_).binary, WorldMismatch)


@attack("files-in")
def import_of_the_engines_own(arena: Arena) -> None:
    """Import what the bridges call the host by, to call it with numbers of one's own."""
    import_ = '(import "dataflare:raw/host" (instance (export "call" (func (param "index" u32)))))'
    error = arena.raises_any(ComponentError, lambda: arena.load(hostile({"nothing": ""}, beside=import_).binary))
    assert "raw" in str(error)


@attack("files-in")
def manifest_without_end(arena: Arena) -> None:
    """Carry a manifest that takes the host's memory."""
    valid = b'{"format":1,"kind":"processor","name":"hostile","version":"1.0.0"}'
    host = arena.host(policy=arena.policy())
    for text in (valid + b" " * 100_000, b"[" * 100_000):
        huge = append_section(bystander().binary, MANIFEST_SECTION, text)
        arena.refused_load(ManifestTooLarge, lambda huge=huge: arena.load(huge, host))


@attack("files-in")
def compiled_code_from_a_shared_folder(arena: Arena) -> None:
    """Put native code into a cache that others can write in."""
    folder = arena.folder / "cache"
    folder.mkdir()
    folder.chmod(0o777)
    arena.raises(ConfigError, lambda: Engine(cache_dir=folder), says="can be written by others")


@attack("files-in")
def compiled_code_that_was_exchanged(arena: Arena) -> None:
    """Exchange compiled code in the cache for other native code."""
    folder = arena.folder / "cache"
    folder.mkdir(mode=0o700)
    with Engine(cache_dir=folder) as engine:
        assert not engine.load(bystander().binary, name="plugin").from_cache
        assert engine.load(bystander().binary, name="plugin").from_cache
        (code,) = folder.glob("*.cwasm")
        data = bytearray(code.read_bytes())
        data[len(data) // 2] ^= 0xFF
        stamp = code.stat()
        code.write_bytes(data)
        os.utime(code, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        assert not engine.load(bystander().binary, name="plugin").from_cache, "it is compiled anew"


def _unescaped(event: AuditEvent) -> bytes:
    return f'{{"object": "{event.object}", "reason": "{event.reason}"}}\n'.encode()


def _written_each(auditor: Auditor, capability: str, function: str, used: Any, decision: str, reason: str) -> None:
    auditor._write(capability, function, str(used), decision, 1, reason)


def _under_its_name(_: Admission, component: bytes, signature: bytes | None, *, name: str, file: str) -> Identity:
    return Identity(needs=Needs(plugin=name))


MUTATIONS = [
    Mutation(
        "dataflare.security.audit:AuditEvent.line",
        _unescaped,
        ("lines_forged_in_the_log",),
        # Names that no grant could have are replaced before they come to the log.
        also={
            "dataflare.security.enforcement:sound": lambda used: used,
            "dataflare.security.uses:sound": lambda used: used,
        },
    ),
    Mutation("dataflare.security.audit:_is_deleted", answers(False), ("log_deleted_while_it_is_written",)),
    Mutation("dataflare.security.audit:os.O_NOFOLLOW", 0, ("log_exchanged_for_a_link",)),
    Mutation("dataflare.security.audit:_MODE", 0o644, ("log_that_others_can_read",)),
    Mutation("dataflare.security.enforcement:Auditor._record", _written_each, ("flood_that_buries_what_matters",)),
    Mutation("dataflare.security.admission:Admission._identified", _under_its_name, ("revoked_under_another_name",)),
    Mutation("dataflare.security.settings:Security.__post_init__", answers(None), ("principal_without_roles",)),
    Mutation(
        "dataflare.runtime.worlds:mismatches",
        answers([]),
        ("import_of_something_unknown", "import_of_another_type", "import_of_the_engines_own"),
    ),
    Mutation("dataflare.engine.cache:Cache._make", answers(None), ("compiled_code_from_a_shared_folder",)),
    Mutation("dataflare.engine.cache:_is_recorded", answers(True), ("compiled_code_that_was_exchanged",)),
    Mutation("dataflare.security.audit:_unlike_a_log", answers(None), ("file_that_is_taken_for_a_log",)),
]

"""Attacks of those who write pipelines: by the files that connectors read and write, and by a pipeline's own name."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arena import Arena, Mutation, Package, answers, attack, probe
from dataflare.capabilities.sqlite_state import SqliteStateStore
from dataflare.errors import ConfigError, PermissionDenied
from dataflare.grants import DirectoryGrant, Grants
from dataflare.pipeline.run_errors import NodeFailed
from dataflare.pipeline.runner import run
from dataflare.pipeline.specification import load_specification
from dataflare.runtime.host import Host
from dataflare.security.access import Access
from dataflare.security.policy import Policy, PolicyDocument
from plugin_wat import RESULT

POLICY: Mapping[str, Any] = {
    "version": 1,
    "connectors": {
        "grants": {"files": {"in": {"path": "in"}, "out": {"path": "out", "access": "write"}}},
    },
}
SECRET_ROWS = "name\nhunter2\n"


class Place:
    """A folder with rows, a policy, and pipelines that somebody writes there."""

    def __init__(self, arena: Arena, policy: Mapping[str, Any] | None = POLICY, **options: Any) -> None:
        self.arena = arena
        self.folder = arena.folder
        for name in ("in", "out", "elsewhere"):
            (self.folder / name).mkdir()
        (self.folder / "in" / "rows.csv").write_text("n\n1\n")
        (self.folder / "elsewhere" / "secret.csv").write_text(SECRET_ROWS)
        self.policy = self.folder / "policy.yaml"
        self.policy.write_text(json.dumps(policy or {"version": 1}))
        self.host: Host = arena.host(**({} if policy is None else {"policy": self.policy}), **options)

    def pipeline(self, *, read: str = "in/rows.csv", write: str = "out/rows.jsonl", **more: Any) -> Path:
        """Write a pipeline that copies a file."""
        nodes = {
            "read": {"connector": "csv", "read": read},
            "write": {"connector": "jsonl", "write": write, "input": "read", **more},
        }
        file = self.folder / "pipeline.yaml"
        file.write_text(json.dumps({"name": "copy", "nodes": nodes}))
        return file

    def runs(self, **nodes: Any) -> None:
        run(load_specification(self.pipeline(**nodes)), host=self.host)

    def is_refused(self, says: str = "", *, function: str = "create", **nodes: Any) -> None:
        """A pipeline is refused for a file, and the log has it."""
        before = self.policy.read_bytes()
        error = self.arena.raises(NodeFailed, lambda: self.runs(**nodes), says=says)
        assert isinstance(error.__cause__, PermissionDenied), error.__cause__
        self.arena.assert_denied(capability="files", function=function)
        assert self.policy.read_bytes() == before


@attack("files")
def connector_that_reads_outside_of_what_is_granted(arena: Arena) -> None:
    """Have a connector read a file that no grant covers: by its absolute path, by `..`, and through /proc."""
    place = Place(arena)
    place.runs()
    secret = place.folder / "elsewhere" / "secret.csv"
    for read in (str(secret), "in/../elsewhere/secret.csv", f"/proc/self/root{secret}", f"/proc/self/cwd/{secret}"):
        place.is_refused("below no directory", function="open", read=read)
    arena.assert_denied(plugin="connector:csv", object="files:?")


@attack("files")
def connector_that_reads_through_a_link(arena: Arena) -> None:
    """Put links into a granted directory that lead out of it: to a file, and to a folder."""
    place = Place(arena)
    (place.folder / "in" / "link.csv").symlink_to(place.folder / "elsewhere" / "secret.csv")
    (place.folder / "in" / "folder").symlink_to(place.folder / "elsewhere")
    for read in ("in/link.csv", "in/folder/secret.csv"):
        place.is_refused("below no directory", function="open", read=read)


@attack("files")
def directory_exchanged_while_a_connector_opens(arena: Arena) -> None:
    """Exchange a folder for a link to another one after its path was resolved, and before it is opened."""
    place = Place(arena)
    inner = place.folder / "in" / "inner"
    inner.mkdir()
    (inner / "secret.csv").write_text("n\n1\n")
    files = place.host.admit_pipeline("copy", load_specification(place.pipeline()).identity).files
    real = os.path.realpath

    def late(path: Any, **options: Any) -> str:
        resolved = str(real(path, **options))
        if inner.is_dir() and not inner.is_symlink() and resolved.endswith("secret.csv"):
            inner.rename(place.folder / "aside")
            inner.symlink_to(place.folder / "elsewhere")
        return resolved

    try:
        os.path.realpath = late  # type: ignore[assignment]
        error = arena.raises_any(OSError, lambda: files.open_input(inner / "secret.csv", connector="csv").read())
    finally:
        os.path.realpath = real
        files.close()
    assert inner.is_symlink() and not isinstance(error, FileNotFoundError)


@attack("files")
def connector_that_writes_outside_of_what_is_granted(arena: Arena) -> None:
    """Have a connector write where no grant covers it, or where one covers reading alone."""
    place = Place(arena)
    (place.folder / "out" / "folder").symlink_to(place.folder / "elsewhere")
    (place.folder / "out" / "link.jsonl").symlink_to(place.folder / "elsewhere" / "new.jsonl")
    for write in (
        *("elsewhere/new.jsonl", "out/../elsewhere/new.jsonl", "out/folder/new.jsonl", "out/link.jsonl"),
        *("in/new.jsonl", "out", "/proc/self/cwd/new.jsonl", "/dev/stdout"),
    ):
        place.is_refused("below no directory", write=write)
    assert [each.name for each in (place.folder / "elsewhere").iterdir()] == ["secret.csv"]


@attack("files")
def partitions_written_outside_of_what_is_granted(arena: Arena) -> None:
    """Write a folder of files next to the granted one, or in place of the granted one itself."""
    place = Place(arena)
    (place.folder / "in" / "rows.csv").write_text("n,m\n1,2\n")
    place.runs(write="out/parts", partition_by=["n"])
    assert list((place.folder / "out" / "parts").rglob("*.jsonl"))
    for write in ("elsewhere/parts", "out"):
        place.is_refused("below no directory", write=write, partition_by=["n"])


@attack("files")
def name_exchanged_for_a_link_while_a_connector_writes(arena: Arena) -> None:
    """Make the output's name a link to a file elsewhere, once the place of the output was found, to add to that."""
    place = Place(arena)
    victim = place.folder / "elsewhere" / "secret.csv"
    target = place.folder / "out" / "rows.jsonl"
    target.write_text("{}\n")
    admitted = place.host.admit_pipeline("copy", load_specification(place.pipeline()).identity)
    placed = admitted.files.place_output(target, connector="jsonl")
    assert placed is not None
    target.unlink()
    target.symlink_to(victim)
    from dataflare.pipeline.outputs import open_output

    arena.raises_any(Exception, lambda: open_output(target, if_exists="append", place=lambda _: placed).commit())
    assert victim.read_text() == SECRET_ROWS
    admitted.close()


@attack("files")
def folder_moved_away_while_a_connector_writes(arena: Arena) -> None:
    """Replace the output's folder with a link after its path was resolved: the file stays in the first folder."""
    place = Place(arena)
    inner = place.folder / "out" / "inner"
    inner.mkdir()
    admitted = place.host.admit_pipeline("copy", load_specification(place.pipeline()).identity)
    placed = admitted.files.place_output(inner / "new.jsonl", connector="jsonl")
    from dataflare.pipeline.outputs import open_output

    inner.rename(place.folder / "out" / "moved")
    inner.symlink_to(place.folder / "elsewhere")
    output = open_output(inner / "new.jsonl", place=lambda _: placed)
    output.file.write(b"{}\n")
    output.commit()
    admitted.close()
    assert (place.folder / "out" / "moved" / "new.jsonl").exists(), "it was written into the link's folder"
    assert not (place.folder / "elsewhere" / "new.jsonl").exists()


@attack("files")
def pipe_in_place_of_an_input(arena: Arena) -> None:
    """Put a named pipe into a granted directory, so that the run waits forever."""
    place = Place(arena)
    os.mkfifo(place.folder / "in" / "pipe.csv")
    place.is_refused("not a regular file", function="open", read="in/pipe.csv")


@attack("files")
def pipeline_that_overwrites_the_policy(arena: Arena) -> None:
    """Write to the policy of the run, or to its other files, where a grant covers their folder, by every other name."""
    everywhere = {"version": 1, "connectors": {"grants": {"files": {"all": {"path": ".", "access": "write"}}}}}
    state = SqliteStateStore(arena.folder / "state.db")
    arena.at_close(state.close)
    (arena.folder / "access.yaml").write_text('{"version": 1, "members": {"ada": ["operator"]}}')
    place = Place(arena, everywhere, access=arena.folder / "access.yaml", principal="ada", state_store=state)
    place.runs()
    os.link(place.policy, place.folder / "hard.yaml")
    (place.folder / "soft.yaml").symlink_to("policy.yaml")
    (place.folder / "up").symlink_to(".")
    names = ["policy.yaml", "hard.yaml", "soft.yaml", "out/../policy.yaml", "up/policy.yaml", "access.yaml", "state.db"]
    for write in (*names, "state.db-wal", "/proc/self/root" + str(place.policy)):
        place.is_refused("of this", write=write)
        place.is_refused("of this", write=write, if_exists="append")


@attack("files")
def pipeline_that_overwrites_the_policy_without_one_for_connectors(arena: Arena) -> None:
    """Write to the roles or the audit log of a host without a policy, which lets connectors write anywhere else."""
    (arena.folder / "access.yaml").write_text('{"version": 1, "members": {"ada": ["operator"]}}')
    host = arena.host(
        audit=arena.folder / "audit.jsonl", access=arena.folder / "access.yaml", principal="ada", policy=None
    )
    place = Place(arena, None)
    place.host = host
    host.protect(place.folder / "release.key", "a signing key")
    place.runs()
    os.link(place.folder / "access.yaml", place.folder / "hard.yaml")
    (place.folder / "soft").symlink_to(place.folder / "audit.jsonl")
    for write in (
        "access.yaml",
        "hard.yaml",
        "soft",
        "audit.jsonl",
        "release.key",
        "/proc/self/root" + str(place.folder / "audit.jsonl"),
    ):
        error = arena.raises(NodeFailed, lambda name=write: place.runs(write=name))
        assert isinstance(error.__cause__, PermissionDenied), error
    assert not (place.folder / "release.key").exists()


@attack("files")
def output_among_the_compiled_code(arena: Arena) -> None:
    """Write into the folder of compiled code, from where the host loads machine code."""
    place = Place(arena, None)
    cache = arena.engine.cache_dir
    for write in (cache / "new.jsonl", cache / "deeper" / "new.jsonl", cache):
        place.is_refused("compiled code", write=str(write), **({"partition_by": ["n"]} if write == cache else {}))


@attack("files")
def plugin_that_overwrites_the_policy(arena: Arena) -> None:
    """Have a plugin create or delete the policy, in a directory that it was granted for writing."""
    policy = arena.folder / "policy.yaml"
    package: Package = arena.package()
    policy.write_text(json.dumps({"version": 1, "plugins": {"plugin": {}}}))
    os.link(policy, arena.folder / "hard.yaml")
    host = arena.host()
    host.protect(policy, "the policy of this run")
    grants = Grants(files={"data": DirectoryGrant(path=arena.folder, access="write")})
    create = probe("files#create", f"(local.get $p) (local.get $n) (i32.const 1) (i32.const {RESULT})")
    delete = probe("files#delete", f"(local.get $p) (local.get $n) (i32.const {RESULT})")
    for made, function in ((create, "files#create"), (delete, "files#delete")):
        plugin = arena.load(made.binary, host, grants=grants)
        arena.answers_with("ok", plugin, made, function, "data/other.txt")
        for name in ("data/policy.yaml", "data/hard.yaml"):
            arena.answers_with("denied", plugin, made, function, name)
    assert policy.exists() and package.binary


def billing(arena: Arena, **binding: Any) -> tuple[Place, Path]:
    """A policy that grants a secret file to the connectors of one pipeline, and that pipeline's file."""
    rule = {"billing": {"grants": {"files": {"secret": {"path": "elsewhere"}}}}}
    connectors = {**POLICY["connectors"], "pipelines": rule}
    place = Place(arena, {**POLICY, "connectors": connectors, "pipelines": {"billing": binding}})
    folder = place.folder / "pipelines"
    folder.mkdir()
    return place, folder / "billing.yaml"


def written(file: Path, name: str = "billing") -> Path:
    nodes = {
        "read": {"connector": "csv", "read": "../elsewhere/secret.csv"},
        "write": {"connector": "jsonl", "write": "../out/rows.jsonl", "input": "read"},
    }
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"name": name, "nodes": nodes}))
    return file


@attack("deny")
def pipeline_that_takes_anothers_name(arena: Arena) -> None:
    """Call one's own pipeline `billing`, because the policy grants something to the pipeline of that name."""
    place, own = billing(arena, file="pipelines/billing.yaml")
    run(load_specification(written(own)), host=place.host)
    other = written(place.folder / "mine" / "billing.yaml")
    error = arena.raises(PermissionDenied, lambda: run(load_specification(other), host=place.host))
    assert "another pipeline" in str(error)
    nameless = written(place.folder / "mine" / "other.yaml", "other")
    arena.raises(NodeFailed, lambda: run(load_specification(nameless), host=place.host), says="below no directory")
    arena.assert_denied(capability="host", function="run")


@attack("deny")
def pipeline_reached_through_links(arena: Arena) -> None:
    """Run a granted pipeline through a link to its folder, or link its name to another file, to move its paths."""
    place, own = billing(arena, file="pipelines/billing.yaml")
    written(own)
    evil = place.folder / "evil"
    evil.mkdir()
    (evil / "link").symlink_to(own.parent)
    (evil / "elsewhere").mkdir()
    (evil / "elsewhere" / "secret.csv").write_text("name\nmallory\n")
    specification = load_specification(evil / "link" / "billing.yaml")
    run(specification, host=place.host)
    assert "hunter2" in (place.folder / "out" / "rows.jsonl").read_text(), "`..` was taken of the link's own folder"
    (evil / "billing.yaml").symlink_to(own)
    os.link(own, evil / "hard.yaml")
    for file in (evil / "billing.yaml", evil / "hard.yaml"):
        arena.raises(PermissionDenied, lambda path=file: run(load_specification(path), host=place.host))


@attack("deny")
def pipeline_changed_after_it_was_pinned(arena: Arena) -> None:
    """Change a pipeline's file that the policy pins by its contents."""
    probe_file = written(arena.folder / "pipelines" / "billing.yaml")
    digest = load_specification(probe_file).identity.digest
    probe_file.unlink()
    probe_file.parent.rmdir()
    place, own = billing(arena, digests=[digest])
    run(load_specification(written(own)), host=place.host)
    own.write_text(own.read_text() + "\n")
    arena.raises(PermissionDenied, lambda: run(load_specification(own), host=place.host), says="another pipeline")


@attack("files-in")
def rule_for_a_pipeline_that_nobody_knows(arena: Arena) -> None:
    """Rely on a policy's rule for a pipeline of which nothing says which file it is."""
    rules = ({"connectors": {"pipelines": {"billing": {}}}}, {"plugins": {"rates": {"pipelines": {"billing": {}}}}})
    for rule in rules:
        text = json.dumps({"version": 1, **rule})
        arena.raises(ConfigError, lambda text=text: Policy.parse(text), says="which file the pipeline 'billing' is")
    text = json.dumps({"version": 1, "pipelines": {"billing": {}}})
    arena.raises(ConfigError, lambda: Policy.parse(text), says="say which file")


@attack("roles")
def role_for_one_pipeline_used_for_another(arena: Arena) -> None:
    """Run a file of one's own under the name of the one pipeline that one may run."""
    roles = {"nightly": {"allows": {"pipelines/nightly": ["run"], "plugins": ["read"]}}}
    access = {"version": 1, "roles": roles, "members": {"mallory": ["nightly"]}}
    bound = {**access, "pipelines": {"nightly": {"file": "pipelines/nightly.yaml"}}}
    for document, says in ((access, "may not run pipelines"), (bound, "another pipeline")):
        read = Access.parse(json.dumps(document), base_dir=arena.folder)
        host = arena.host(access=read, principal="mallory")
        file = written(arena.folder / "mine" / "nightly.yaml", "nightly")
        arena.raises(PermissionDenied, lambda h=host, f=file: run(load_specification(f), host=h), says=says)


@attack("roles")
def pipeline_of_connectors_alone(arena: Arena) -> None:
    """Run a pipeline without plugins, because roles are asked when plugins are loaded."""
    access = Access.parse('{"version": 1, "members": {"vera": ["viewer"]}}')
    place = Place(arena, access=access, principal="mallory")
    arena.raises(PermissionDenied, place.runs, says="may not run pipelines")
    place.host = arena.host(policy=place.policy, access=access, principal="vera")
    arena.raises(PermissionDenied, place.runs, says="may not run pipelines")
    assert not list((place.folder / "out").iterdir())
    arena.assert_denied(capability="access", function="run", object="pipelines")


SECURITY = "dataflare.security"


def _plainly(files: Any, name: str, parts: tuple[str, ...], *, make: bool = False) -> int:
    folder = files._granted[name].path.joinpath(*parts)
    return os.open(folder, os.O_RDONLY)


def anywhere(files: Any, path: Path, access: str, connector: str) -> tuple[str, tuple[str, ...]]:
    files._granted["anywhere"] = type(next(iter(files._granted.values())))(path=Path("/"), access="write")
    return "anywhere", Path(os.path.realpath(path)).parts[1:]


def _by_name(bindings: Any, pipeline: Any, base_dir: Path, source: str) -> str:
    return str(pipeline.path.stem)


class _Unbound(PolicyDocument):
    """Does not ask which file a pipeline is."""

    def _pipelines_are_bound(self) -> PolicyDocument:
        return self


MUTATIONS = [
    Mutation(f"{SECURITY}.connectors:stat.S_ISREG", answers(True), ("pipe_in_place_of_an_input",)),
    Mutation(f"{SECURITY}.policy:PolicyDocument", _Unbound, ("rule_for_a_pipeline_that_nobody_knows",)),
    Mutation(
        f"{SECURITY}.connectors:ConnectorFiles._find",
        anywhere,
        (
            "connector_that_reads_outside_of_what_is_granted",
            "connector_that_reads_through_a_link",
            "connector_that_writes_outside_of_what_is_granted",
            "partitions_written_outside_of_what_is_granted",
        ),
    ),
    Mutation(
        f"{SECURITY}.connectors:ConnectorFiles._descend", _plainly, ("directory_exchanged_while_a_connector_opens",)
    ),
    Mutation(
        f"{SECURITY}.connectors:ConnectorFiles.place_output",
        answers(None),
        ("folder_moved_away_while_a_connector_writes", "name_exchanged_for_a_link_while_a_connector_writes"),
    ),
    Mutation(
        f"{SECURITY}.protected:ProtectedFiles.reason",
        answers(""),
        (
            "pipeline_that_overwrites_the_policy",
            "pipeline_that_overwrites_the_policy_without_one_for_connectors",
            "output_among_the_compiled_code",
            "plugin_that_overwrites_the_policy",
        ),
    ),
    Mutation(f"{SECURITY}.protected:ProtectedFiles.add_tree", answers(None), ("output_among_the_compiled_code",)),
    Mutation(f"{SECURITY}.policy:bound_name", _by_name, ("pipeline_that_takes_anothers_name",)),
    Mutation(f"{SECURITY}.pipelines:PipelineBinding.fits", answers(True), ("pipeline_changed_after_it_was_pinned",)),
    Mutation(
        f"{SECURITY}.admission:require_own_name",
        answers(None),
        ("pipeline_that_takes_anothers_name", "pipeline_reached_through_links"),
    ),
    Mutation(
        f"{SECURITY}.admission:Admission.require",
        answers(None),
        ("pipeline_of_connectors_alone", "role_for_one_pipeline_used_for_another"),
    ),
]

"""Checks a pipeline without running it: all that can be known before a row moves."""

from __future__ import annotations

import functools
import itertools
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import pyarrow as pa

from dataflare.documents.models import nearest
from dataflare.errors import ConfigError, DataflareError, MemoryLimitExceeded
from dataflare.limits import Limits
from dataflare.pipeline.column_roles import ColumnRoles
from dataflare.pipeline.config_schema import misfits
from dataflare.pipeline.databases.connection import find_driver
from dataflare.pipeline.databases.files import check_file
from dataflare.pipeline.databases.nodes import SqlRead, SqlWrite
from dataflare.pipeline.databases.open import password_of
from dataflare.pipeline.fan_in import agreed_schema
from dataflare.pipeline.loading import database_of, kind_of, load_plugin
from dataflare.pipeline.models import Node, PluginNode, listings
from dataflare.pipeline.nodes import ReadNode, WriteNode
from dataflare.pipeline.outputs import follow_links
from dataflare.pipeline.readers import look_at
from dataflare.pipeline.reading.inputs import find_files
from dataflare.pipeline.rehearsal import known_schema, origins_of, rehearse
from dataflare.pipeline.report import RunReport
from dataflare.pipeline.run_errors import NodeFailed
from dataflare.pipeline.specification import Specification
from dataflare.real_paths import real_path
from dataflare.runtime.host import Host
from dataflare.security.admission import AdmittedPipeline
from dataflare.security.connectors import ConnectorFiles
from dataflare.suggestions import known_names

__all__ = ["check_pipeline", "config_error"]

_LIMITS: Final = Limits(call_timeout_s=10)
_MAX_SHOWN: Final = 5


def check_pipeline(specification: Specification, host: Host) -> list[DataflareError]:
    """Find what is wrong with a pipeline, without reading or writing rows.

    Plugins are loaded as for a run, with the same grants, signatures and policy, but not started; each is only asked
    for its metadata, in an instance that may use nothing, and its configuration is compared with the schema in it.
    Files that are read must exist, and files that are written must be writable.

    Args:
        specification: The pipeline.
        host: Would run it.

    Returns:
        What is wrong, in the order of the file; empty if nothing is.

    Raises:
        PermissionDenied: The pipeline may not run at all.
    """
    admitted = host.admit_pipeline(specification.pipeline.name, specification.identity)
    try:
        return _problems(specification, host, admitted)
    finally:
        admitted.close()


def _problems(specification: Specification, host: Host, admitted: AdmittedPipeline) -> list[DataflareError]:
    found: dict[str, list[DataflareError]] = {}
    kinds: dict[str, str] = {}
    schemas: dict[str, pa.Schema] = {}
    for name, node in specification.pipeline.nodes.items():
        own = found[name] = []
        if isinstance(node, PluginNode):
            try:
                kinds[name] = kind_of(host, specification, name) or ""
                own += _plugin_problems(specification, host, name, node, admitted)
            except DataflareError as error:
                own.append(_at(specification, error, name, "plugin"))
        elif isinstance(node, ReadNode):
            allow = functools.partial(admitted.files.check_input, connector=node.connector)
            own += _input_problems(specification, name, node, allow)
            if not own:
                try:
                    known = _known_schema(specification, node, admitted.files)
                except DataflareError as error:
                    own.append(_at(specification, error, name))
                else:
                    if known is not None:
                        schemas[name] = known
                        own += _role_problems(specification, name, node, known)
        elif isinstance(node, WriteNode):
            own += _output_problems(specification, name, "write", node.write, node.connector, admitted.files)
        elif isinstance(node, SqlRead | SqlWrite):
            try:
                grant = database_of(specification, node, admitted)
                find_driver(node.database, grant)
                check_file(node.database, grant)
                password_of(node.database, grant, host.connector_secret)
            except DataflareError as error:
                own.append(_at(specification, error, name, "database"))
        for key, text in listings(node):
            own += _output_problems(specification, name, key, text, "jsonl", admitted.files)
    for name, node in specification.pipeline.nodes.items():
        found[name] += _meeting_problems(specification, name, node, kinds, schemas)
        if isinstance(node, WriteNode) and not found[name]:
            found[name] += _row_problems(specification, name, node, kinds, schemas)
        elif isinstance(node, PluginNode | SqlWrite) and not found[name]:
            found[name] += _column_problems(specification, name, node, kinds, schemas)
    return _kind_problems(specification, kinds) + [each for own in found.values() for each in own]


def _kind_problems(specification: Specification, kinds: dict[str, str]) -> list[DataflareError]:
    if len(kinds) == sum(isinstance(each, PluginNode) for each in specification.pipeline.nodes.values()):
        try:
            specification.check_kinds(kinds)
        except ConfigError as error:
            return [error]
    return []


def _plugin_problems(
    specification: Specification, host: Host, name: str, node: PluginNode, admitted: AdmittedPipeline
) -> Iterator[DataflareError]:
    try:
        load_plugin(host, specification, name, node, admitted).close()
    except DataflareError as error:
        yield _at(specification, error, name, *(error.where.split(".")[:1] if isinstance(error, ConfigError) else ()))
    try:
        limits = replace(_LIMITS, memory_bytes=specification.limits[name].memory_bytes)
        schema = host.metadata(specification.plugin_path(node.plugin), limits=limits).config_schema
    except MemoryLimitExceeded as error:
        yield _at(specification, error, name, "limits")
        return
    except DataflareError as error:
        yield _at(specification, error, name, "plugin")
        return
    if schema and (problem := config_error(specification, name, schema)):
        yield problem


def config_error(specification: Specification, name: str, schema: str) -> ConfigError | None:
    """Compare a node's configuration with its plugin's schema.

    Returns:
        An error with the line and the key of the first misfit, and a line for each of the next; `None` for none.
    """
    node = specification.pipeline.nodes[name]
    if not isinstance(node, PluginNode):
        return None
    found = []
    for each in misfits(node.config, schema):
        where = specification.where("nodes", name, "config", *each.path)
        keys = ".".join(map(str, ("nodes", name, "config", *each.path)))
        found.append((int(where.rpartition(":")[2]), where, f"{keys}: {each.message}", each.hint))
    if not found:
        return None
    # Unknown keys first: they may be meant to be the missing keys.
    found.sort(key=lambda entry: (entry[2].endswith("is missing"), entry[0]))
    _, where, what, hint = found[0]
    rest = "".join(f"\n{where}: {what}{f' ({hint})' if hint else ''}" for _, where, what, hint in found[1:_MAX_SHOWN])
    return ConfigError(what + rest, where=where, hint=hint)


def _input_problems(
    specification: Specification, name: str, node: ReadNode, allow: Callable[[Path], object]
) -> Iterator[DataflareError]:
    where = specification.where("nodes", name, "read")
    for text in [node.read] if isinstance(node.read, str) else node.read:
        path = specification.path(text)
        try:
            paths = find_files(specification.folder, text, some=False, allow=allow)
            for each in paths:
                allow(each)
        except DataflareError as error:
            # The message says nothing more about a file that the pipeline may not read, not even whether it exists.
            yield _at(specification, error, name, "read")
            continue
        if not [each for each in paths if os.path.lexists(each)]:
            yield ConfigError(f"node {name!r} reads {path}, which is not there", where=where, hint=_others(path))
            continue
        for each in paths:
            if why := _why_unreadable(each):
                yield ConfigError(f"node {name!r} cannot read {each}: {why}", where=where)


def _others(path: Path) -> str:
    """Say which files are in the folder of one that is not: first those that may be meant."""
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    names = sorted(each for each in os.listdir(path.parent) if not each.startswith("."))
    names.sort(key=lambda each: Path(each).suffix != path.suffix)
    return f"in its folder: {known_names(path.name, names)}" if names else "its folder is empty"


def _known_schema(specification: Specification, node: ReadNode, files: ConnectorFiles) -> pa.Schema | None:
    """Look at the beginning of the files of a node; return the schema of its rows, if it is known."""
    paths = find_files(specification.folder, node.read, some=False)
    if not all(path.is_file() for path in paths):
        return None  # a pipe can be read once
    found = look_at(node, paths, specification.folder, lambda path: files.open_input(path, connector=node.connector))
    return known_schema(node, found)


def _role_problems(
    specification: Specification, name: str, node: ReadNode, schema: pa.Schema
) -> Iterator[DataflareError]:
    """Compare the columns to which a node gives roles with those that it reads."""
    if node.roles is None or (roles := ColumnRoles.of(node.roles)) is None:
        return
    absent = [
        problem
        for role, columns in (
            ("key", node.roles.key),
            ("cursor", [node.roles.cursor]),
            ("operation", [node.roles.operation]),
        )
        for problem in _absent_columns(specification, name, ("roles", role), columns or [], schema.names)
    ]
    yield from absent
    if not absent:
        try:
            # The columns are certain, and their types are not.
            roles.schema(pa.schema([each.with_type(pa.int8()) for each in schema]))
        except DataflareError as error:
            yield _at(specification, error, name, "roles")


def _absent_columns(
    specification: Specification, name: str, keys: Sequence[str], columns: Sequence[str | None], known: Sequence[str]
) -> Iterator[DataflareError]:
    """Name the columns of a node's key that are not among the known ones."""
    for column in columns:
        if column is not None and column not in known:
            where = specification.where("nodes", name, *keys)
            yield ConfigError(f"node {name!r}: there is no column {column!r}", where=where, hint=nearest(column, known))


def _meeting_problems(
    specification: Specification, name: str, node: Node, kinds: dict[str, str], schemas: dict[str, pa.Schema]
) -> Iterator[DataflareError]:
    """Compare the columns of a node's inputs with one another, where they are known."""
    origins = origins_of(node.inputs, specification.pipeline.nodes, kinds) if len(node.inputs) > 1 else []
    known = [(each, schemas[each]) for each in origins if each in schemas]
    for one, other in itertools.pairwise(known):
        # More rows may make another type of a column of texts.
        texts = {field.name for _, schema in (one, other) for field in schema if field.type == pa.string()}
        try:
            agreed_schema([(each, _with_texts(schema, texts)) for each, schema in (one, other)])
        except DataflareError as error:
            yield _at(specification, error, name, "input")
            return


def _with_texts(schema: pa.Schema, names: set[str]) -> pa.Schema:
    return pa.schema([pa.field(each.name, pa.string() if each.name in names else each.type) for each in schema])


def _row_problems(
    specification: Specification, name: str, node: WriteNode, kinds: dict[str, str], schemas: dict[str, pa.Schema]
) -> Iterator[DataflareError]:
    """Compare the rows that come to an output with it, where their columns are known."""
    origins = origins_of(node.inputs, specification.pipeline.nodes, kinds)
    if schemas.keys() >= set(origins):
        try:
            rehearse(node, specification.path(node.write), schemas[origins[0]])
        except DataflareError as error:
            yield _at(specification, error, name, "write")


def _column_problems(
    specification: Specification,
    name: str,
    node: PluginNode | SqlWrite,
    kinds: dict[str, str],
    schemas: dict[str, pa.Schema],
) -> Iterator[DataflareError]:
    """Compare the columns that a destination names with those that come to it, where they are known."""
    target, origins = node.destination, origins_of(node.inputs, specification.pipeline.nodes, kinds)
    if target is None or not origins or not schemas.keys() >= set(origins):
        return
    names = schemas[origins[0]].names
    roles = getattr(specification.pipeline.nodes[origins[0]], "roles", None)
    if target.mode == "merge" and not target.key and not (roles and roles.key):
        where = specification.where("nodes", name, *(() if isinstance(node, SqlWrite) else ("destination",)), "mode")
        what = f"node {name!r}: to merge, name the columns of the key"
        yield ConfigError(what, where=where, hint="key: [COLUMN, ...]")
    for key, columns in (("key", target.key or []), ("operation", [target.operation] if target.operation else [])):
        keys = (key,) if isinstance(node, SqlWrite) else ("destination", key)
        yield from _absent_columns(specification, name, keys, columns, names)


def _why_unreadable(path: Path) -> str:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return error.strerror or str(error)
    if stat.S_ISDIR(mode):
        return "it is a directory"
    return "" if os.access(path, os.R_OK) else "Permission denied"


def _output_problems(
    specification: Specification, name: str, key: str, text: str, connector: str, files: ConnectorFiles
) -> Iterator[DataflareError]:
    path = specification.path(text)
    node = specification.pipeline.nodes[name]
    try:
        files.check_output(path, connector=connector)
    except DataflareError as error:
        yield _at(specification, error, name, key)
        return
    where = specification.where("nodes", name, key)
    target = path
    try:
        target = follow_links(path)
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        yield ConfigError(f"node {name!r} cannot write {path}: {error.strerror or error}", where=where)
        return
    if not path.exists() and target.is_relative_to("/proc"):
        what = f"node {name!r} cannot write {path}: it is a part of the system"
        yield ConfigError(what, where=where, hint="name a regular file, or /dev/stdout")
        return
    if key == "dead_letters" and path.exists() and not path.is_file():
        what = f"node {name!r} cannot keep dead letters in {path}: it is not a regular file"
        yield ConfigError(what, where=where, hint="name a file")
        return
    parted = bool(getattr(node, "partition_by", ()))
    if path.is_dir() != parted and path.exists():
        what = "a directory" if not parted else "not a directory, which `partition_by` needs"
        yield ConfigError(f"node {name!r} cannot write {path}: it is {what}", where=where)
    elif getattr(node, "if_exists", "replace") == "fail" and path.is_file():
        yield ConfigError(
            f"node {name!r} cannot write {path}: it exists already, and `if_exists` is fail",
            where=where,
            hint="remove it, name another file, or say `if_exists: replace`",
        )
    elif path.is_file() or not path.exists():
        folder = real_path(path).parent
        while not folder.exists():
            folder = folder.parent
        if not folder.is_dir():
            yield ConfigError(f"node {name!r} cannot write {path}: {folder} is not a directory", where=where)
        elif not os.access(folder, os.W_OK | os.X_OK):
            yield ConfigError(f"node {name!r} cannot write {path}: nothing can be added to {folder}", where=where)


def _at(specification: Specification, error: DataflareError, name: str, *keys: str) -> NodeFailed:
    """Give an error its place in the pipeline's file."""
    report = RunReport(specification.pipeline.name)
    made = NodeFailed(name, error, report, where=specification.where("nodes", name, *keys))
    made.__cause__ = error
    return made

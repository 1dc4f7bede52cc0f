"""Checks that no file of a pipeline is both read and written, and none is written twice, also as a database."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from dataflare.built_in_plugins import built_in_file
from dataflare.documents.reader import Document
from dataflare.errors import ConfigError
from dataflare.permissions.database_keys import DatabaseGrant
from dataflare.pipeline.databases.nodes import SqlRead, SqlWrite
from dataflare.pipeline.dead_letters import failed_letters
from dataflare.pipeline.models import Pipeline, PluginNode, listings
from dataflare.pipeline.nodes import ReadNode, WriteNode
from dataflare.pipeline.reading.inputs import find_files
from dataflare.real_paths import real_path

__all__ = ["check_databases", "check_targets"]

_Place: TypeAlias = tuple[str, str]
"""A node and the key of it that names a file."""


def check_targets(pipeline: Pipeline, document: Document, file: Path, resolve: Callable[[str], Path]) -> None:
    """Check where the nodes write to. Symbolic and hard links are resolved: two names may be one file.

    Args:
        pipeline: What is checked.
        document: Has the lines, for errors.
        file: The pipeline's own file.
        resolve: Makes a path of the pipeline absolute.

    Raises:
        ConfigError: A file is read and written, or is written twice; `where` is `file:line`.
    """
    paths = list(_read(pipeline, file, resolve))
    read = {identity: what for path, what in paths if (identity := _identity(path))}
    written: dict[object, _Place] = {}
    for name, key, path in _written(pipeline, resolve):
        where = document.where(("nodes", name, key))
        identity = _identity(path)
        if identity is None:
            continue
        if identity in read:
            what = f"node {name!r} would write {path}, which {read[identity]}"
            raise ConfigError(what, where=where, hint="write to a file of its own, and rename it after the run")
        if identity in written:
            other, _ = written[identity]
            raise ConfigError(
                f"nodes {other!r} and {name!r} both write {path}" if other != name else f"{name!r} writes {path} twice",
                where=where,
                hint="give each a file of its own",
            )
        written[identity] = (name, key)
        node = pipeline.nodes[name]
        if isinstance(node, WriteNode) and node.partition_by:
            folder = real_path(path)
            for other_path, what in paths:
                if real_path(other_path).is_relative_to(folder):
                    what = f"node {name!r} would write the folder {path}, and within it {what} {other_path}"
                    raise ConfigError(what, where=where, hint="write to a folder of its own")


def check_databases(pipeline: Pipeline, document: Document, databases: Mapping[str, DatabaseGrant]) -> None:
    """Check that a file of SQLite or DuckDB that a node writes is used by no other: they would wait for each other.

    Raises:
        ConfigError: It is; `where` is `file:line`.
    """
    used: dict[object, list[str]] = {}
    for name, node in pipeline.nodes.items():
        grant = databases.get(node.database) if isinstance(node, SqlRead | SqlWrite) else None
        if grant is None or not grant.is_file:
            continue
        users = used.setdefault(_identity(Path(grant.place)), [])
        users.append(name)
        writers = [each for each in users if isinstance(pipeline.nodes[each], SqlWrite)]
        if writers and len(users) > 1:
            raise ConfigError(
                f"nodes {users[0]!r} and {name!r} both use {grant.place}, which {writers[0]!r} writes: then no other "
                f"node may use a file of {grant.kind}",
                where=document.where(("nodes", name, "database")),
                hint="give each a file of its own, or use PostgreSQL; two pipelines can use a file one after the other",
            )


def _read(pipeline: Pipeline, file: Path, resolve: Callable[[str], Path]) -> Iterator[tuple[Path, str]]:
    yield file, "is the pipeline's own file"
    for name, node in pipeline.nodes.items():
        if isinstance(node, ReadNode):
            for path in find_files(file.parent, node.read, some=False):
                yield path, f"node {name!r} reads"
        elif isinstance(node, PluginNode):
            yield built_in_file(node.plugin) or resolve(node.plugin), f"is the plugin of node {name!r}"


def _written(pipeline: Pipeline, resolve: Callable[[str], Path]) -> Iterator[tuple[str, str, Path]]:
    for name, node in pipeline.nodes.items():
        if isinstance(node, WriteNode):
            yield name, "write", resolve(node.write)
        for key, text in listings(node):
            path = resolve(text)
            yield name, key, path
            if key == "dead_letters":
                yield name, key, failed_letters(path)


def _identity(path: Path) -> object:
    """Return what two names of one file have in common; `None` for what several nodes may write, such as a terminal."""
    try:
        found = os.stat(path)
    except OSError:
        return real_path(path)
    if not (os.path.isfile(path) or os.path.isdir(path)):
        return None
    return found.st_dev, found.st_ino

"""Loads a pipeline's YAML and checks all that can be checked before a plugin is loaded."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from dataflare.built_in_plugins import built_in_file
from dataflare.documents.models import json_schema_of, nearest, validate_document
from dataflare.documents.reader import Document, KeyPath, parse_document, read_document
from dataflare.documents.variables import Variables, as_variables
from dataflare.errors import ConfigError
from dataflare.grants import Grants
from dataflare.limits import Limits
from dataflare.permissions.database_keys import DatabaseGrant
from dataflare.pipeline.branches import REJECTED
from dataflare.pipeline.databases.nodes import SqlWrite
from dataflare.pipeline.dataset_names import check_names
from dataflare.pipeline.file_conflicts import check_databases, check_targets
from dataflare.pipeline.graph import check_calls, check_graph
from dataflare.pipeline.models import Pipeline, PluginNode
from dataflare.pipeline.nodes import WriteNode
from dataflare.real_paths import real_path
from dataflare.runtime.datasets import DatasetName
from dataflare.security.pipelines import PipelineFile
from dataflare.user_files import as_path

__all__ = [
    "Specification",
    "base_name",
    "build_specification",
    "json_schema",
    "load_specification",
    "parse_specification",
]


@dataclass(frozen=True, slots=True)
class Specification:
    """A pipeline that was checked.

    Args:
        file: The YAML file, as it was named.
        folder: The real path of its folder, without symbolic links; paths in the YAML are relative to it.
        pipeline: What it says.
        order: The nodes' names, each after its inputs.
        grants: What each plugin may use, by node.
        limits: Each plugin's ceilings, by node.
        document: The YAML with its lines.
        databases: Where its databases are, by name.
        replays: The node whose dead letters are the input, in place of the input in the YAML; `None` in a usual run.
        dataset: The one dataset that is left of several (`several_datasets`); `None` for a pipeline as it was written.
    """

    file: Path
    folder: Path
    pipeline: Pipeline
    order: tuple[str, ...]
    grants: Mapping[str, Grants]
    limits: Mapping[str, Limits]
    document: Document
    databases: Mapping[str, DatabaseGrant] = field(default_factory=dict)
    replays: str | None = None
    dataset: DatasetName | None = None

    def where(self, *path: str | int) -> str:
        """Write `file:line` of a key, such as `where("nodes", "clean", "config")`."""
        if len(path) > 1 and path[0] == "nodes":
            path = ("nodes", base_name(str(path[1])), *path[2:])
        return self.document.where(path)

    @property
    def identity(self) -> PipelineFile:
        """Identify the file, for policies and roles."""
        path = self.folder / self.file.name
        return PipelineFile(path, self.document.digest, in_program=not self.document.lines)

    def path(self, text: str) -> Path:
        """Make a path of the YAML absolute."""
        return _resolve(self.folder, text)

    def plugin_path(self, text: str) -> Path:
        """Make the path of a plugin absolute; `builtin:NAME` is one of this package's."""
        return _plugin_file(self.folder, text)

    def consumers(self, node: str) -> tuple[str, ...]:
        """The nodes that take a node's rows."""
        return tuple(name for name in self.order if node in self.pipeline.nodes[name].inputs)

    @property
    def has_fan_in(self) -> bool:
        """Whether a node has several inputs."""
        return any(len(node.taken) > 1 for node in self.pipeline.nodes.values())

    def takers(self, given: str) -> tuple[str, ...]:
        """The nodes that have an input of this name: a node, or `NAME.rejected`."""
        return tuple(name for name in self.order if given in self.pipeline.nodes[name].taken)

    def is_replaced(self, node: str) -> bool:
        """Whether all outputs of a node's rows replace what an earlier run wrote."""
        entry = self.pipeline.nodes[node]
        below = self.consumers(node)
        if below:
            return all(self.is_replaced(each) for each in below)
        if isinstance(entry, PluginNode):
            return entry.destination is not None and entry.destination.mode == "replace"
        if isinstance(entry, SqlWrite):
            return entry.mode == "replace"
        return isinstance(entry, WriteNode) and entry.if_exists == "replace" and not entry.partition_by

    def check_kinds(self, kinds: Mapping[str, str]) -> None:
        """Check that each plugin's kind fits its place.

        Args:
            kinds: `source`, `destination`, `processor`, `transformer` or `validator`, by node.

        Raises:
            ConfigError: A source has an input, another plugin has none, a node's rows go nowhere or come from a node
                without rows, or keys for validators are on another plugin.
        """
        called = {callee for grants in self.grants.values() for callee in grants.plugins}
        for name in self.order:
            if isinstance(node := self.pipeline.nodes[name], PluginNode):
                kind = kinds[name]
                if name in called and kind not in ("processor", "transformer"):
                    caller = next(caller for caller in self.order if name in self.grants[caller].plugins)
                    raise ConfigError(
                        f"node {name!r} is a {kind}, which other plugins cannot call",
                        where=self.where("nodes", caller, "grants", "plugins"),
                        hint="processors and transformers can be called",
                    )
                if name not in called or node.input is not None or self.consumers(name):
                    self._check_kind(name, node, kind)

    def moves_rows(self, node: str) -> bool:
        """Whether rows flow through a node: not through a plugin that other plugins only call."""
        entry = self.pipeline.nodes[node]
        return bool(entry.inputs or self.consumers(node))

    def _check_kind(self, name: str, node: PluginNode, kind: str) -> None:
        if kind == "source" and node.input is not None:
            raise ConfigError(
                f"node {name!r} is a source, and takes no input",
                where=self.where("nodes", name, "input"),
                hint="leave `input` out, or take another plugin",
            )
        if kind != "source" and node.input is None:
            raise ConfigError(
                f"node {name!r} is a {kind}, and has no input",
                where=self.where("nodes", name),
                hint="name the node whose rows it takes: `input: ...`",
            )
        takers = self.consumers(name)
        if kind == "destination" and takers:
            raise ConfigError(
                f"node {takers[0]!r} takes its rows from {name!r}, a destination, which gives none",
                where=self.where("nodes", takers[0], "input"),
                hint=f"take them from {', '.join(map(repr, node.inputs))}, as {name!r} does",
            )
        if kind != "validator" and (rejecting := self.takers(f"{name}{REJECTED}")):
            raise ConfigError(
                f"node {rejecting[0]!r} takes the rejected rows of {name!r}, a {kind}; only validators reject rows",
                where=self.where("nodes", rejecting[0], "input"),
                hint=f"take all of its rows: `input: {name}`",
            )
        if kind not in ("destination", "validator") and not takers:
            raise ConfigError(
                f"the rows of node {name!r}, a {kind}, go nowhere",
                where=self.where("nodes", name),
                hint=f"add a node that writes them, with `input: {name}`",
            )
        if kind in ("source", "destination") and node.workers is not None:
            raise ConfigError(
                f"`workers` is not for a {kind}, as node {name!r} is: it has one instance",
                where=self.where("nodes", name, "workers"),
            )
        only = {"source": "source", "schema_contract": "source", "roles": "source", "destination": "destination"}
        for key, taker in {**only, **dict.fromkeys(("on_violation", "violations", "rejects"), "validator")}.items():
            if kind != taker and getattr(node, key) is not None:
                key = key.removesuffix("_contract")
                raise ConfigError(
                    f"`{key}` is only for {taker}s, and node {name!r} is a {kind}",
                    where=self.where("nodes", name, key),
                    hint="rows that it fails on, or rejects, go to `dead_letters`" if key == "rejects" else "",
                )
        discards = node.contract is not None and node.contract.discards_rows
        if kind == "source" and node.errors.rows == "skip" and not (discards and node.on_error is None):
            key = "on_error" if node.dead_letters is None else "dead_letters"
            raise ConfigError(
                f"node {name!r} is a source: it takes no rows that could be left out",
                where=self.where("nodes", name, key),
                hint="for a source, `on_error` has only `retries`, `max_outage` and `reloads`",
            )
        self._check_faults(name, node, kind)
        if node.dead_letters is not None and node.errors.rows == "fail":
            raise ConfigError(
                f"node {name!r} has a file of `dead_letters`, and ends the run on the first error",
                where=self.where("nodes", name, "on_error"),
                hint="leave rows out: `on_error: skip`",
            )

    def _check_faults(self, name: str, node: PluginNode, kind: str) -> None:
        where, errors = self.where("nodes", name, "on_error"), node.errors
        if errors.quarantine and (kind in ("source", "destination") or errors.rows == "fail"):
            what = f"node {name!r} is a {kind}: without it, the run has nothing to do"
            if kind not in ("source", "destination"):
                what = f"node {name!r} has a `quarantine`, and ends the run on the first error"
            raise ConfigError(what, where=where, hint="leave rows out instead: `on_error: {rows: skip, ...}`")
        if errors.reloads and kind == "destination":
            raise ConfigError(
                f"node {name!r} is a destination: with its instance, rows are lost that it had not made safe",
                where=where,
                hint="leave `reloads` out, and run again after a fault: the run continues from its last checkpoint",
            )
        if errors.reloads and node.source is not None and node.source.parallel > 1:
            raise ConfigError(
                f"node {name!r} reads in parts, which `reloads` is not for", where=where, hint="leave one of them out"
            )


def base_name(node: str) -> str:
    """The name that the pipeline's file has for a node: in a part of it, the dataset follows in brackets."""
    return node.partition("[")[0]


def load_specification(
    file: str | os.PathLike[str], *, variables: Mapping[str, str] | Variables | None = None
) -> Specification:
    """Load a pipeline's file.

    Args:
        file: The file.
        variables: What `${NAME}` stands for in it, by name; without them, every variable needs a default.

    Raises:
        ConfigError: It cannot be read or is wrong; `where` is `file:line`.
    """
    path = as_path(file, where="pipeline")
    folder = _real_folder(path)
    document = read_document(folder / path.name, name=str(path), variables=as_variables(variables))
    return _check(path, folder, document)


def parse_specification(
    text: str | bytes, *, file: str | os.PathLike[str], variables: Mapping[str, str] | Variables | None = None
) -> Specification:
    """Load a pipeline from its text; `file` is where it would stand, for relative paths and errors.

    Raises:
        ConfigError: It is wrong; `where` is `file:line`.
    """
    path = as_path(file, where="file")
    return _check(path, _real_folder(path), parse_document(text, name=str(path), variables=as_variables(variables)))


def build_specification(
    pipeline: Pipeline | Mapping[str, Any], *, folder: str | os.PathLike[str] = "."
) -> Specification:
    """Make a pipeline in a program.

    Args:
        pipeline: What the YAML would hold, as mappings, lists, texts, numbers and paths, or the model of it.
        folder: What paths are relative to.

    Raises:
        ConfigError: It is wrong; `where` names the keys, such as `pipeline 'copy': nodes.read.options`.
    """
    if isinstance(pipeline, Pipeline):
        value: Any = pipeline.model_dump(exclude_unset=True, by_alias=True)
    else:
        value = _plain(pipeline, ())
    name = value.get("name") if isinstance(value, dict) else None
    # Policies that know pipelines by their files know this one by its contents alone, where they know it at all.
    digest = sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
    document = Document("pipeline" if name is None else f"pipeline {name!r}", value, {}, f"sha256:{digest}")
    path = as_path(folder, where="folder") / "(made in a program)"
    return _check(path, _real_folder(path), document)


def _plain(value: Any, path: KeyPath) -> Any:
    """Turn a program's values into those that YAML has."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each, (*path, str(key))) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, (*path, position)) for position, each in enumerate(value)]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"the number {value}, which JSON does not have", where=".".join(map(str, path)))
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        what = f"the whole number {value:.3e} does not fit 64 bits"
        raise ConfigError(what, where=".".join(map(str, path)), hint="make it a text")
    return value


def json_schema() -> dict[str, Any]:
    """Make the JSON Schema (2020-12) of a pipeline's YAML, for editors."""
    return json_schema_of(Pipeline)


def _real_folder(file: Path) -> Path:
    return real_path(file.parent)


def _check_is_pipeline(document: Document) -> None:
    """Say what to do with another kind of file, of which nothing would fit."""
    if isinstance(document.value, dict):
        return
    hint = "a pipeline begins with `name: ...` and `nodes:`; `dataflare schema FILE` shows the columns of a data file"
    raise ConfigError("is not a pipeline", where=document.where(()), hint=hint)


def _check(file: Path, folder: Path, document: Document) -> Specification:
    _check_is_pipeline(document)
    pipeline = validate_document(document, Pipeline)
    order = check_graph(pipeline, document)
    _check_plugin_files(folder, pipeline, document)
    check_targets(pipeline, document, folder / file.name, lambda text: _resolve(folder, text))
    grants, limits = {}, {}
    for name, node in pipeline.nodes.items():
        if isinstance(node, PluginNode):
            grants[name], limits[name] = _permissions(folder, node, name, document)
    check_calls(pipeline, document)
    check_names(pipeline.nodes, order, document)
    databases = {name: each.grant(lambda text: _resolve(folder, text)) for name, each in pipeline.databases.items()}
    check_databases(pipeline, document, databases)
    return Specification(file, folder, pipeline, order, grants, limits, document, databases)


def _resolve(folder: Path, text: str) -> Path:
    return Path(os.path.abspath(folder / text))


def _plugin_file(folder: Path, text: str) -> Path:
    return built_in_file(text) or _resolve(folder, text)


def _check_plugin_files(folder: Path, pipeline: Pipeline, document: Document) -> None:
    for name, node in pipeline.nodes.items():
        if not isinstance(node, PluginNode):
            continue
        where = document.where(("nodes", name, "plugin"))
        try:
            path = _plugin_file(folder, node.plugin)
        except ConfigError as error:
            raise ConfigError(error.message, where=where, hint=error.hint) from error
        if path.is_file():
            continue
        siblings = sorted(other.name for other in path.parent.glob("*.wasm")) if path.parent.is_dir() else []
        hint = nearest(path.name, siblings) if siblings else f"there are no plugins in {path.parent}: build it first?"
        what = f"the plugin of node {name!r} is not there: {path}"
        raise ConfigError(what, where=where, hint=hint)


def _permissions(folder: Path, node: PluginNode, name: str, document: Document) -> tuple[Grants, Limits]:
    try:
        return node.grants.grants(lambda text: _resolve(folder, text)), node.limits.limits()
    except ConfigError as error:
        raise _relocated(error, ("nodes", name), document) from error


def _relocated(error: ConfigError, path: KeyPath, document: Document) -> ConfigError:
    """Give an error that names a key (`grants.files.data`) the key's place in the file."""
    # An origin has dots of its own: what is not found is the nearest key around it.
    where = document.where((*path, *error.where.split(".")))
    return ConfigError(error.message.removeprefix(f"{error.where}: "), where=where, hint=error.hint)

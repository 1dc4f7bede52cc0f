"""Loads the plugins of a pipeline's nodes, and opens their databases."""

from __future__ import annotations

from typing import Any

from dataflare.errors import ConfigError, DataflareError, WorldMismatch
from dataflare.grants import Access
from dataflare.permissions.database_keys import DatabaseGrant
from dataflare.pipeline.databases.nodes import SqlRead, SqlWrite
from dataflare.pipeline.databases.open import open_database
from dataflare.pipeline.models import PluginNode
from dataflare.pipeline.report import RunReport
from dataflare.pipeline.retries import Retries
from dataflare.pipeline.run_errors import NodeFailed
from dataflare.pipeline.specification import Specification, base_name
from dataflare.runtime.datasets import DatasetName
from dataflare.runtime.host import Host
from dataflare.runtime.inspection import Inspection
from dataflare.runtime.plugin import Plugin
from dataflare.runtime.pool import PoolSettings
from dataflare.security.admission import AdmittedPipeline

__all__ = ["database_of", "datasets_of", "inspected", "kind_of", "load_node", "load_plugin"]


def kind_of(host: Host, specification: Specification, name: str) -> str | None:
    """The kind of a node that is a plugin, or works like one; `None` for one that reads or writes files.

    Raises:
        DataflareError: The component is not a plugin.
    """
    node = specification.pipeline.nodes[name]
    if isinstance(node, SqlRead | SqlWrite):
        return "source" if isinstance(node, SqlRead) else "destination"
    return inspected(host, specification, node).kind if isinstance(node, PluginNode) else None


def inspected(host: Host, specification: Specification, node: PluginNode) -> Inspection:
    """Look at the component of a node.

    Raises:
        DataflareError: It is not a plugin.
    """
    found = host.inspect(specification.plugin_path(node.plugin))
    if found.kind is None:
        raise WorldMismatch("; ".join(found.problems), component=node.plugin)
    return found


def load_plugin(
    host: Host,
    specification: Specification,
    name: str,
    node: PluginNode,
    admitted: AdmittedPipeline,
    pool: PoolSettings | None = None,
) -> Plugin:
    """Load the plugin of a node, with what the node grants.

    Raises:
        DataflareError: It cannot be loaded.
    """
    # With a policy, the node's grants narrow it; without grants on the node, the policy decides.
    given = node.model_fields_set
    return host.load(
        specification.plugin_path(node.plugin),
        # As other plugins, states and logs know it, whichever dataset it reads.
        name=base_name(name),
        config=node.config,
        grants=specification.grants[name] if "grants" in given else None,
        limits=specification.limits[name] if "limits" in given else None,
        isolation=node.isolation if isinstance(node.isolation, str) else "process-best-effort",
        pool=pool,
        pipeline=admitted,
    )


def load_node(
    host: Host, specification: Specification, name: str, admitted: AdmittedPipeline, pool: PoolSettings | None = None
) -> Any:
    """Load the plugin of a node, or what works like one on its table; `None` for a node that reads or writes files.

    Raises:
        DataflareError: It cannot be loaded, or may not be used.
    """
    node = specification.pipeline.nodes[name]
    if isinstance(node, PluginNode):
        return load_plugin(host, specification, name, node, admitted, pool)
    if isinstance(node, SqlRead | SqlWrite):
        return open_database(node, database_of(specification, node, admitted), host.connector_secret)
    return None


def datasets_of(
    host: Host, specification: Specification, admitted: AdmittedPipeline, report: RunReport, name: str
) -> list[DatasetName]:
    """Ask the source of a node that reads several datasets which there are.

    Raises:
        NodeFailed: It cannot be loaded, or answered with an error; it has the report.
    """
    node = specification.pipeline.nodes[name]
    assert isinstance(node, PluginNode | SqlRead)
    try:
        if (kind := kind_of(host, specification, name)) != "source":
            raise ConfigError(f"is a {kind}, which has no datasets", where="source")
        plugin = load_node(host, specification, name, admitted)
        try:
            plugin.start()
            return [each.name for each in Retries(node.errors.retries).call(plugin.discover)]
        finally:
            plugin.close()
    except DataflareError as error:
        raise NodeFailed(name, error, report, where=specification.where("nodes", name)) from error


def database_of(specification: Specification, node: SqlRead | SqlWrite, admitted: AdmittedPipeline) -> DatabaseGrant:
    """Find the database of a node.

    Raises:
        PermissionDenied: The node may not use it.
    """
    access: Access = "read" if isinstance(node, SqlRead) else "write"
    return admitted.databases.find(node.database, access, specification.databases)

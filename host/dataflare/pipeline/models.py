"""The shape of a pipeline's YAML, as pydantic models; the same models give the JSON Schema for editors."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, JsonValue, PlainValidator, Tag, WithJsonSchema
from pydantic_core import PydanticCustomError

from dataflare.documents.models import FilePath, Frozen, Name, StrictModel, nearest, shorten
from dataflare.documents.quantities import Duration
from dataflare.errors import ConfigError
from dataflare.permissions.database_keys import DatabaseModel
from dataflare.permissions.grant_keys import GrantsModel
from dataflare.permissions.limit_keys import LimitsModel
from dataflare.pipeline.branches import nodes_of
from dataflare.pipeline.column_roles import ROLES_FIELD, RolesModel
from dataflare.pipeline.connectors.registry import BUILT_IN, connector, names
from dataflare.pipeline.contract_keys import SCHEMA_FIELD, ContractModel, SchemaKey, contract_of
from dataflare.pipeline.databases.nodes import CONNECTOR, SqlRead, SqlWrite
from dataflare.pipeline.dataset_models import ReadModel, WriteModel
from dataflare.pipeline.nodes import Input, ReadNode, WriteNode, names_of_inputs
from dataflare.pipeline.row_errors import OnError, OnErrorModel, policy_of
from dataflare.suggestions import close_matches

__all__ = ["Node", "Pipeline", "PluginNode", "ViolationActions", "listings"]

_LISTINGS: Final = ("violations", "rejects", "dead_letters")
Action: TypeAlias = Literal["keep", "drop", "fail"]


class ViolationActions(StrictModel):
    """What is done with rows that a validator finds wrong, by severity."""

    info: Action = "keep"
    warning: Action = "keep"
    error: Action = "fail"


OnViolation: TypeAlias = Annotated[
    Annotated[Action, Tag("|action")] | Annotated[ViolationActions, Tag("|actions")],
    Discriminator(lambda value: "|actions" if isinstance(value, dict | ViolationActions) else "|action"),
]


class BestEffort(StrictModel):
    """A process of its own, confined as far as the kernel can."""

    process: Literal["best-effort"]


Isolation: TypeAlias = Annotated[
    Annotated[Literal["none", "process"], Tag("|plain")] | Annotated[BestEffort, Tag("|weaker")],
    Discriminator(lambda value: "|weaker" if isinstance(value, dict | BestEffort) else "|plain"),
]


class PluginNode(StrictModel):
    """A plugin. Its kind, and so whether it takes an input, is found in the component."""

    plugin: FilePath = Field(
        description="The component, relative to this file; `builtin:NAME` is a plugin of this package."
    )
    input: Input | None = None
    config: dict[str, JsonValue] = Field(default={}, description="The plugin's own configuration.")
    source: ReadModel | None = Field(default=None, description="Only for sources: what is read, and how.")
    destination: WriteModel | None = Field(default=None, description="Only for destinations: how rows are written.")
    roles: RolesModel | None = ROLES_FIELD
    schema_contract: SchemaKey | None = SCHEMA_FIELD
    grants: GrantsModel = GrantsModel()
    limits: LimitsModel = LimitsModel()
    isolation: Isolation = Field(
        default="none",
        description="`process` runs the plugin in its own confined process; `{process: best-effort}` does so even if "
        "the kernel lacks a part of the confinement.",
    )
    workers: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None,
        description="Only for processors, transformers and validators: how many batches are processed at a time, each "
        "by its own instance; by default one for each core, at most 16.",
    )
    on_violation: OnViolation | None = Field(
        default=None,
        description="Only for validators: what happens to wrong rows, by severity; a single action applies to errors.",
    )
    violations: FilePath | None = Field(
        default=None,
        description="Only for validators: a JSON Lines file for violations, each with the values of its row.",
    )
    rejects: FilePath | None = Field(
        default=None,
        description="Only for validators: a JSON Lines file for rows that are dropped, with the rules that they break.",
    )
    on_error: OnError | None = Field(
        default=None,
        description="What becomes of calls that fail: rows that the plugin fails on, or that a destination rejects, "
        "end the run (`fail`) or are left out (`skip`, which `dead_letters` implies). For sources, only "
        "`retries`, `max_outage` and `reloads`.",
    )
    dead_letters: FilePath | None = Field(
        default=None,
        description="A JSON Lines file that rows are added to that are left out for an error, each with the reason, "
        "its types and its position.",
    )

    @property
    def inputs(self) -> tuple[str, ...]:
        """The nodes whose rows this one takes, each once; none for a source."""
        return nodes_of(self.taken)

    @property
    def taken(self) -> tuple[str, ...]:
        """Its inputs, as the pipeline names them: nodes, or the rejected rows of one."""
        return names_of_inputs(self.input)

    @property
    def contract(self) -> ContractModel | None:
        """For a source, what becomes of columns that change; `None` where the pipeline does not say."""
        return contract_of(self.schema_contract)

    @property
    def errors(self) -> OnErrorModel:
        """What becomes of calls that fail."""
        return policy_of(self.on_error, self.dead_letters)

    @property
    def actions(self) -> ViolationActions:
        """What becomes of rows with violations."""
        if isinstance(self.on_violation, ViolationActions):
            return self.on_violation
        return ViolationActions() if self.on_violation is None else ViolationActions(error=self.on_violation)


def _check_variant(value: Any) -> Any:
    """Find out what a node is before its keys are looked at: errors then speak of that alone."""
    if not isinstance(value, dict):
        return value
    if ("plugin" in value) == ("connector" in value):
        found = "has both plugin and connector" if "plugin" in value else "has neither plugin nor connector"
        hint = "" if "plugin" in value else _hint_for_stray_key(value, ("plugin", "connector"))
        raise PydanticCustomError(
            "node", "a node is one or the other, and this one {found}", {"found": found, "hint": hint}
        )
    if "connector" in value:
        name, known = value["connector"], (*names(), CONNECTOR)
        if name not in known:
            hint = nearest(str(name), known)
            raise PydanticCustomError(
                "connector", "there is no connector {name}", {"name": shorten(name), "hint": hint}
            )
        if ("read" in value) == ("write" in value):
            found = "has both" if "read" in value else "has neither"
            hint = "" if "read" in value else _hint_for_stray_key(value, ("read", "write"))
            raise PydanticCustomError(
                "role", "a connector reads or writes, and this one {found}", {"found": found, "hint": hint}
            )
        if name != CONNECTOR:
            _check_role(name, "read" if "read" in value else "write")
        if "read" in value and "input" in value:
            what = "what reads a file takes no input" if name != CONNECTOR else "what reads a table takes no input"
            raise PydanticCustomError("role", "{what}", {"what": what, "key": "input"})
    return value


def _check_role(name: str, role: str) -> None:
    try:
        found = connector(name)
    except ConfigError as error:
        raise PydanticCustomError("connector", "{why}", {"why": str(error), "hint": error.hint}) from error
    if role == "write" and found.make_sink is None:
        context = {"name": name.title(), "key": role, "hint": "write csv, or parquet"}
        raise PydanticCustomError("role", "{name} files are read, not written", context)
    if role == "read" and found.read is None:
        context = {"name": name.title(), "key": role}
        raise PydanticCustomError("role", "{name} files are written, not read", context)


def _hint_for_stray_key(value: dict[str, Any], wanted: tuple[str, ...]) -> str:
    for key in value:
        if found := close_matches(str(key), wanted):
            return f"did you mean {found[0]!r} with {key!r}?"
    return f"give {' or '.join(wanted)}"


def _variant(value: Any) -> str | None:
    if isinstance(value, PluginNode):
        return "|plugin"
    if isinstance(value, ReadNode | WriteNode | SqlRead | SqlWrite):
        name, role = value.connector, "read" if isinstance(value, ReadNode | SqlRead) else "write"
    elif not isinstance(value, dict):
        return None
    elif "plugin" in value:
        return "|plugin"
    else:
        name, role = value["connector"], "read" if "read" in value else "write"
    return f"|{name} {role}" if name in BUILT_IN or name == CONNECTOR else "|installed"


def _installed(value: Any) -> ReadNode | WriteNode:
    """Validate the node of a connector that a package brings."""
    if isinstance(value, ReadNode | WriteNode):
        return value
    found = connector(value["connector"])
    return (found.read_node if "read" in value else found.write_node).model_validate(value)


def _variants() -> list[Any]:
    """The models of nodes, by what `_variant` says."""
    out: list[Any] = [Annotated[PluginNode, Tag("|plugin")]]
    out += [Annotated[SqlRead, Tag(f"|{CONNECTOR} read")], Annotated[SqlWrite, Tag(f"|{CONNECTOR} write")]]
    for name, each in BUILT_IN.items():
        if each.read is not None:
            out.append(Annotated[each.read_node, Tag(f"|{name} read")])
        if each.make_sink is not None:
            out.append(Annotated[each.write_node, Tag(f"|{name} write")])
    schema = WithJsonSchema(
        {"type": "object", "title": "InstalledNode", "description": "A node of a connector that a package brings."}
    )
    return [*out, Annotated[ReadNode | WriteNode, PlainValidator(_installed), schema, Tag("|installed")]]


if TYPE_CHECKING:
    Node: TypeAlias = PluginNode | ReadNode | WriteNode | SqlRead | SqlWrite
else:
    Node = Annotated[
        functools.reduce(operator.or_, _variants()),
        Discriminator(
            _variant, custom_error_type="mapping", custom_error_message="give a mapping with plugin or connector"
        ),
        BeforeValidator(_check_variant),
    ]


def listings(node: Node) -> Iterator[tuple[str, str]]:
    """The files of JSON Lines that a node writes beside its rows: the key that names each, and its path."""
    for key in _LISTINGS:
        if (text := getattr(node, key, None)) is not None:
            yield key, text


class CheckpointModel(StrictModel):
    """How often a run keeps how far it came, where its source and its destinations can."""

    rows: int = Field(
        default=100_000, ge=1, le=10**12, description="A run that stops repeats at most this many rows of a source."
    )
    every: Duration = Field(default="30s", description="And after this time.")


class Pipeline(StrictModel):
    """A pipeline: nodes that hand rows to one another."""

    name: Name
    checkpoint: CheckpointModel = Field(
        default=CheckpointModel(),
        description="How often the run makes a checkpoint: so that a run that stops repeats at most this many `rows` "
        "(100000) of a source, and after so much time (`every`, 30s).",
    )
    databases: Frozen[Name, DatabaseModel] = Field(
        default_factory=dict,
        description="Databases of the connector `sql`, by name. With `--policy`, those of the policy count instead.",
    )
    nodes: Annotated[dict[Name, Node], Field(min_length=1, max_length=1000)]

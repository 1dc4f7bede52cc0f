"""What a pipeline says of a plugin's grants and limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag, create_model

from dataflare.documents.models import FilePath, Name, StrictModel
from dataflare.documents.quantities import Duration, Size, parse_duration, parse_size
from dataflare.grants import DirectoryGrant, Grants, HttpGrant, Origin, switched
from dataflare.interfaces import FLAGS, SWITCHES
from dataflare.limits import Limits

__all__ = ["GrantsModel", "LimitsModel", "make_grants", "make_limits"]


class FileGrant(StrictModel):
    """A directory that a plugin may use."""

    path: FilePath
    writable: bool = False


class HttpGrantModel(StrictModel):
    """What a plugin may do at one origin. Secrets are named; the host adds their values, unseen by the plugin."""

    methods: list[str] = Field(default=["GET", "HEAD"])
    request_headers: (
        Annotated[
            Annotated[list[str], Tag("|list")] | Annotated[Literal["any"], Tag("|any")],
            Discriminator(lambda value: "|any" if isinstance(value, str) else "|list"),
        ]
        | None
    ) = Field(
        default=None, description="Headers that the plugin may send; without it, those that do not tell who asks."
    )
    secrets: dict[str, str] = Field(default={}, description="Headers that the host adds, such as `Bearer {api-token}`.")
    addresses: list[str] = Field(default=[], description="Addresses or networks that need not be public.")
    max_request: Size | None = None
    max_response: Size | None = None
    max_redirects: int | None = None
    timeout: Duration | None = None
    requests_per_s: float | None = None
    burst: int | None = None


class _GrantFields(StrictModel):
    """What a plugin may use; nothing, unless it is said."""

    files: dict[str, FileGrant] = Field(
        default={}, description="Directories, by the name that the plugin uses for them."
    )
    state: bool = False
    metrics: bool = False
    clock: bool = False
    random: bool = False
    random_seed: Annotated[int, Field(ge=0, lt=2**64)] | None = None
    http: dict[str, HttpGrantModel] = Field(default={}, description="Origins, such as https://api.example.com.")
    secrets: list[Name] = Field(default=[], description="Secrets that the plugin may hold itself.")
    plugins: list[Name] = Field(default=[], description="Nodes that the plugin may call.")
    shared: dict[str, Literal["read", "write"]] = Field(default={}, description="Shared batches, by name.")
    tasks: bool = False


if TYPE_CHECKING:
    GrantsModel: TypeAlias = _GrantFields
else:
    # Interfaces that are granted as a whole have a key each, and need no line here.
    GrantsModel = create_model(
        "GrantsModel",
        __base__=_GrantFields,
        __doc__=_GrantFields.__doc__,
        **{name: (bool, False) for name in FLAGS if name not in _GrantFields.model_fields},
    )


class LimitsModel(StrictModel):
    """Ceilings for a plugin; where one is not given, the host's own holds."""

    memory: Size | None = None
    call_timeout: Annotated[
        Duration | Literal["none"] | None,
        Field(description="Wall time of one call. `none`: as long as it likes; only for plugins that are trusted."),
    ] = None
    fuel: Annotated[int, Field(ge=1, lt=2**64, description="Units of work for one call.")] | None = None
    handles: Annotated[int, Field(ge=1, description="Batches, open files and the like held at a time.")] | None = None
    host_memory: Size | None = Field(
        default=None, description="Bytes that the host keeps for it: batches and the like."
    )
    host_calls: Annotated[int, Field(ge=1, description="Calls of the host within one call.")] | None = None
    host_calls_per_s: Annotated[int, Field(ge=1, description="Calls of the host in a second.")] | None = None
    copied: Size | None = Field(default=None, description="Bytes copied in and out within one call.")
    output: Size | None = Field(default=None, description="Bytes that one call returns.")
    output_rows: Annotated[int, Field(ge=1, description="Rows that one call returns.")] | None = None
    table_elements: Annotated[int, Field(ge=1, description="Elements in each of its tables.")] | None = None
    instances: Annotated[int, Field(ge=1, description="Core instances in it.")] | None = None
    memories: Annotated[int, Field(ge=1, description="Linear memories in it.")] | None = None
    log_events_per_s: Annotated[int, Field(ge=1, description="Log events in a second.")] | None = None
    log_volume_per_s: Size | None = Field(default=None, description="Bytes of log events in a second.")
    log_dropped_events: (
        Annotated[int, Field(ge=1, description="Log events that are dropped within one call before it is stopped.")]
        | None
    ) = None


def make_grants(given: GrantsModel, resolve: Callable[[str], Path]) -> Grants:
    """Make the grants.

    Args:
        given: What the YAML says.
        resolve: Makes a path of the YAML absolute.

    Raises:
        ConfigError: A name or a value is out of its form or range; `where` is the key, from `grants` on.
    """
    directories = {
        name: DirectoryGrant(path=resolve(grant.path), writable=grant.writable) for name, grant in given.files.items()
    }
    return Grants(
        files=directories,
        state=given.state,
        random_seed=given.random_seed,
        http={_normal_origin(origin): _http_grant(grant) for origin, grant in given.http.items()},
        secrets=frozenset(given.secrets),
        plugins=frozenset(given.plugins),
        shared=given.shared,
        **switched(name for name in SWITCHES if getattr(given, name)),
    )


def make_limits(given: LimitsModel) -> Limits:
    """Make the limits; what is not given is as the host has it.

    Raises:
        ConfigError: A value is out of its range; `where` is the key, from `limits` on.
    """
    memory, timeout = given.memory, given.call_timeout
    limits = Limits(
        **_given(
            memory_bytes=None if memory is None else parse_size(memory),
            call_timeout_s=None if timeout in (None, "none") else parse_duration(timeout),
            fuel=given.fuel,
            handles=given.handles,
            host_bytes=None if given.host_memory is None else parse_size(given.host_memory),
            host_calls=given.host_calls,
            host_calls_per_s=given.host_calls_per_s,
            copied_bytes=None if given.copied is None else parse_size(given.copied),
            output_bytes=None if given.output is None else parse_size(given.output),
            output_rows=given.output_rows,
            table_elements=given.table_elements,
            instances=given.instances,
            memories=given.memories,
            log_events_per_s=given.log_events_per_s,
            log_bytes_per_s=None if given.log_volume_per_s is None else parse_size(given.log_volume_per_s),
            log_dropped_events=given.log_dropped_events,
        )
    )
    return replace(limits, call_timeout_s=None) if timeout == "none" else limits


def _http_grant(given: HttpGrantModel) -> HttpGrant:
    headers = given.request_headers
    return HttpGrant(
        methods=frozenset(given.methods),
        secrets=given.secrets,
        addresses=frozenset(given.addresses),
        **_given(
            request_headers=frozenset(headers) if isinstance(headers, list) else headers,
            max_request_bytes=None if given.max_request is None else parse_size(given.max_request),
            max_response_bytes=None if given.max_response is None else parse_size(given.max_response),
            max_redirects=given.max_redirects,
            timeout_s=None if given.timeout is None else parse_duration(given.timeout),
            requests_per_s=given.requests_per_s,
            burst=given.burst,
        ),
    )


def _normal_origin(text: str) -> str:
    try:
        return str(Origin.parse(text))
    except ValueError:
        return text  # `Grants` says what is wrong with it


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}

"""The operator's policy: what each plugin gets, in every pipeline and in single ones.

```yaml
version: 1
plugins:
  rates:                                 # the plugin's name
    versions: ">=1.2.0, <2.0.0"          # only these; without it, every version
    digests: ["sha256:..."]              # only these components; without it, every one
    grants:                              # in every pipeline
      interfaces: [clock, metrics]       # clock, metrics, random, tasks
      state: [own]
      directories:
        cache: {path: ./cache, access: write}   # relative to this file; access is read unless it says write
    pipelines:
      nightly:                           # in this one also; for the same directory, origin or limit, instead
        grants:
          http:
            https://api.example.com: {methods: [GET]}
          limits: {memory_bytes: 268435456}
pipelines:                               # which file a pipeline is, whatever it calls itself
  nightly: {file: pipelines/nightly.yaml}     # or digests: ["sha256:..."], or embedded: true
connectors:                              # what the built-in connectors read and write, in every pipeline
  grants:
    directories:
      incoming: {path: ./incoming}
  pipelines:
    nightly: {grants: {directories: {out: {path: ./out, access: write}}}}
```

What is not said is denied. There is no wildcard but the word `any` where `methods` and `request_headers` take it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from dataflare.documents.models import Frozen, FrozenSet, Name, StrictModel, validate_document
from dataflare.documents.reader import parse_document, read_document
from dataflare.errors import ConfigError, PermissionDenied
from dataflare.grants import SAFE_HEADERS, DirectoryGrant, Grants, HttpGrant, switched
from dataflare.interfaces import NEEDS_GRANT, SWITCHES
from dataflare.limits import Limits
from dataflare.security.capability import Needs
from dataflare.security.connectors import GrantedDirectory
from dataflare.security.fields import Access, Digest, LimitValues, Method, Names, OriginText, default_limit
from dataflare.security.pipelines import Bindings, PipelineFile, PipelineName, bound_files, bound_name
from dataflare.security.ranges import VersionRange
from dataflare.user_files import as_path
from dataflare.wit.versions import Version

__all__ = [
    "ANY_METHODS",
    "ConnectorGrants",
    "ConnectorPipelineRule",
    "ConnectorRule",
    "DirectoryRule",
    "GrantRule",
    "HttpRule",
    "PipelineRule",
    "PluginRule",
    "Policy",
    "PolicyDocument",
]

ANY_METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
"""What `methods: any` stands for."""


def _range(text: str) -> str:
    VersionRange.parse(text)
    return text


_Texts = FrozenSet[str]
_Methods = Annotated[FrozenSet[Method], Field(min_length=1)]


class DirectoryRule(StrictModel):
    """A directory, and what may be done in it.

    Attributes:
        path: The directory, relative to the policy's file.
        access: `write` includes reading.
    """

    path: Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\x00]+$")]
    access: Access = "read"


class HttpRule(StrictModel):
    """What may be done at one origin; the rest is as in `dataflare.grants.HttpGrant`."""

    methods: _Methods | Literal["any"]
    request_headers: _Texts | Literal["any"] = SAFE_HEADERS
    secrets: Frozen[str, str] = Field(default_factory=dict)
    addresses: _Texts = frozenset()
    max_request_bytes: int = 2**20
    max_response_bytes: int = 16 * 2**20
    max_redirects: int = 5
    timeout_s: float = 30.0
    requests_per_s: float = 10.0
    burst: int = 20

    @field_validator("request_headers", mode="before")
    @classmethod
    def _no_star(cls, value: Any) -> Any:
        if isinstance(value, str) and value != "any":
            raise ValueError("write a list of headers, or the word any")
        return value

    @model_validator(mode="after")
    def _check(self) -> HttpRule:
        try:
            self.grant()
        except ConfigError as error:
            raise ValueError(f"{error.where}: {error.message.removeprefix(f'{error.where}: ')}") from None
        return self

    def grant(self) -> HttpGrant:
        """The same as a grant."""
        values: dict[str, Any] = {name: getattr(self, name) for name in type(self).model_fields}
        values["methods"] = ANY_METHODS if self.methods == "any" else self.methods
        return HttpGrant(**values)


class GrantRule(StrictModel):
    """What is granted; nothing, unless it is said.

    Attributes:
        interfaces: Of those that are granted as a whole (`clock`, `metrics`, `random`, `tasks`), which it gets.
        directories: Directories by the plugin's name for them.
        http: What may be done at each origin, such as `https://api.example.com`.
        state: Namespaces; `own` is the plugin's own in its pipeline.
        secrets: Secrets by name, to hold itself.
        plugins: Plugins of the pipeline that it may call.
        shared: Access by the name of the shared batch; `write` includes reading.
        limits: Ceilings; the defaults hold for those that are not said.
    """

    interfaces: _Texts = frozenset()
    directories: Frozen[Name, DirectoryRule] = Field(default_factory=dict)
    http: Frozen[OriginText, HttpRule] = Field(default_factory=dict)
    state: Names = frozenset()
    secrets: Names = frozenset()
    plugins: Names = frozenset()
    shared: Frozen[Name, Access] = Field(default_factory=dict)
    limits: LimitValues = LimitValues()

    @field_validator("interfaces", mode="after")
    @classmethod
    def _only_simple(cls, names: frozenset[str]) -> frozenset[str]:
        for name in sorted(names - SWITCHES):
            if name in NEEDS_GRANT:
                key = {"files": "directories"}.get(name, name)
                raise ValueError(f"{name!r} is granted by naming what of it, under {key!r}")
            raise ValueError(f"there is no interface {name!r} to grant; there are {', '.join(sorted(SWITCHES))}")
        return names

    def merged(self, over: GrantRule) -> GrantRule:
        """This one and another; where both name a directory, origin, shared batch or limit, the other's holds."""
        return GrantRule(
            interfaces=self.interfaces | over.interfaces,
            directories={**self.directories, **over.directories},
            http={**self.http, **over.http},
            state=self.state | over.state,
            secrets=self.secrets | over.secrets,
            plugins=self.plugins | over.plugins,
            shared={**self.shared, **over.shared},
            limits=LimitValues(**{**self.limits.given(), **over.limits.given()}),
        )


class PipelineRule(StrictModel):
    """What a plugin is granted in one pipeline besides.

    Attributes:
        grants: Added to what it gets in every pipeline; for the same directory, origin, batch or limit, instead.
    """

    grants: GrantRule = GrantRule()


class PluginRule(StrictModel):
    """Which plugin is meant, and what it is granted.

    Attributes:
        versions: Only these versions, such as `>=1.2.0, <2.0.0`; left out, every one.
        digests: Only these components, `sha256:...`; left out, every one.
        grants: What it gets in every pipeline.
        pipelines: What it gets in single pipelines besides; each has to be under `pipelines` of the file.
    """

    versions: Annotated[str, AfterValidator(_range)] | None = None
    digests: Annotated[FrozenSet[Digest], Field(min_length=1)] | None = None
    grants: GrantRule = GrantRule()
    pipelines: Frozen[PipelineName, PipelineRule] = Field(default_factory=dict)


class ConnectorGrants(StrictModel):
    """What connectors may use; nothing, unless it is said.

    Attributes:
        directories: Directories below which they read, and write where `access` is `write`; the names are for the
            audit log.
    """

    directories: Frozen[Name, DirectoryRule] = Field(default_factory=dict)


class ConnectorPipelineRule(StrictModel):
    """What connectors may use in one pipeline also.

    Attributes:
        grants: Added to what they may use in every pipeline.
    """

    grants: ConnectorGrants = ConnectorGrants()


class ConnectorRule(StrictModel):
    """What the built-in connectors may use.

    Attributes:
        grants: In every pipeline.
        pipelines: In single pipelines besides; each has to be under `pipelines` of the file.
    """

    grants: ConnectorGrants = ConnectorGrants()
    pipelines: Frozen[PipelineName, ConnectorPipelineRule] = Field(default_factory=dict)


class PolicyDocument(StrictModel):
    """The file as it is written.

    Attributes:
        version: The format's version.
        pipelines: Which file each pipeline is, whatever it calls itself.
        plugins: What each plugin gets, by the name of its manifest or signature, else the one it is loaded under.
        connectors: What the built-in connectors read and write.
    """

    version: Literal[1]
    pipelines: Bindings = Field(default_factory=dict)
    plugins: Frozen[Name, PluginRule] = Field(default_factory=dict)
    connectors: ConnectorRule = ConnectorRule()

    @model_validator(mode="after")
    def _pipelines_are_bound(self) -> PolicyDocument:
        named = [("connectors", name) for name in self.connectors.pipelines]
        named += [(f"plugins.{plugin}", name) for plugin, rule in self.plugins.items() for name in rule.pipelines]
        for place, name in sorted(named):
            if name not in self.pipelines:
                raise ValueError(
                    f"{place}.pipelines.{name}: nothing says which file the pipeline {name!r} is; add to `pipelines`: "
                    f"{name}: {{file: {name}.yaml}}, or digests: [...], or embedded: true"
                )
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What an operator allows. Any thread may use it.

    Args:
        document: What is granted.
        base_dir: What relative paths in it are relative to.
        source: The file's name, for errors.
        file: The file that it was read from; `None` for none.
    """

    document: PolicyDocument
    base_dir: Path = Path()
    source: str = "policy.yaml"
    file: Path | None = None

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Policy:
        """Read a policy from a file.

        Raises:
            ConfigError: It cannot be read, or is wrong; `where` is `file:line`.
        """
        file = as_path(path, where="policy")
        document = validate_document(read_document(file), PolicyDocument)
        absolute = file.absolute()
        return cls(document=document, base_dir=absolute.parent, source=str(file), file=absolute)

    @classmethod
    def parse(cls, text: str, *, source: str = "policy.yaml", base_dir: Path | None = None) -> Policy:
        """Read a policy from a text.

        Raises:
            ConfigError: It is wrong; `where` is `file:line`.
        """
        document = validate_document(parse_document(text, name=source), PolicyDocument)
        return cls(document=document, base_dir=base_dir or Path(), source=source)

    def to_yaml(self) -> str:
        """The policy as a file that reads back as the same."""
        value = {"version": 1, **_without_empty(self.document.model_dump(mode="json", exclude_defaults=True))}
        return yaml.safe_dump(value, sort_keys=False, width=78)

    @property
    def pipeline_files(self) -> list[Path]:
        """The files that are pipelines by their place."""
        return bound_files(self.document.pipelines, self.base_dir)

    def pipeline_of(self, pipeline: PipelineFile) -> str:
        """What this policy calls a pipeline's file; empty where it does not know it.

        Raises:
            PermissionDenied: It is known under several names.
        """
        return bound_name(self.document.pipelines, pipeline, self.base_dir, self.source)

    def connector_directories(self, pipeline: str) -> Mapping[str, GrantedDirectory]:
        """What the built-in connectors may use in a pipeline, by name.

        Raises:
            ConfigError: A directory's path cannot be resolved.
        """
        rule = self.document.connectors
        extra = rule.pipelines.get(pipeline, ConnectorPipelineRule())
        found = {}
        for name, each in {**rule.grants.directories, **extra.grants.directories}.items():
            directory = DirectoryGrant(path=self.base_dir / each.path, writable=each.access == "write")
            found[name] = GrantedDirectory(path=directory.path, writable=directory.writable)
        return found

    def refusal(self, plugin: Needs) -> str:
        """Why no rule is for this plugin; empty where one is."""
        rule = self.document.plugins.get(plugin.plugin)
        if rule is None:
            return f"{self.source} has no rule for the plugin {plugin.plugin!r}"
        if rule.digests is not None and plugin.digest not in rule.digests:
            shown = plugin.digest or "unknown"
            return f"the component's digest ({shown}) is none of those that {self.source} pins for {plugin.plugin!r}"
        if rule.versions is not None and (
            plugin.version is None or Version.parse(plugin.version) not in VersionRange.parse(rule.versions)
        ):
            shown = plugin.version or "unknown"
            return f"the version {shown} of {plugin.plugin!r} is not in {rule.versions!r} ({self.source})"
        return ""

    def rule_for(self, plugin: Needs, pipeline: str) -> GrantRule:
        """What holds for a plugin in a pipeline; an empty rule where none is for it."""
        if self.refusal(plugin):
            return GrantRule()
        rule = self.document.plugins[plugin.plugin]
        extra = rule.pipelines.get(pipeline)
        return rule.grants.merged(extra.grants) if extra else rule.grants

    def grants_for(self, plugin: Needs, pipeline: str) -> Grants:
        """What a plugin gets in a pipeline: nothing, where no rule is for it or a pin does not fit (see `refusal`)."""
        rule = self.rule_for(plugin, pipeline)
        return Grants(
            files={
                name: DirectoryGrant(path=self.base_dir / each.path, writable=each.access == "write")
                for name, each in rule.directories.items()
            },
            http={origin: each.grant() for origin, each in rule.http.items()},
            state="own" in rule.state,
            secrets=rule.secrets,
            plugins=rule.plugins,
            shared=dict(rule.shared),
            **switched(rule.interfaces),
        )

    def limits_for(self, plugin: Needs, pipeline: str, *, defaults: Limits | None = None) -> Limits:
        """The limits of a plugin in a pipeline: what it asks for, or the ceiling where it asks for nothing.

        The ceiling is the policy's, or that of `defaults` where the policy says nothing.

        Raises:
            PermissionDenied: It asks for more than the ceiling.
        """
        base = defaults or Limits()
        ceilings = self.ceilings(plugin, pipeline, defaults=base)
        chosen: dict[str, int] = {}
        for name in LimitValues.model_fields:
            asked, most = plugin.limits.get(name), ceilings[name]
            if asked is not None and most is not None and asked > most:
                raise PermissionDenied(
                    f"asks for {name} of {asked}, more than {most}",
                    plugin=plugin.plugin,
                    capability=f"limits.{name}",
                    hint=f"raise limits.{name} of the plugin in {self.source}",
                )
            value = asked if asked is not None else most
            if value is not None:
                chosen[name] = value
        timeout_ms = chosen.pop("call_timeout_ms", None)
        return replace(base, **chosen, call_timeout_s=None if timeout_ms is None else timeout_ms / 1000)

    def ceilings(self, plugin: Needs, pipeline: str, *, defaults: Limits | None = None) -> Mapping[str, int | None]:
        """The most of each limit that a plugin may have in a pipeline, by name; `None`: there is no ceiling."""
        said = self.rule_for(plugin, pipeline).limits.given()
        return {name: said.get(name, default_limit(name, defaults)) for name in LimitValues.model_fields}


def _without_empty(value: Any) -> Any:
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_defaults=True)
    if isinstance(value, dict):
        return {key: _without_empty(each) for key, each in value.items()}
    return value

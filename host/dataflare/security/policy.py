"""The operator's policy: what each plugin gets, in every pipeline and in single ones.

```yaml
version: 1
plugins:
  rates:                                 # the plugin's name
    versions: ">=1.2.0, <2.0.0"          # only these; without it, every version
    digests: ["sha256:..."]              # only these components; without it, every one
    grants:                              # in every pipeline; the same keys as in a pipeline's file
      clock: true
      state: true
      files:
        cache: {path: ./cache, access: write}   # relative to this file; access is read unless it says write
    limits: {memory: 256MiB}             # at most
    pipelines:
      nightly:                           # in this one also; for the same directory, origin or limit, instead
        grants:
          http:
            https://api.example.com: {methods: [GET]}
        limits: {memory: 512MiB}
pipelines:                               # which file a pipeline is, whatever name is in it
  nightly: {file: pipelines/nightly.yaml}     # or digests: ["sha256:..."], or embedded: true
connectors:                              # what the built-in connectors read and write, in every pipeline
  grants:
    files:
      incoming: {path: ./incoming}
  pipelines:
    nightly: {grants: {files: {out: {path: ./out, access: write}}}}
```

Everything else is denied. There is no wildcard except the word `any` for `methods` and `request_headers`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import AfterValidator, BaseModel, Field, model_validator

from dataflare.documents.models import Frozen, FrozenSet, Name, StrictModel, validate_document
from dataflare.documents.reader import parse_document, read_document
from dataflare.errors import PermissionDenied
from dataflare.grants import DirectoryGrant, Grants
from dataflare.limits import LIMITS, Limits, is_above
from dataflare.permissions.database_keys import DatabaseGrant, DatabaseModel
from dataflare.permissions.grant_keys import DirectoryModel, GrantsModel
from dataflare.permissions.limit_keys import LimitsModel, write_limit
from dataflare.security.capability import Needs
from dataflare.security.certificate_rules import CertificateProfile, CertificateRule, CertifierRule, highest
from dataflare.security.identifiers import Digest
from dataflare.security.pipelines import Bindings, PipelineFile, PipelineName, bound_files, bound_name
from dataflare.security.version_ranges import VersionRange
from dataflare.user_files import as_path
from dataflare.wit.versions import Version

__all__ = [
    "ConnectorGrants",
    "ConnectorPipelineRule",
    "ConnectorRule",
    "PipelineRule",
    "PluginRule",
    "Policy",
    "PolicyDocument",
]


def _range(text: str) -> str:
    VersionRange.parse(text)
    return text


class PipelineRule(StrictModel):
    """What a plugin is granted in one pipeline, in addition.

    Attributes:
        grants: Added to its grants in every pipeline; for the same directory, origin or batch, in place of them.
        limits: Limits in this pipeline, in place of those in every pipeline.
    """

    grants: GrantsModel = GrantsModel()
    limits: LimitsModel = LimitsModel()

    def over(self, grants: GrantsModel, limits: LimitsModel) -> tuple[GrantsModel, LimitsModel]:
        """Merge the rule for every pipeline with this one, which wins."""
        return grants.merged(self.grants), limits.merged(self.limits)


class PluginRule(StrictModel):
    """A plugin, and what it is granted.

    Attributes:
        versions: Only these versions, such as `>=1.2.0, <2.0.0`; left out, every one.
        digests: Only these components, `sha256:...`; left out, every one.
        require: What else is required, such as a certificate of conformance.
        grants: What it gets in every pipeline.
        limits: Its limits in every pipeline; those that are not given have their defaults.
        pipelines: What it gets in single pipelines, in addition; each must be under `pipelines` of the file.
    """

    versions: Annotated[str, AfterValidator(_range)] | None = None
    digests: Annotated[FrozenSet[Digest], Field(min_length=1)] | None = None
    require: CertificateRule = CertificateRule()
    grants: GrantsModel = GrantsModel()
    limits: LimitsModel = LimitsModel()
    pipelines: Frozen[PipelineName, PipelineRule] = Field(default_factory=dict)


class ConnectorGrants(StrictModel):
    """What connectors may use; nothing by default.

    Attributes:
        files: Directories below which they read, and write where `access` is `write`; the names are for the audit log.
        databases: Databases by the names that pipelines use for them; those in a pipeline's own file do not count.
    """

    hints: ClassVar[Mapping[str, str]] = {"directories": "write `files`"}

    files: Frozen[Name, DirectoryModel] = Field(default_factory=dict)
    databases: Frozen[Name, DatabaseModel] = Field(default_factory=dict)


class ConnectorPipelineRule(StrictModel):
    """What connectors may use in one pipeline, in addition.

    Attributes:
        grants: Added to what they may use in every pipeline.
    """

    grants: ConnectorGrants = ConnectorGrants()


class ConnectorRule(StrictModel):
    """What the built-in connectors may use.

    Attributes:
        grants: In every pipeline.
        pipelines: In single pipelines, in addition; each must be under `pipelines` of the file.
    """

    grants: ConnectorGrants = ConnectorGrants()
    pipelines: Frozen[PipelineName, ConnectorPipelineRule] = Field(default_factory=dict)


class PolicyDocument(StrictModel):
    """The file as it is written.

    Attributes:
        version: The format's version.
        pipelines: Which file each pipeline is, whatever name is in it.
        plugins: What each plugin gets, by the name in its manifest or signature, else the name it is loaded under.
        connectors: What the built-in connectors read and write.
        require: What is required of every plugin, such as a certificate of conformance.
        certificates: Whose certificates are accepted.
    """

    version: Literal[1]
    pipelines: Bindings = Field(default_factory=dict)
    plugins: Frozen[Name, PluginRule] = Field(default_factory=dict)
    connectors: ConnectorRule = ConnectorRule()
    require: CertificateRule = CertificateRule()
    certificates: CertifierRule = CertifierRule()

    @model_validator(mode="after")
    def _somebody_may_certify(self) -> PolicyDocument:
        asking = [name for name, rule in self.plugins.items() if rule.require.certificate is not None]
        if not self.certificates.keys and (asking or self.require.certificate is not None):
            place = f"plugins.{asking[0]}.require" if asking else "require"
            raise ValueError(
                f"{place}: nobody may certify; add to `certificates`: keys: [...], the lines of .pub files"
            )
        return self

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
        base_dir: The base of relative paths in it.
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
            ConfigError: The file cannot be read or is not valid; `where` is `file:line`.
        """
        file = as_path(path, where="policy")
        document = validate_document(read_document(file), PolicyDocument)
        absolute = file.absolute()
        return cls(document=document, base_dir=absolute.parent, source=str(file), file=absolute)

    @classmethod
    def parse(cls, text: str, *, source: str = "policy.yaml", base_dir: Path | None = None) -> Policy:
        """Read a policy from a text.

        Raises:
            ConfigError: The text is not valid; `where` is `file:line`.
        """
        document = validate_document(parse_document(text, name=source), PolicyDocument)
        return cls(document=document, base_dir=base_dir or Path(), source=source)

    def to_yaml(self) -> str:
        """Write the policy as YAML that `parse` reads back to the same policy."""
        value = {"version": 1, **_without_empty(self.document.model_dump(mode="json", exclude_defaults=True))}
        return yaml.safe_dump(value, sort_keys=False, width=78)

    @property
    def pipeline_files(self) -> list[Path]:
        """Return the files that are bound as pipelines by their path."""
        return bound_files(self.document.pipelines, self.base_dir)

    def pipeline_of(self, pipeline: PipelineFile) -> str:
        """Return the name that this policy has for a pipeline's file; empty if it has none.

        Raises:
            PermissionDenied: It is known under several names.
        """
        return bound_name(self.document.pipelines, pipeline, self.base_dir, self.source)

    def connector_directories(self, pipeline: str) -> Mapping[str, DirectoryGrant]:
        """Return the directories that the built-in connectors may use in a pipeline, by name.

        Raises:
            ConfigError: A directory's path cannot be resolved.
        """
        rule = self.document.connectors
        extra = rule.pipelines.get(pipeline, ConnectorPipelineRule())
        found = {}
        for name, each in {**rule.grants.files, **extra.grants.files}.items():
            found[name] = DirectoryGrant(path=self.base_dir / each.path, access=each.access)
        return found

    def connector_databases(self, pipeline: str) -> Mapping[str, DatabaseGrant]:
        """Return the databases that the built-in connectors may use in a pipeline, by name."""
        rule = self.document.connectors
        extra = rule.pipelines.get(pipeline, ConnectorPipelineRule())
        found = {**rule.grants.databases, **extra.grants.databases}
        return {name: each.grant(lambda path: (self.base_dir / path).absolute()) for name, each in found.items()}

    @property
    def asks_for_certificates(self) -> bool:
        """Whether any plugin needs a certificate."""
        return self.document.require.certificate is not None or any(
            rule.require.certificate is not None for rule in self.document.plugins.values()
        )

    def certificate_needed(self, plugin: str) -> CertificateProfile | None:
        """Return the profile that a plugin's certificate must have at least; `None` if it needs no certificate."""
        rule = self.document.plugins.get(plugin, PluginRule())
        return highest(self.document.require.certificate, rule.require.certificate)

    def refusal(self, plugin: Needs) -> str:
        """Say why no rule applies to this plugin; empty if one does."""
        rule = self.document.plugins.get(plugin.plugin)
        if rule is None:
            return f"{self.source} has no rule for the plugin {plugin.plugin!r}"
        if rule.digests is not None and plugin.digest not in rule.digests:
            shown = plugin.digest or "unknown"
            return f"the component's digest ({shown}) is not one of those that {self.source} pins for {plugin.plugin!r}"
        if rule.versions is not None and (
            plugin.version is None or Version.parse(plugin.version) not in VersionRange.parse(rule.versions)
        ):
            shown = plugin.version or "unknown"
            return f"the version {shown} of {plugin.plugin!r} is not in {rule.versions!r} ({self.source})"
        return ""

    def rule_for(self, plugin: Needs, pipeline: str) -> tuple[GrantsModel, LimitsModel]:
        """Return the rule of a plugin in a pipeline; an empty one if no rule applies."""
        if self.refusal(plugin):
            return GrantsModel(), LimitsModel()
        rule = self.document.plugins[plugin.plugin]
        extra = rule.pipelines.get(pipeline)
        return extra.over(rule.grants, rule.limits) if extra else (rule.grants, rule.limits)

    def grants_for(self, plugin: Needs, pipeline: str) -> Grants:
        """Return what a plugin gets in a pipeline: nothing if no rule applies or a pin does not fit (see `refusal`).

        Raises:
            ConfigError: A directory's path cannot be resolved.
        """
        grants, _ = self.rule_for(plugin, pipeline)
        return grants.grants(lambda path: self.base_dir / path)

    def limits_for(self, plugin: Needs, pipeline: str, *, defaults: Limits | None = None) -> Limits:
        """Return the limits of a plugin in a pipeline: what it asks for, otherwise the ceiling.

        The ceiling is the policy's, or that of `defaults` if the policy does not set it.

        Raises:
            PermissionDenied: The plugin asks for more than the ceiling.
        """
        ceilings = self.ceilings(plugin, pipeline, defaults=defaults)
        for name, row in LIMITS.items():
            most = getattr(ceilings, row.field)
            asked = plugin.limits.get(row.field, most)
            if is_above(asked, most):
                raise PermissionDenied(
                    f"asks for {name} of {write_limit(row, asked)}, more than {write_limit(row, most)}",
                    plugin=plugin.plugin,
                    capability=f"limits.{name}",
                    hint=f"raise limits.{name} of the plugin in {self.source}",
                )
        asked_for: Mapping[str, Any] = plugin.limits
        return replace(ceilings, **asked_for)

    def ceilings(self, plugin: Needs, pipeline: str, *, defaults: Limits | None = None) -> Limits:
        """Return the highest value of each limit that a plugin may have in a pipeline."""
        said: Mapping[str, Any] = self.rule_for(plugin, pipeline)[1].given()
        return replace(defaults or Limits(), **said)


def _without_empty(value: Any) -> Any:
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_defaults=True)
    if isinstance(value, dict):
        return {key: _without_empty(each) for key, each in value.items()}
    return value

"""Roles: who may do what with plugins, policies and pipelines.

```yaml
version: 1
roles:                               # without it, DEFAULT_ROLES
  viewer:
    allows: {plugins: [read], pipelines: [read]}
  author:
    inherits: [viewer]
    allows: {pipelines/nightly: [write]}    # this one pipeline
members:
  ada: [author]
pipelines:                           # which file a pipeline is, whatever name is in it
  nightly: {file: nightly.yaml}      # relative to this file; or digests: ["sha256:..."]
```

An object is a kind (`pipelines`: all of them) or one of it (`pipelines/nightly`). What no role allows is denied. A file
is one pipeline by `pipelines` here or in the policy; any other file takes a role for all of them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints, model_validator

from dataflare.documents.models import Frozen, FrozenSet, Name, Names, StrictModel, validate_document
from dataflare.documents.reader import parse_document, read_document
from dataflare.errors import ConfigError, PermissionDenied
from dataflare.locks import Lock
from dataflare.security.pipelines import Bindings, PipelineBinding, PipelineFile, bound_files, bound_name
from dataflare.user_files import as_path

__all__ = ["ACTIONS", "DEFAULT_ROLES", "Access", "AccessDocument", "Role"]

ACTIONS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "plugins": frozenset({"read", "publish", "install", "remove", "quarantine", "revoke"}),
        "policies": frozenset({"read", "write"}),
        "pipelines": frozenset({"read", "write", "delete", "run", "stop"}),
        "access": frozenset({"read", "write"}),
        "audit": frozenset({"read"}),
    }
)
"""The actions on each kind of object."""

# casbin's model: the form of a request and of a rule, inheritance of roles, "one matching rule is enough", and when a
# rule matches. The prefixes `role:` and `user:` keep names of roles and principals apart.
_MODEL: Final = """
[request_definition]
r = sub, act, kind, obj

[policy_definition]
p = sub, act, obj

[role_definition]
g = _, _

[policy_effect]
e = some(where (p.eft == allow))

[matchers]
m = g(r.sub, p.sub) && r.act == p.act && (r.obj == p.obj || r.kind == p.obj)
"""

_MAX_DEPTH: Final = 8

_Object = Annotated[str, StringConstraints(pattern=r"^[a-z]+(/[A-Za-z0-9][A-Za-z0-9._-]{0,127})?$")]
_Actions = Annotated[FrozenSet[str], Field(min_length=1)]
_Principal = Annotated[str, StringConstraints(pattern=r"^[^\s\x00-\x1f,]{1,254}$")]


class Role(StrictModel):
    """What a role allows: actions by object, in addition to what the roles that it inherits from allow.

    Attributes:
        inherits: Roles of which it allows all, at most 8 deep.
        allows: Actions by object.
    """

    inherits: Names = frozenset()
    allows: Frozen[_Object, _Actions] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Role:
        for resource, actions in self.allows.items():
            kind = resource.partition("/")[0]
            if kind not in ACTIONS:
                raise ValueError(f"there is no kind {kind!r}; there are {', '.join(ACTIONS)}")
            for action in sorted(actions - ACTIONS[kind]):
                raise ValueError(f"{kind} have no action {action!r}, only {', '.join(sorted(ACTIONS[kind]))}")
        return self


def _all(*kinds: str) -> dict[str, frozenset[str]]:
    return {kind: ACTIONS[kind] for kind in kinds}


_READ: Final = frozenset({"read"})

DEFAULT_ROLES: Final[Mapping[str, Role]] = MappingProxyType(
    {
        "viewer": Role(allows={"plugins": _READ, "policies": _READ, "pipelines": _READ}),
        "author": Role(
            inherits=frozenset({"viewer"}),
            allows={"plugins": frozenset({"publish"}), "pipelines": frozenset({"write", "run", "stop"})},
        ),
        # Authors of plugins must not decide what plugins may do, and those who decide must not write plugins.
        "operator": Role(
            inherits=frozenset({"viewer"}),
            allows={
                "plugins": frozenset({"install", "remove", "quarantine", "revoke"}),
                "policies": frozenset({"write"}),
                "pipelines": frozenset({"run", "stop", "delete"}),
                "audit": _READ,
            },
        ),
        "admin": Role(allows=_all("plugins", "policies", "pipelines", "access", "audit")),
    }
)
"""The roles if the file does not define any."""


class AccessDocument(StrictModel):
    """The file as it is written.

    Attributes:
        version: The format's version.
        roles: What each role allows; left out, the default roles.
        members: The roles of each principal.
        pipelines: Which file a pipeline is, whatever name is in it.
    """

    version: Literal[1]
    roles: Frozen[Name, Role] = Field(default_factory=lambda: dict(DEFAULT_ROLES))
    members: Frozen[_Principal, Names] = Field(default_factory=dict)
    pipelines: Bindings = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> AccessDocument:
        mentions = [(f"members.{who}", name) for who, names in self.members.items() for name in names]
        mentions += [(f"roles.{role}.inherits", name) for role, each in self.roles.items() for name in each.inherits]
        for place, name in sorted(mentions):
            if name not in self.roles:
                raise ValueError(f"{place}: there is no role {name!r}; there are {', '.join(sorted(self.roles))}")
        depths: dict[str, int] = {}
        for role in sorted(self.roles):
            self._depth(role, (), depths)
        return self

    def _depth(self, role: str, path: tuple[str, ...], depths: dict[str, int]) -> int:
        """Return the depth of a role's inheritance; `depths` has the known depths of other roles."""
        if role in path:
            raise ValueError(f"roles inherit from each other in a circle: {' -> '.join((*path, role))}")
        if len(path) >= _MAX_DEPTH:
            raise ValueError(f"roles inherit more than {_MAX_DEPTH} deep: {' -> '.join((*path, role))}")
        if role not in depths:
            parents = sorted(self.roles[role].inherits)
            depths[role] = max((1 + self._depth(parent, (*path, role), depths) for parent in parents), default=0)
        if len(path) + depths[role] >= _MAX_DEPTH:
            raise ValueError(f"roles inherit more than {_MAX_DEPTH} deep: {' -> '.join((*path, role))} -> ...")
        return depths[role]


class Access:
    """Decides who may do what. Any thread may use it.

    Args:
        document: Roles, members, and which files pipelines are.
        base_dir: The base of relative paths in it; `None` for the working directory.
        source: The file's name, for errors.
        file: The file that it was read from; `None` for none.

    Raises:
        ConfigError: The extra `access` is not installed.
    """

    def __init__(
        self,
        document: AccessDocument,
        *,
        base_dir: Path | None = None,
        source: str = "access.yaml",
        file: Path | None = None,
    ) -> None:
        try:
            import casbin  # type: ignore[import-untyped]  # has no type annotations
        except ImportError as error:
            hint = "pip install 'dataflare[access]'"
            raise ConfigError("roles need what is not installed", where=source, hint=hint) from error
        self.source = source
        self.file = file
        self._document = document
        self._base_dir = base_dir or Path()
        self._lock = Lock()
        model = casbin.Model()
        model.load_model_from_text(_MODEL)
        self._enforcer = casbin.Enforcer(model)
        self._enforcer.enable_auto_save(False)
        for name, role in document.roles.items():
            for resource, actions in role.allows.items():
                self._enforcer.add_policies([[f"role:{name}", action, resource] for action in sorted(actions)])
            for parent in role.inherits:
                self._enforcer.add_grouping_policy(f"role:{name}", f"role:{parent}")
        for principal, names in document.members.items():
            for name in names:
                self._enforcer.add_grouping_policy(f"user:{principal}", f"role:{name}")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Access:
        """Read roles and members from a file.

        Raises:
            ConfigError: The file cannot be read or is not valid; `where` is `file:line`.
        """
        given = as_path(path, where="access")
        file = given.absolute()
        document = validate_document(read_document(file, name=str(given)), AccessDocument)
        return cls(document, base_dir=file.parent, source=str(given), file=file)

    @classmethod
    def parse(cls, text: str, *, source: str = "access.yaml", base_dir: Path | None = None) -> Access:
        """Read roles and members from a text.

        Raises:
            ConfigError: The text is not valid; `where` is `file:line`.
        """
        return cls(
            validate_document(parse_document(text, name=source), AccessDocument), base_dir=base_dir, source=source
        )

    @property
    def pipelines(self) -> Mapping[str, PipelineBinding]:
        """The bindings of pipelines to files, by the name that roles use for them."""
        return self._document.pipelines

    @property
    def pipeline_files(self) -> list[Path]:
        """Return the files that are bound as pipelines by their path."""
        return bound_files(self.pipelines, self._base_dir)

    def pipeline_of(self, pipeline: PipelineFile) -> str:
        """Return the name that roles have for a pipeline's file; empty if they have none.

        Raises:
            PermissionDenied: It is known under several names.
        """
        return bound_name(self.pipelines, pipeline, self._base_dir, self.source)

    def allows(self, principal: str, action: str, resource: str) -> bool:
        """Whether a principal may perform an action on an object.

        Args:
            principal: The principal, as under `members`.
            action: One of `ACTIONS` of the object's kind.
            resource: The object, such as `pipelines/nightly`, or `pipelines` for all of them.

        Raises:
            ConfigError: There is no such kind or action; this is a mistake of the caller.
        """
        kind = resource.partition("/")[0]
        if action not in ACTIONS.get(kind, ()):
            raise ConfigError(
                f"there is no action {action!r} on {resource!r}",
                hint="; ".join(f"{each}: {', '.join(sorted(actions))}" for each, actions in ACTIONS.items()),
            )
        with self._lock:
            return bool(self._enforcer.enforce(f"user:{principal}", action, kind, resource))

    def require(self, principal: str, action: str, resource: str, *, of_some: bool = False) -> None:
        """Require a permission of a principal; with `of_some`, for at least one object of the kind `resource`.

        Raises:
            PermissionDenied: None of the principal's roles allows it; `capability` is `action object`.
            ConfigError: There is no such kind or action.
        """
        if self.allows(principal, action, resource) or (of_some and self._allows_some(principal, action, resource)):
            return
        roles = sorted(self._document.members.get(principal, ()))
        able = [name for name in sorted(self._document.roles) if self._role_allows(name, action, resource)]
        raise PermissionDenied(
            f"{principal!r} ({'with the roles ' + ', '.join(roles) if roles else 'without a role'}) may not "
            f"{action} {resource}",
            capability=f"{action} {resource}",
            hint=f"these roles may: {', '.join(able)}" if able else "no role allows it",
        )

    def _allows_some(self, principal: str, action: str, kind: str) -> bool:
        with self._lock:
            rules = self._enforcer.get_implicit_permissions_for_user(f"user:{principal}")
        return any(allowed == action and each.partition("/")[0] == kind for _, allowed, each in rules)

    def _role_allows(self, role: str, action: str, resource: str) -> bool:
        with self._lock:
            return bool(self._enforcer.enforce(f"role:{role}", action, resource.partition("/")[0], resource))

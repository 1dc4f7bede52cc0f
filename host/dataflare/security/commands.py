"""The permission that each command needs if there are roles, and what the command gives to plugins."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, TypeAlias

from dataflare.security.admission import Admission
from dataflare.security.settings import Security

__all__ = ["COMMANDS", "Gives", "Need", "Rule", "admit_command", "needs_of"]


class Need(NamedTuple):
    """A permission: an action, and the kind of its object.

    With `of_some`, the permission for any object of the kind is enough at first: the command checks again when it knows
    the object.
    """

    action: str
    kind: str
    of_some: bool = False


Gives: TypeAlias = Literal["none", "nothing", "tests", "grants"]
"""What a command gives to plugins. `none`: it runs no plugins. `nothing`: it asks for metadata, without grants.
`tests`: plugins get what tests provide, such as separate folders. `grants`: plugins get grants within the policy."""


class Rule(NamedTuple):
    """What a command needs, and what it gives to plugins."""

    needs: tuple[Need, ...]
    gives: Gives = "none"


_RUN: Final = (Need("run", "pipelines"),)
_READ_PIPELINES: Final = Rule((Need("read", "pipelines"),))
_READ_PLUGINS: Final = Rule((Need("read", "plugins"),))
_PUBLISH: Final = Rule((Need("publish", "plugins"),))
_READ_AUDIT: Final = Need("read", "audit")

COMMANDS: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        "run": Rule((Need("run", "pipelines", of_some=True),), "grants"),
        "run --check": Rule(_READ_PIPELINES.needs, "grants"),
        # Plugins are started, with what they are granted.
        "plan": Rule((Need("run", "pipelines", of_some=True),), "grants"),
        # A source's state may reveal what it reads, and a changed state repeats or skips rows.
        **dict.fromkeys(("state list", "state show", "state export"), _READ_PIPELINES),
        **dict.fromkeys(("state import", "state edit", "state reset"), Rule(_RUN)),
        **dict.fromkeys(("runs list", "runs show"), _READ_PIPELINES),
        "dead-letter show": _READ_PIPELINES,
        "dead-letter replay": Rule((Need("run", "pipelines", of_some=True),), "grants"),
        "inspect": Rule(_READ_PLUGINS.needs, "nothing"),
        "schema": _READ_PIPELINES,
        "compile": _READ_PLUGINS,
        "bindgen": _READ_PLUGINS,
        **dict.fromkeys(("bench", "check", "discover"), Rule(_RUN, "grants")),
        **dict.fromkeys(("new", "doctor"), _READ_PLUGINS),
        # Builds and unit tests run the author's code on this machine, and an adapter can be any command.
        "build": _PUBLISH,
        **dict.fromkeys(("test", "dev"), Rule(_PUBLISH.needs, "tests")),
        "conformance host --adapter": Rule(_PUBLISH.needs, "tests"),
        **dict.fromkeys(("conformance run", "conformance adapter"), Rule(_RUN, "grants")),
        "conformance host": Rule(_RUN, "tests"),
        **dict.fromkeys(("conformance list", "conformance verify"), _READ_PLUGINS),
        "package": Rule(_PUBLISH.needs, "nothing"),
        "sign": _PUBLISH,
        "verify": _READ_PLUGINS,
        "audit": Rule((_READ_AUDIT,)),
        "policy check": Rule((Need("read", "policies"),)),
        "policy suggest": Rule((_READ_AUDIT, Need("read", "policies"))),
        "policy suggest --output": Rule((_READ_AUDIT, Need("write", "policies"))),
        "policy diff": _READ_PLUGINS,
        "cache list": _READ_PLUGINS,
        "cache clear": Rule((Need("remove", "plugins"),)),
        "key generate": _PUBLISH,
        "key show": _READ_PLUGINS,
    }
)
"""The rule of each command. `COMMAND --OPTION` replaces `COMMAND` if that option is given."""


def needs_of(command: str, options: Collection[str]) -> tuple[Need, ...]:
    """Return what a command needs; `options` has the names of the given options.

    Raises:
        LookupError: The command is not listed here, so no role allows it.
    """
    for option in options:
        if found := COMMANDS.get(f"{command} --{option}"):
            return found.needs
    return COMMANDS[command].needs


def admit_command(
    command: str,
    options: Collection[str],
    *,
    access: str | os.PathLike[str] | None,
    principal: str | None,
    audit: str | os.PathLike[str] | None,
    outputs: Collection[str | os.PathLike[str]] = (),
    rules: Collection[str] = (),
) -> None:
    """Require the permission for a command of a principal, before the command does anything.

    Args:
        command: The command's name, such as `policy check`.
        options: The names of the given options, without dashes.
        access: The roles file; `None` allows everything to everyone.
        principal: The principal that gives the command.
        audit: The log for a refusal; `None` for no log.
        outputs: The files that the command writes; they must not be files that decide about it.
        rules: The policies in force, which only commands about policies may write.

    Raises:
        PermissionDenied: None of the principal's roles allows the command, or it may not write an output.
        ConfigError: The roles file is not valid, or `access` and `principal` are not given together.
        LookupError: The command is not listed here.
    """
    needs = needs_of(command, options)
    if access is None and principal is None:
        return
    with contextlib.closing(Admission(Security(audit=audit, access=access, principal=principal))) as admission:
        for need in needs:
            admission.require(need.action, need.kind, of_some=need.of_some)
        for each in rules if Need("write", "policies") not in needs else ():
            admission.protected.add(each, "a policy in force")
        for output in outputs:
            admission.require_output(output)

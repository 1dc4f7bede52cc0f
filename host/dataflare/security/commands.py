"""What each command of the command line needs of the person who gives it, where there are roles."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from dataflare.security.admission import Admission
from dataflare.security.settings import Security

__all__ = ["COMMANDS", "Need", "admit_command", "needs_of"]


class Need(NamedTuple):
    """An action, and the kind of object that it is done to.

    With `of_some`, the permission for one object of the kind is enough here: the command asks again once it knows which
    object it is.
    """

    action: str
    kind: str
    of_some: bool = False


_READ_PLUGINS: Final = (Need("read", "plugins"),)
_PUBLISH: Final = (Need("publish", "plugins"),)
_READ_AUDIT: Final = Need("read", "audit")

COMMANDS: Final[Mapping[str, tuple[Need, ...]]] = MappingProxyType(
    {
        "run": (Need("run", "pipelines", of_some=True),),
        "run --check": (Need("read", "pipelines"),),
        # Plugins are started, with what they are granted.
        "plan": (Need("run", "pipelines", of_some=True),),
        # What a source keeps may show what it reads, and a state that is changed repeats or leaves out rows.
        **dict.fromkeys(("state list", "state show", "state export"), (Need("read", "pipelines"),)),
        **dict.fromkeys(("state import", "state reset"), (Need("run", "pipelines"),)),
        **dict.fromkeys(("runs list", "runs show"), (Need("read", "pipelines"),)),
        "dead-letter show": (Need("read", "pipelines"),),
        "dead-letter replay": (Need("run", "pipelines", of_some=True),),
        "inspect": _READ_PLUGINS,
        "schema": (Need("read", "pipelines"),),
        "compile": _READ_PLUGINS,
        "bindgen": _READ_PLUGINS,
        "bench": (Need("run", "pipelines"),),
        "check": (Need("run", "pipelines"),),
        "discover": (Need("run", "pipelines"),),
        **dict.fromkeys(("new", "build", "doctor"), _READ_PLUGINS),
        "test": (Need("run", "pipelines"),),
        **dict.fromkeys(("conformance run", "conformance host", "conformance adapter"), (Need("run", "pipelines"),)),
        **dict.fromkeys(("conformance list", "conformance verify"), _READ_PLUGINS),
        "package": _PUBLISH,
        "sign": _PUBLISH,
        "verify": _READ_PLUGINS,
        "audit": (_READ_AUDIT,),
        "policy check": (Need("read", "policies"),),
        "policy suggest": (_READ_AUDIT, Need("read", "policies")),
        "policy suggest --output": (_READ_AUDIT, Need("write", "policies")),
        "policy diff": _READ_PLUGINS,
        "cache list": _READ_PLUGINS,
        "cache clear": (Need("remove", "plugins"),),
        "key generate": _PUBLISH,
        "key show": _READ_PLUGINS,
    }
)
"""What each command needs. `COMMAND --OPTION` holds in place of `COMMAND` where that option is given."""


def needs_of(command: str, options: Collection[str]) -> tuple[Need, ...]:
    """Tell what a command needs; `options` are the names of those that are given.

    Raises:
        LookupError: It is not listed here, so no role allows it.
    """
    for option in options:
        if found := COMMANDS.get(f"{command} --{option}"):
            return found
    return COMMANDS[command]


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
    """Let a principal give a command only with the permission, before anything of it is done.

    Args:
        command: Its name, such as `policy check`.
        options: The names of the options that are given, without dashes.
        access: The file that says who may do what; `None`: everybody may do everything.
        principal: Who gives the command.
        audit: Where a refusal is written.
        outputs: The files that the command writes, which must not be among those that decide about it.
        rules: The policies in force, which only commands about policies write.

    Raises:
        PermissionDenied: No role of theirs allows it, or the output is not theirs to write.
        ConfigError: The file is wrong, or `access` and `principal` are not given together.
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

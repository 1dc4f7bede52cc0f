"""Options that say what plugins and people may do, and what every command goes through before it does anything."""

from __future__ import annotations

import functools
import inspect
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import typer
from typer.core import TyperCommand, TyperGroup

from dataflare.cli.interrupts import interrupting_signals

__all__ = ["OUTPUTS", "AccessFile", "AuditFile", "GuardedGroup", "GuardedTyper", "PolicyFile", "Principal", "TrustFile"]

OUTPUTS: Final = ("output", "junit", "html", "certificate_out", "report_html", "metrics_file")
"""The parameters that name a file which a command writes over: never one of those that decide about the command."""

PolicyFile: TypeAlias = Annotated[
    Path | None, typer.Option(help="What each plugin gets (YAML).", envvar="DATAFLARE_POLICY", show_default="no policy")
]
TrustFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Whose signatures plugins need (YAML); each needs a .sig file beside it.",
        envvar="DATAFLARE_TRUST",
        show_default="no signature is needed",
    ),
]
AuditFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Append every use of a capability to this file (JSON Lines).",
        envvar="DATAFLARE_AUDIT",
        show_default="no audit",
    ),
]
AccessFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Who may do what (YAML); with --principal.", envvar="DATAFLARE_ACCESS", show_default="no roles"),
]
Principal: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Who runs this, as under `members` of --access.",
        envvar="DATAFLARE_PRINCIPAL",
        show_default="nobody in particular",
    ),
]
_GUARDS: Final[dict[str, Any]] = {"access": AccessFile, "principal": Principal}
_OF_PLUGINS: Final[dict[str, Any]] = {"policy": PolicyFile, "trust": TrustFile, "audit": AuditFile}
_VARIABLES: Final = {name: f"DATAFLARE_{name.upper()}" for name in (*_GUARDS, *_OF_PLUGINS)}
_SECURITY: Final = "security"


class GuardedTyper(typer.Typer):
    """A group of commands: each has `--access` and `--principal`, and asks the roles before it does anything.

    A function with the parameter `security` runs plugins. Its command also has `--policy`, `--trust` and `--audit`, and
    the function gets all of them as a `Security`, for its host.

    What a variable of the environment says of all these, an option cannot change. A signal ends each command in the way
    of Ctrl-C.

    An option that takes one value is refused if it is given twice. So text that is appended to a command line cannot
    override what comes before it.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(cls=GuardedGroup, add_completion=False, rich_markup_mode=None, **options)

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        """Register a command, guarded; the function itself stays as it is."""
        register = super().command(name, cls=_OnceCommand, **options)

        def guard(function: Any) -> Any:
            register(_guarded(function))
            return function

        return guard


def _guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    own = dict(inspect.signature(function, eval_str=True).parameters)
    runs_plugins = own.pop(_SECURITY, None) is not None
    guards = _GUARDS | (_OF_PLUGINS if runs_plugins else {})
    added = {name: kind for name, kind in guards.items() if name not in own}

    @functools.wraps(function)
    def command(*, context: typer.Context, **given: Any) -> Any:
        # With these comes much that is not needed to show what there is.
        from dataflare.cli.output import printed_errors
        from dataflare.security.commands import admit_command
        from dataflare.security.settings import Security

        options = [name for name, value in context.params.items() if value and name in given]
        with printed_errors(as_json=bool(given.get("as_json"))), interrupting_signals():
            _require_environment(context)
            admit_command(
                _name_of(context),
                options,
                access=given["access"],
                principal=given["principal"],
                audit=given.get("audit") or os.environ.get(_VARIABLES["audit"]) or None,
                outputs=[given[name] for name in OUTPUTS if given.get(name) is not None],
                rules=[
                    file
                    for name in ("policy", "trust")
                    if (file := given.get(name) or os.environ.get(_VARIABLES[name]) or None)
                ],
            )
            passed = {name: value for name, value in given.items() if name not in added}
            if runs_plugins:
                passed[_SECURITY] = Security(**{name: given[name] for name in guards}, protected=_own_files(given))
            return function(**passed)

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter("context", keyword, annotation=typer.Context),
        *(each.replace(kind=keyword) for each in own.values()),
        *(inspect.Parameter(name, keyword, default=None, annotation=kind) for name, kind in added.items()),
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command


def _own_files(given: Mapping[str, Any]) -> dict[str, str]:
    """The files of the operator that no plugin and no connector of a command may write."""
    from dataflare.security.protected import BESIDE_STATES

    state, key = (given.get(name) or os.environ.get(f"DATAFLARE_{name.upper()}") or "" for name in ("state", "key"))
    states = [f"{state}{each}" for each in ("", *BESIDE_STATES)] if state and "://" not in state else []
    return {
        **dict.fromkeys(states, "the state of this run"),
        **({os.fspath(key): "a signing key"} if key else {}),
        **{os.fspath(each): "a file of variables" for each in given.get("env_files") or ()},
    }


def _require_environment(context: typer.Context) -> None:
    """Refuse an option that says something else than the environment: whoever set that up decides about these."""
    from dataflare.errors import ConfigError

    for name, variable in _VARIABLES.items():
        said, value = os.environ.get(variable), context.params.get(name)
        if said and value is not None and os.fspath(value) != said:
            what = f"says {os.fspath(value)}, and the environment's {variable} says {said}"
            raise ConfigError(what, where=f"--{name}", hint="leave the option out")


def _name_of(context: typer.Context) -> str:
    """The command's name without the program's, such as `policy check`."""
    names: list[str] = []
    each: Any = context
    while each.parent is not None:
        names.insert(0, str(each.info_name))
        each = each.parent
    return " ".join(names)


def _require_once(command: Any, context: Any, arguments: list[str]) -> None:
    _, _, order = command.make_parser(context).parse_args(list(arguments))
    for parameter, times in Counter(order).items():
        if times > 1 and parameter.param_type_name == "option" and not parameter.multiple:
            raise typer.BadParameter("is given twice", ctx=context, param=parameter)


class _OnceCommand(TyperCommand):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _require_once(self, ctx, args)
        return super().parse_args(ctx, args)


class GuardedGroup(TyperGroup):
    """A group of commands, whose own options are refused when they are given twice."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _require_once(self, ctx, args)
        return super().parse_args(ctx, args)

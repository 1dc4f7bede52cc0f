"""Writes the parts of these pages that follow from the code: `python docs/reference/generate.py`.

A page holds `<!-- generated: NAME -->` and `<!-- end -->`; what stands between is replaced. A test compares.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, get_overloads, is_typeddict

import pyarrow as pa
import typer
from pydantic import BaseModel

import dataflare
from dataflare import errors, grants, limits, values
from dataflare.authoring.case_files import Case
from dataflare.cli.app import app
from dataflare.data.expressions.function import Function, Option
from dataflare.data.expressions.registry import TOPICS
from dataflare.data.expressions.relations import AGGREGATES
from dataflare.documents.models import StrictModel
from dataflare.interfaces import INTERFACES
from dataflare.permissions.limit_keys import write_limit
from dataflare.pipeline.specification import json_schema
from dataflare.runtime.plugin import Plugin
from dataflare.security.access import ACTIONS, DEFAULT_ROLES, AccessDocument
from dataflare.security.commands import COMMANDS
from dataflare.security.manifest import Manifest
from dataflare.security.policy import PolicyDocument
from dataflare.security.trust import TrustDocument

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER))  # a test loads this file by its path

import go_pages  # noqa: E402 - it is beside this file
import sdk_pages  # noqa: E402 - it is beside this file

_PART = re.compile(r"(<!-- generated: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)

SECTIONS = {
    "Host and plugins": ("Host", "Plugin", "Source", "Destination", "Processor", "Transformer", "Validator"),
    "asyncio": (
        *("AsyncHost", "AsyncPlugin", "AsyncSource", "AsyncDestination", "AsyncProcessor", "AsyncTransformer"),
        *("AsyncValidator", "run_async"),
    ),
    "Pipelines": (
        *("run", "load_specification", "parse_specification", "build_specification", "Specification", "Pipeline"),
        *(
            "RunReport",
            "NodeReport",
            "OutputReport",
            "Progress",
            "RunInterrupted",
            "StateDatabase",
            "StateFile",
            "StopLimits",
        ),
    ),
    "Policies": ("Security", "Policy", "TrustPolicy", "AuditLog", "Revocations"),
    "What a plugin may do": (
        *("Grants", "DirectoryGrant", "HttpGrant", "Limits", "parse_grants", "parse_limits"),
        *("PoolSettings", "LoadOptions"),
    ),
    "What is read and written": ("Selection", "Target"),
    "What plugins answer": (
        *(
            "Metadata",
            "Health",
            "DatasetName",
            "Dataset",
            "Division",
            "Estimate",
            "Chunk",
            "NewSchema",
            "Idle",
            "Ended",
        ),
        *("PlannedChange", "RejectedRow"),
        *("Rule", "RuleCount", "Violation", "Report", "Inspection", "PluginStats"),
    ),
    "What stands behind capabilities": (
        *("Services", "Watching"),
        *(
            "StandardLogSink",
            "MemoryLogSink",
            "LogEvent",
            "MemoryMetrics",
            "OpenTelemetryMetrics",
            "SystemClock",
            "ManualClock",
        ),
        *("MemoryStateStore", "SqliteStateStore", "StateLimits"),
        *("EnvironmentSecrets", "DirectorySecrets", "MemorySecrets"),
    ),
    "Values": ("Ok", "Err", "Some", "Variant"),
}


def main() -> int:
    """Write all pages anew."""
    for page in sorted(FOLDER.glob("*.md")):
        page.write_text(updated(page), encoding="utf-8")
    return 0


def updated(page: Path) -> str:
    """A page's text with its generated parts as they should be."""
    parts: dict[str, Callable[[], str]] = {
        "pipeline-keys": pipeline_keys,
        "commands": commands,
        "api": api,
        "errors": error_table,
        "error-tree": lambda: f"```text\n{_fenced(errors.__doc__)}\n```\n",
        "limits": limits_table,
        "interfaces": interfaces,
        "grants": lambda: arguments(grants.Grants),
        "directory-grant": lambda: arguments(grants.DirectoryGrant),
        "http-grant": lambda: arguments(grants.HttpGrant),
        "values": lambda: _table_of(values.__doc__),
        "policy-keys": lambda: format_keys(PolicyDocument),
        "trust-keys": lambda: format_keys(TrustDocument),
        "access-keys": lambda: format_keys(AccessDocument),
        "access-commands": command_needs,
        "access-actions": actions_table,
        "access-roles": default_roles,
        "manifest-keys": lambda: format_keys(Manifest),
        "case-keys": case_keys,
        "python-sdk": sdk_pages.python_sdk,
        "python-sdk-interfaces": sdk_pages.python_capabilities,
        "javascript-sdk": sdk_pages.javascript_sdk,
        "go-sdk": go_pages.go_sdk,
        "go-packages": go_pages.go_packages,
        "go-testing": go_pages.go_testing,
        "expression-functions": expression_functions,
        "expression-aggregates": expression_aggregates,
    }
    text = page.read_text(encoding="utf-8")
    return _PART.sub(lambda part: f"{part[1]}\n{parts[part[2]]()}\n{part[3]}", text)


def interfaces() -> str:
    """The interfaces of the host, and how each is granted."""
    out = ["| interface | granted by | under `grants` | in one line (`--grant`) |", "| --- | --- | --- | --- |"]
    ways = {"free": "free to every plugin", "switch": "a switch", "named": "naming what of it"}
    for each in INTERFACES.values():
        example = "" if each.grant == "free" else f"`{each.name}: {each.example}`"
        words = "" if each.grant == "free" else "`" + (each.word or each.name).replace(" or ", "`, `") + "`"
        out.append(f"| `{each.full_name}` | {ways[each.grant]} | {example} | {words} |")
    return "\n".join(out) + "\n"


# Expressions


def expression_functions() -> str:
    """The functions that expressions may call, topic by topic."""
    out = []
    for topic, functions in TOPICS.items():
        out += [f"### {topic}", "", "| function | takes | returns | nulls | fails when | example |"]
        out.append("| --- | --- | --- | --- | --- | --- |")
        for each in functions:
            says = each.says + "".join(f"<br>`{option.name}`: {_option(option)}" for option in each.options)
            cells = (f"`{each.name}`", _forms(each), says, each.nulls, each.errors or "never", _example(each))
            out.append("| " + " | ".join(map(_cell, cells)) + " |")
        out.append("")
    return "\n".join(out)


def expression_aggregates() -> str:
    """What can be computed of groups."""
    rows = [f"| `{name}` | {each.takes or 'no column'} | {each.says} |" for name, each in AGGREGATES.items()]
    return "\n".join(["| aggregate | takes | returns |", "| --- | --- | --- |", *rows]) + "\n"


def _forms(function: Function) -> str:
    shown = [str(each) for each in function.signatures[:8]]
    return "<br>".join(shown + ["and so on"] * (len(function.signatures) > len(shown)))


def _option(option: Option) -> str:
    if option.required:
        return f"{option.says} (required)"
    return option.says if option.default is None else f"{option.says} (default: {_quoted_literal(option.default)})"


def _example(function: Function) -> str:
    given = [_quoted_literal(each) for each in function.example.arguments]
    given += [f"{name}={_quoted_literal(value)}" for name, value in function.example.options.items()]
    return f"`{function.name}({', '.join(given)})` is `{_quoted_literal(function.example.result)}`"


def _quoted_literal(value: Any) -> str:
    if isinstance(value, pa.Scalar):
        return f"{_quoted_literal(value.as_py().replace(tzinfo=None))} in {value.type.tz}"
    return str(value) if isinstance(value, datetime) else repr(value)


# Pipelines


def pipeline_keys() -> str:
    """A table of keys for each mapping of a pipeline's file."""
    schema = json_schema()
    models = schema["$defs"]
    out = ["### The file", "", *_rows(schema, models)]
    shown = {"BestEffort", "JsonValue", "QueryModel", "TableModel"}  # a key that names one says what it is

    def table(title: str, name: str, options: str | None = None) -> None:
        shown.update({name, *([options] if options else [])})
        rows = _rows(models[name], models, models[options] if options else None)
        out.extend(["", f"### {title}", "", *rows])

    for title, name in (
        ("`checkpoint`", "CheckpointModel"),
        ("`databases.NAME`", "DatabaseModel"),
        ("A plugin's node", "PluginNode"),
        ("`source`", "ReadModel"),
        ("`source.datasets[]`", "DatasetsModel"),
        ("`destination`", "WriteModel"),
        ("`roles`", "RolesModel"),
        ("`grants`", "GrantsModel"),
        ("`grants.files.NAME`", "DirectoryModel"),
        ("`grants.http.ORIGIN`", "HttpModel"),
        ("`limits`", "LimitsModel"),
        ("`schema`", "ContractModel"),
        ("`on_violation`, by severity", "ViolationActions"),
        ("`on_error`", "OnErrorModel"),
    ):
        table(title, name)
    for connector in ("csv", "jsonl", "parquet", "arrow", "excel"):
        for role in ("Read",) if connector == "excel" else ("Read", "Write"):
            name = f"{connector.title()}{role}"
            options = models[name]["properties"]["options"]["$ref"].rpartition("/")[2]
            table(f"`connector: {connector}` that {role.lower()}s", name, options)
    table("`connector: sql` that reads", "SqlRead")
    table("`read` of several tables", "TablesModel")
    table("`connector: sql` that writes", "SqlWrite")
    if missing := models.keys() - shown:
        raise LookupError(f"the reference has no table for {', '.join(sorted(missing))}")
    return "\n".join(out) + "\n"


def _rows(model: dict[str, Any], models: dict[str, Any], options: dict[str, Any] | None = None) -> Iterator[str]:
    yield "| key | value | default | meaning |"
    yield "| --- | --- | --- | --- |"
    required = model.get("required", [])
    for key, entry in model["properties"].items():
        if options is not None and key == "options":
            yield from (_row(f"options.{name}", inner, models, False) for name, inner in options["properties"].items())
        else:
            yield _row(key, entry, models, key in required)


def _row(key: str, entry: dict[str, Any], models: dict[str, Any], required: bool) -> str:
    default = entry.get("default")
    if required:
        shown = "required"
    elif default is None or isinstance(default, dict):
        shown = ""
    else:
        shown = f"`{_yaml(default)}`"
    return f"| `{key}` | {_kind(entry, models)} | {shown} | {_cell(_meaning(key, entry))} |"


_FALLBACK = {
    "name": "The pipeline's name; state and shared batches are separate for each name.",
    "nodes": "The nodes by name; their order does not matter.",
    "plugin": "The component, a path relative to this file.",
    "read": "The file, a path relative to this file.",
    "write": "The file, a path relative to this file; its folder is made.",
    "connector": "Which built-in connector.",
    "options.delimiter": "The character between fields.",
    "options.null_values": "Texts that mean null.",
    "options.compression": "How the file is compressed.",
    "options.row_group_rows": "Rows in a row group, at most.",
    "grants": "What it may use; nothing by default.",
    "limits": "Its ceilings.",
    "info": "For violations of severity `info`.",
    "warning": "For violations of severity `warning`.",
    "error": "For violations of severity `error`.",
}


def _meaning(key: str, entry: dict[str, Any]) -> str:
    for each in (entry, *entry.get("anyOf", [])):
        if text := each.get("description"):
            return str(text)
    if text := _FALLBACK.get(key):
        return text
    for owner in (grants.Grants, grants.DirectoryGrant, grants.HttpGrant, limits.Limits):
        if text := _argument_texts(owner).get(key):
            return text
    raise LookupError(f"nothing says what {key} means: add a description to the model")


def _kind(entry: dict[str, Any], models: dict[str, Any]) -> str:
    """What a value may be, in words."""
    if "$ref" in entry:
        name = entry["$ref"].rpartition("/")[2]
        return "any JSON value" if name == "JsonValue" else "a mapping"
    for key in ("anyOf", "oneOf"):
        if key in entry:
            found = [_kind(each, models) for each in entry[key] if each.get("type") != "null"]
            return " or ".join(dict.fromkeys(found))
    if "const" in entry:
        return f"`{entry['const']}`"
    if "enum" in entry:
        return ", ".join(f"`{each}`" for each in entry["enum"])
    match entry.get("type"):
        case "object" if entry.get("title") == "InstalledNode":
            return "a mapping"
        case "object":
            inner = entry.get("additionalProperties") or next(iter(entry.get("patternProperties", {}).values()), {})
            words = _kind(inner, models) if isinstance(inner, dict) and inner else "any JSON value"
            return "a mapping of names to " + ("mappings" if words == "a mapping" else words)
        case "array":
            return f"a list of {_kind(entry['items'], models)}"
        case "boolean":
            return "`true`, `false`"
        case "integer" | "number" as kind:
            return ("whole number" if kind == "integer" else "number") + _bounds(entry)
        case "string" if "examples" in entry:
            return f"such as `{entry['examples'][0]}`"
        case "string" if entry.get("maxLength") == 2:
            return "one ASCII character"
        case "string" if "pattern" in entry and "x00" not in entry["pattern"]:
            return f"`{entry['pattern'].strip('^$')}`".replace("|", "\\|")
        case "string":
            return "text"
    return "any JSON value"


def _bounds(entry: dict[str, Any]) -> str:
    low, high = entry.get("minimum"), entry.get("maximum")
    if high is None and "exclusiveMaximum" in entry:
        high = f"{entry['exclusiveMaximum'] - 1:,}" if entry["exclusiveMaximum"] != 2**64 else "2^64 - 1"
    elif high is not None:
        high = f"{high:,}"
    if low is None:
        return ""
    return f", {low:,} to {high}" if high else f", at least {low:,}"


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_quoted, value))}]"
    return _quoted(value)


def _quoted(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) and not re.fullmatch(r"\w+", value) else str(value)


# Files of authors


def case_keys() -> str:
    """A table of keys for each mapping of a case, with an example of each key."""
    schema = Case.model_json_schema()
    models = schema["$defs"]
    out: list[str] = []
    for title, name, model in (
        ("The file", "Case", schema),
        ("`error`", "ExpectedError", models["ExpectedError"]),
        ("`violations`, each", "ExpectedViolation", models["ExpectedViolation"]),
    ):
        texts = _texts_of(name)
        out += [f"### {title}", "", "| key | value | meaning | example |", "| --- | --- | --- | --- |"]
        for key, entry in model["properties"].items():
            (example,) = entry.pop("examples")
            value = "a mapping" if key in ("limits", "error", "folders", "config") else _kind(entry, models)
            value = value.replace("a list of a mapping of names to any JSON value", "a list of rows")
            required = " (required)" if key in model.get("required", []) else ""
            out.append(f"| `{key}` | {value}{required} | {_cell(texts[key])} | `{key}: {example}` |")
        out.append("")
    return "\n".join(out)


# Files of operators and publishers


def format_keys(document: type[BaseModel]) -> str:
    """A table of keys for each mapping of a file; one that comes a second time is named, not repeated."""
    schema = document.model_json_schema()
    models = schema.get("$defs", {})
    out: list[str] = []
    places: dict[str, str] = {}
    waiting: list[tuple[str, str, dict[str, Any]]] = [("", document.__name__, schema)]
    for place, name, model in waiting:
        if name in places:
            out += [f"### `{place}`", "", f"As [`{places[name]}`](#{_anchor(places[name])}).", ""]
            continue
        places[name] = place
        texts = _texts_of(name)
        out += [f"### `{place}`" if place else "### The file", ""]
        out += ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
        required = model.get("required", [])
        for key, entry in model["properties"].items():
            default = "required" if key in required else _file_default(entry)
            if name == "LimitsModel":
                default = _limit_default(key)
            says = entry.get("description") or texts[key]
            out.append(f"| `{key}` | {_kind(entry, models)} | {default} | {_cell(says)} |")
            inner = f"{place}.{key}".lstrip(".")
            waiting += [(inner + part, each, models[each]) for part, each in _models_in(entry) if each in models]
        out.append("")
    return "\n".join(out)


def _limit_default(key: str) -> str:
    row = limits.LIMITS[key]
    return f"`{write_limit(row, getattr(limits.Limits(), row.field))}`"


def _models_in(entry: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The models within a value, each with what leads to it."""
    if "$ref" in entry:
        yield "", entry["$ref"].rpartition("/")[2]
    for each in entry.get("anyOf", []):
        yield from _models_in(each)
    for key, part in (("additionalProperties", ".NAME"), ("items", "[]")):
        if isinstance(entry.get(key), dict):
            yield from ((part + rest, name) for rest, name in _models_in(entry[key]))
    for each in entry.get("patternProperties", {}).values():
        yield from ((".NAME" + rest, name) for rest, name in _models_in(each))


def _file_default(entry: dict[str, Any]) -> str:
    default = entry.get("default")
    return "" if default in (None, {}, [], "") or isinstance(default, dict) else f"`{_yaml(default)}`"


def _texts_of(name: str) -> Mapping[str, str]:
    """What a model's docstring says of each key."""
    known = {each.__name__: each for each in _below(StrictModel)}
    return _argument_texts(known[name], "Attributes")


def _below(owner: type) -> Iterator[type]:
    for each in owner.__subclasses__():
        yield each
        yield from _below(each)


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w-]", "", heading.lower())


def command_needs() -> str:
    """What each command needs of roles."""
    rows = [
        f"| `dataflare {name}` | {', '.join(f'{need.action} `{need.kind}`' for need in rule.needs)} | {rule.gives} |"
        for name, rule in COMMANDS.items()
    ]
    return "\n".join(["| command | needs | gives plugins |", "| --- | --- | --- |", *rows, ""])


def actions_table() -> str:
    """The actions of each kind of object."""
    rows = [f"| `{kind}` | {', '.join(f'`{each}`' for each in sorted(actions))} |" for kind, actions in ACTIONS.items()]
    return "\n".join(["| object | actions |", "| --- | --- |", *rows, ""])


def default_roles() -> str:
    """The default roles, as a file would have them."""
    out = ["```yaml", "roles:"]
    for name, role in DEFAULT_ROLES.items():
        out.append(f"  {name}:")
        if role.inherits:
            out.append(f"    inherits: [{', '.join(sorted(role.inherits))}]")
        out.append("    allows:")
        out += [f"      {kind}: [{', '.join(sorted(actions))}]" for kind, actions in role.allows.items()]
    return "\n".join([*out, "```", ""])


# Commands


def commands() -> str:
    """Arguments and options of each command."""
    out: list[str] = []
    for name, command in _commands("dataflare", typer.main.get_command(app)):
        text = " ".join(inspect.cleandoc(command.help or "").partition("\n\n")[0].split())
        out += [f"### `{name}`", "", text, ""]
        if command.params:
            out += ["| | |", "| --- | --- |"]
        for parameter in command.params:
            names = parameter.opts if parameter.param_type_name == "option" else [str(parameter.name)]
            notes = _cell(getattr(parameter, "help", "") or "")
            if getattr(parameter, "envvar", None):
                notes += f" Environment: `{parameter.envvar}`."
            out.append(f"| {', '.join(f'`{each}`' for each in names)} | {notes} |")
        if command.params:
            out.append("")
    return "\n".join(out)


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield name, command
    for inner in getattr(command, "commands", {}).values():
        yield from _commands(f"{name} {inner.name}", inner)


# Python


def api() -> str:
    """The public names, each with its signature and what it is."""
    out: list[str] = []
    listed: set[str] = set()
    for title, names in SECTIONS.items():
        out += [f"### {title}", ""]
        for name in names:
            out += [*_describe(name), *([""] if title == "Host and plugins" else [])]
            listed.add(name)
        out.append("")
    named = {*listed, *errors.__all__, "RunLost", "PoolExhausted", "DataError", "NodeFailed", "StateError"}
    named |= {"ManifestError", "CertificateRefused", "SignatureRefused"}
    if rest := set(dataflare.__all__) - named:
        raise LookupError(f"no section of docs/reference/generate.py has {', '.join(sorted(rest))}")
    return "\n".join(out)


def _describe(name: str) -> Iterator[str]:
    value = getattr(dataflare, name)
    if is_typeddict(value):
        yield f"- `{name}({', '.join(value.__annotations__)})`: {_first_line(value)}"
        return
    if is_dataclass(value):
        yield f"- `{name}({', '.join(each.name for each in fields(value))})`: {_first_line(value)}"
        return
    if not inspect.isclass(value) or not issubclass(value, Plugin | dataflare.Host):
        yield f"- `{name}{_signature(value)}`: {_first_line(value)}"
        return
    yield f"**`{name}`** {_first_line(value)}"
    if name == "Host":
        yield f"\n`{name}{_signature(value)}`"
    yield ""
    yield "| | |"
    yield "| --- | --- |"
    for key, member in vars(value).items():
        if not key.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
            shown = f"{key}{_signature(member)}" if inspect.isfunction(member) else key
            yield f"| `{_cell(shown)}` | {_cell(_first_line(member))} |"


def _signature(function: Any) -> str:
    """Parameters with plain defaults, and what is returned: the docstrings say the types."""
    found = inspect.signature(function)
    shown = []
    for parameter in found.parameters.values():
        plain = parameter.default is None or isinstance(parameter.default, str | int | float)
        default = parameter.default if plain or parameter.default is parameter.empty else ...
        shown.append(parameter.replace(annotation=parameter.empty, default=default))
    returned = inspect.Parameter.empty if inspect.isclass(function) else found.return_annotation
    if returned == "Any" and (overloads := get_overloads(function)):
        returned = " | ".join(each.__annotations__["return"] for each in overloads)
    text = str(found.replace(parameters=[each for each in shown if each.name != "self"], return_annotation=returned))
    return re.sub(r"-> '(.*)'$", r"-> \1", text).replace("Ellipsis", "...").replace("pa.", "pyarrow.")


def _first_line(value: Any) -> str:
    text = inspect.getdoc(value) or ""
    return " ".join(text.partition("\n\n")[0].split())


# Errors


ERROR_MODULES = (
    *("errors", "runtime.pool", "runtime.runs", "pipeline.run_errors"),
    *("security.certificates", "security.manifest", "security.signatures", "toolchain.run_tool"),
)


def error_table() -> str:
    """Every error with its parent, what it says and the fields that it adds."""
    out = ["| error | kind of | what it means | fields |", "| --- | --- | --- | --- |"]
    for name in ERROR_MODULES:
        module = importlib.import_module(f"dataflare.{name}")
        for each in vars(module).values():
            if not (inspect.isclass(each) and issubclass(each, errors.DataflareError)):
                continue
            if each.__module__ != module.__name__ or each.__name__.startswith("_"):
                continue
            own = vars(each).get("__init__")
            names = [] if own is None else [n for n in inspect.signature(own).parameters if n not in ("self", "cause")]
            fields_ = ", ".join(f"`{field}`" for field in names)
            out.append(f"| `{each.__name__}` | `{each.__base__.__name__}` | {_cell(_first_line(each))} | {fields_} |")
    return "\n".join(out) + "\n"


# Dataclasses


def limits_table() -> str:
    """The limits, by their names in documents and in Python."""
    texts = _argument_texts(limits.Limits)
    out = ["| limit | in Python | default | meaning |", "| --- | --- | --- | --- |"]
    for name, row in limits.LIMITS.items():
        out.append(f"| `{name}` | `{row.field}` | {_limit_default(name)} | {_cell(texts[row.field])} |")
    return "\n".join(out) + "\n"


def arguments(owner: type) -> str:
    """A table of a dataclass's fields, as its docstring tells of them."""
    texts = _argument_texts(owner)
    out = ["| field | default | meaning |", "| --- | --- | --- |"]
    for each in fields(owner):  # type: ignore[arg-type]
        out.append(f"| `{each.name}` | {_default(each)} | {_cell(texts[each.name])} |")
    return "\n".join(out) + "\n"


def _argument_texts(owner: type, section: str = "Args") -> dict[str, str]:
    """What a docstring says of each argument, by name."""
    section = (inspect.getdoc(owner) or "").partition(f"{section}:\n")[2].partition("\n\n")[0]
    found: dict[str, str] = {}
    for line in section.splitlines():
        if match := re.match(r"    (\w+): (.*)", line):
            name = match[1]
            found[name] = match[2]
        elif found:
            found[name] += f" {line.strip()}"
    return found


def _default(one: Any) -> str:
    if one.default is not MISSING:
        if isinstance(one.default, frozenset):
            return ", ".join(f"`{each}`" for each in sorted(one.default)) or "none"
        return f"`{one.default:,}`" if type(one.default) is int else f"`{one.default}`"
    return "required" if one.default_factory is MISSING else "none"


# Text


def _fenced(docstring: str | None) -> str:
    return (docstring or "").split("```\n")[1].rstrip("\n")


def _table_of(docstring: str | None) -> str:
    return "\n".join(line for line in (docstring or "").splitlines() if line.startswith("|")) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())

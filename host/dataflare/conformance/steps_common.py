"""Steps for plugins of every kind: their description, their configuration and their life."""

from __future__ import annotations

import re
from typing import Any, Final

from dataflare import PluginError
from dataflare.conformance.steps import Bench, NotConformant, NotTested, expect_error, step
from dataflare.json_values import parse_json

_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")
_SEMVER: Final = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?"
)
_TYPES: Final[dict[str, Any]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}


@step("metadata")
def metadata(bench: Bench, _: Any) -> None:
    """The plugin's description is complete, in its forms, and of its kind."""
    found = bench.plugin.metadata
    if not _NAME.fullmatch(found.name):
        raise NotConformant(f"the name is {found.name!r}, and should have the form {_NAME.pattern}")
    if not _SEMVER.fullmatch(found.version):
        raise NotConformant(f"the version is {found.version!r}, which is not of Semantic Versioning 2.0")
    if found.kind != bench.subject.kind:
        raise NotConformant(f"the kind is {found.kind!r}, and the plugin exports {bench.subject.kind!r}")
    if not found.description.strip() or "\n" in found.description:
        raise NotConformant(f"the description is {found.description!r}, and should be one line")
    if bench.make().metadata != found:
        raise NotConformant("a second instance describes itself in another way")


@step("metadata-with-config")
def metadata_with_config(bench: Bench, _: Any) -> None:
    """The description does not depend on the configuration."""
    first = bench.plugin.metadata
    try:
        second = bench.renew({}).metadata
    except PluginError:
        raise NotTested("the plugin needs a configuration, and there is only the one that was given") from None
    if first != second:
        raise NotConformant("with another configuration, the description is another one")


@step("config-schema")
def config_schema(bench: Bench, _: Any) -> None:
    """The schema of the configuration is JSON Schema, and the configuration that was given fits it."""
    if not bench.plugin.metadata.config_schema:
        if bench.subject.config:
            raise NotConformant("there is no schema of the configuration, and the plugin takes one")
        return
    schema = _schema_of(bench)
    if not isinstance(schema, dict | bool):
        raise NotConformant(f"the schema of the configuration is {type(schema).__name__}, not an object")
    if isinstance(schema, dict):
        _check_top(schema, bench)


def _check_top(schema: dict[str, Any], bench: Bench) -> None:
    config = dict(bench.subject.config)
    for key in schema.get("required", []):
        if key not in config:
            raise NotConformant(f"the schema requires {key!r}, without which the plugin works")
    properties = schema.get("properties", {})
    for key, value in [("", schema), *properties.items()]:
        kinds = value.get("type", []) if isinstance(value, dict) else []
        if unknown := set([kinds] if isinstance(kinds, str) else kinds) - set(_TYPES):
            raise NotConformant(
                f"the schema's type of {key or 'the configuration'!r} is {min(unknown)!r}, which is none"
            )
    for key, value in config.items():
        if key not in properties:
            if schema.get("additionalProperties") is False:
                raise NotConformant(f"the schema allows no {key!r}, with which the plugin works")
            continue
        kind = properties[key].get("type") if isinstance(properties[key], dict) else None
        kinds = [kind] if isinstance(kind, str) else kind or []
        if kinds and not any(isinstance(value, _TYPES.get(each, object)) for each in kinds):
            raise NotConformant(f"the schema says that {key!r} is {' or '.join(kinds)}, and the plugin takes {value!r}")


def _schema_of(bench: Bench) -> Any:
    try:
        return parse_json(bench.plugin.metadata.config_schema or "{}")
    except ValueError as error:
        raise NotConformant(f"the schema of the configuration is not JSON: {error}") from error


@step("refuse-config")
def refuse_config(bench: Bench, arguments: dict[str, Any]) -> None:
    """A wrong configuration is refused: `with: unknown-key`, or `with: wrong-type` in place of each key's value."""
    config = dict(bench.subject.config)
    if arguments["with"] == "unknown-key":
        schema = _schema_of(bench)
        if not isinstance(schema, dict) or schema.get("additionalProperties") is not False:
            raise NotTested("the plugin's schema allows unknown keys")
        expect_error(lambda: bench.renew({**config, "no-such-key": 1}), ["invalid-config"], "an unknown key")
        return
    if not config:
        raise NotTested("no configuration was given")
    for key in config:
        wrong = {**config, key: {"no": ["such", {"value": None}]}}
        expect_error(lambda wrong=wrong: bench.renew(wrong), ["invalid-config"], f"a wrong value of {key!r}")  # type: ignore[misc]


@step("health")
def health(bench: Bench, _: Any) -> None:
    """The plugin is healthy."""
    found = bench.plugin.health()
    if found.status == "unhealthy":
        raise NotConformant(f"the plugin is unhealthy: {found.message}")


@step("close")
def close(bench: Bench, _: Any) -> None:
    """The plugin shuts down without an error, and another instance can begin."""
    bench.plugin.close()
    bench.renew()


@step("close-at-once")
def close_at_once(bench: Bench, _: Any) -> None:
    """An instance that did nothing shuts down without an error."""
    bench.make().close()

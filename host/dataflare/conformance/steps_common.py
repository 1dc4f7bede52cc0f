"""Steps for plugins of every kind: their description, their configuration and their life."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

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


_WRONG: Final[Sequence[tuple[Any, set[str]]]] = (
    ({"no": ["such", {"value": None}]}, {"object"}),
    (-7.5, {"number", "integer"}),
    ([[]], {"array"}),
    (True, {"boolean"}),
    ("wrong", {"string"}),
)
"""Values, each with the types that it could be taken for."""


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
    """The description does not depend on the configuration: it is the same before `configure` and after."""
    first, second = bench.plugin.metadata, bench.plugin.ask_metadata()
    if first != second:
        raise NotConformant(f"the description is {first} before `configure`, and then {second}")


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
    values = list(_wrong_values(_schema_of(bench), config))
    if not values:
        raise NotTested("no key of the configuration has a type that a value could be wrong for")
    for key, value in values:
        wrong = {**config, key: value}
        expect_error(lambda wrong=wrong: bench.renew(wrong), ["invalid-config"], f"{key!r} with the value {value!r}")  # type: ignore[misc]


def _wrong_values(schema: Any, config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """For each key that the schema describes, or that was given, values of the types that it cannot have."""
    properties = schema.get("properties", {}) if isinstance(schema, dict) else {}
    for key in {**config, **properties}:
        kinds = _kinds(properties.get(key))
        if not kinds and key in config:
            kinds = {name for name, kind in _TYPES.items() if isinstance(config[key], kind)}
        yield from ((key, value) for value, of in _WRONG if kinds and not of & kinds)


def _kinds(schema: Any) -> set[str]:
    """The types that a schema allows; empty if it does not say."""
    if not isinstance(schema, dict):
        return set()
    found = schema.get("type", [])
    kinds = {found} if isinstance(found, str) else {each for each in found if isinstance(each, str)}
    choices = [_kinds(each) for name in ("anyOf", "oneOf") for each in schema.get(name, ())]
    return kinds.union(*choices) if all(choices) else set()


@step("configure-again")
def configure_again(bench: Bench, _: Any) -> None:
    """An instance that is configured twice takes the place of the one before."""
    bench.renew(configurations=2)


@step("health")
def health(bench: Bench, _: Any) -> None:
    """The plugin is healthy."""
    found = bench.plugin.health()
    if found.status == "unhealthy":
        raise NotConformant(f"the plugin is unhealthy: {found.message}")


@step("close")
def close(bench: Bench, _: Any) -> None:
    """The plugin shuts down without an error, and another instance can begin."""
    _end(bench.plugin)
    bench.renew()


@step("close-at-once")
def close_at_once(bench: Bench, _: Any) -> None:
    """An instance that did nothing shuts down without an error."""
    _end(bench.make())


def _end(plugin: Any) -> None:
    plugin.close()
    if (error := plugin.shutdown_error) is not None:
        raise NotConformant(f"`shutdown` failed: {error.message}")

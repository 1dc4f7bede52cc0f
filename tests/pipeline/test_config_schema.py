from __future__ import annotations

import json
import time

import pytest

from dataflare.pipeline.config_schema import misfits

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["path"],
    "properties": {
        "path": {"type": "string", "minLength": 1},
        "mode": {"enum": ["fast", "safe"]},
        "rows": {"type": "integer", "minimum": 1, "maximum": 100},
        "columns": {"type": "array", "maxItems": 2, "items": {"$ref": "#/$defs/column"}},
        "when": {"oneOf": [{"type": "string"}, {"type": "object", "properties": {"at": {"type": "integer"}}}]},
        "ratio": {"type": ["number", "null"], "exclusiveMinimum": 0},
    },
    "$defs": {"column": {"type": "object", "required": ["name"], "properties": {"op": {"enum": ["add", "divide"]}}}},
}


@pytest.mark.parametrize(
    "config",
    [
        {"path": "x"},
        {"path": "x", "mode": "fast", "rows": 100, "columns": [{"name": "a", "op": "add", "more": 1}], "ratio": None},
        {"path": "x", "when": "now", "rows": 5.0, "ratio": 0.5},
        {"path": "x", "when": {"at": 3}},
    ],
)
def test_configuration_that_fits_has_no_misfits(config):
    assert misfits(config, json.dumps(SCHEMA)) == []


@pytest.mark.parametrize(
    ("config", "path", "message", "hint"),
    [
        ({}, (), "path is missing", ""),
        ({"path": 3}, ("path",), "3 is not a text", ""),
        ({"path": ""}, ("path",), "is empty", ""),
        ({"path": "x", "mod": 1}, ("mod",), "unknown key", "did you mean 'mode'?"),
        ({"path": "x", "mode": "fats"}, ("mode",), "'fats' is not one of 'fast', 'safe'", "did you mean 'fast'?"),
        ({"path": "x", "rows": 0}, ("rows",), "0 is not at least 1", ""),
        ({"path": "x", "rows": 101}, ("rows",), "101 is not at most 100", ""),
        ({"path": "x", "rows": True}, ("rows",), "true is not a whole number", ""),
        (
            {"path": "x", "columns": [{"name": "a"}, {"name": "b", "op": "divid"}]},
            ("columns", 1, "op"),
            "'divid' is not one of 'add', 'divide'",
            "did you mean 'divide'?",
        ),
        ({"path": "x", "columns": [{}]}, ("columns", 0), "name is missing", ""),
        ({"path": "x", "columns": [{"name": "a"}] * 3}, ("columns",), "is longer than 2", ""),
        ({"path": "x", "when": {"at": "x"}}, ("when", "at"), "'x' is not a whole number", ""),
        ({"path": "x", "ratio": 0}, ("ratio",), "0 is not more than 0", ""),
        ({"path": "x", "ratio": "y"}, ("ratio",), "'y' is not a number or null", ""),
    ],
)
def test_misfit_has_its_place(config, path, message, hint):
    (found,) = misfits(config, json.dumps(SCHEMA))
    assert (found.path, found.message, found.hint) == (path, message, hint)


@pytest.mark.parametrize(
    "schema",
    [
        "",
        "{",
        "[]",
        "3",
        "[" * 100_000,
        '{"$ref": "#"}',
        '{"$ref": "#/absent"}',
        '{"$ref": "http://example.com/schema"}',
        '{"$ref": "file:///etc/passwd"}',
        '{"type": 3, "enum": 3, "required": 3, "properties": 3, "items": 3, "allOf": 3, "minimum": "x"}',
        '{"pattern": "^(a+)+$", "patternProperties": {"^(a+)+$": false}}',
        '{"additionalProperties": {"$ref": "#"}}',
    ],
)
def test_schema_that_cannot_be_used_refuses_nothing(schema):
    assert misfits({"path": "a" * 40, "b": [1]}, schema) == []


def test_schema_that_asks_for_endless_work_is_given_up():
    schema = {"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}] * 10}}, "$ref": "#/$defs/a"}
    begun = time.monotonic()
    assert misfits({"a": 1}, json.dumps(schema)) == []
    assert time.monotonic() - begun < 5

"""A validator that checks columns for ranges, nulls and sets of values."""

from __future__ import annotations

import json
from typing import Any

import checks
from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import validator
from wit_world.imports import types
from wit_world.imports.batches import Batch
from wit_world.imports.schemas import Schema

from dataflare_plugin.raw import guarded, healthy, parse_object

CONFIG_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "required": ["rules"],
    "properties": {
        "rules": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name", "column"],
                "properties": {
                    "name": {"description": "Unique among the rules.", "type": "string", "minLength": 1},
                    "column": {"type": "string", "minLength": 1},
                    "min": {"description": "The least value, in the column's own unit.", "type": "number"},
                    "max": {"description": "The greatest value, in the column's own unit.", "type": "number"},
                    "not_null": {"type": "boolean", "default": False},
                    "one_of": {"type": "array", "items": {"type": ["string", "number"]}},
                    "severity": {"enum": list(checks.SEVERITIES), "default": "error"},
                    "max_violations": {
                        "description": "Violations to report for a batch; all are counted.",
                        "type": "integer",
                        "minimum": 0,
                        "default": 100,
                    },
                },
            },
        }
    },
}

RULES: list[checks.Rule] = []


class Lifecycle(exports.Lifecycle):
    """The plugin's life."""

    def get_metadata(self) -> types.Metadata:
        """What the plugin says of itself."""
        return types.Metadata(
            "range-validator",
            "1.0.0",
            types.Kind.VALIDATOR,
            "Checks columns for ranges, nulls and sets of values",
            json.dumps(CONFIG_SCHEMA),
        )

    @guarded
    def configure(self, config: str) -> None:
        """Take the rules."""
        try:
            RULES[:] = checks.parse_rules(parse_object(config))
        except checks.InvalidRule as exc:
            raise Err(types.Error_InvalidConfig(str(exc))) from None

    def initialize(self) -> None:
        """Nothing is to be opened."""

    def shutdown(self) -> None:
        """Nothing is to be closed."""

    def health_check(self) -> types.Health:
        """It always works."""
        return healthy()


class Validator(exports.Validator):
    """The checks."""

    @guarded
    def rules(self) -> list[validator.Rule]:
        """What is checked."""
        return [validator.Rule(rule.name, rule.description, _severity(rule)) for rule in RULES]

    @guarded
    def validate(self, input: Batch) -> validator.Report:
        """Check a batch."""
        with input as batch:
            columns = Columns(batch)
            counts = []
            violations: list[validator.Violation] = []
            for rule in RULES:
                found = columns.check(rule)
                counts.append(validator.RuleCount(rule.name, len(found)))
                violations.extend(
                    validator.Violation(row, rule.column, rule.name, _severity(rule), message)
                    for row, message in found[: rule.max_violations]
                )
            violations.sort(key=lambda violation: violation.row or 0)
            return validator.Report(columns.rows, counts, violations)


class Columns:
    """A batch's columns, each fetched once."""

    def __init__(self, batch: Batch) -> None:
        self.rows = batch.num_rows()
        self._batch = batch
        self._types = _types(batch.schema())
        self._nulls: dict[str, list[int]] = {}
        self._values: dict[str, list[Any]] = {}

    def check(self, rule: checks.Rule) -> list[tuple[int, str]]:
        """The rows that break a rule, each with what is wrong, ascending."""
        if rule.column not in self._types:
            raise Err(types.Error_InvalidInput(f"rule {rule.name!r}: there is no column {rule.column!r}"))
        nulls = self._null_rows(rule.column)
        found = [(row, f"{rule.column} is null") for row in nulls] if rule.not_null else []
        if rule.needs_values:
            values = self._column(rule)
            exact = checks.is_wide(self._types[rule.column])
            wrong = checks.broken_rows(checks.with_decimals(rule) if exact else rule, values, nulls)
            # What is cut off later needs no text.
            shown = str if exact else repr
            found += [(row, f"{rule.column} is {shown(values[row])}") for row in wrong[: rule.max_violations]]
            found += [(row, "") for row in wrong[rule.max_violations :]]
            found.sort()
        return found

    def _null_rows(self, column: str) -> list[int]:
        if column not in self._nulls:
            self._nulls[column] = checks.null_rows(self._batch.validity(column), self.rows)
        return self._nulls[column]

    def _column(self, rule: checks.Rule) -> list[Any]:
        column, type_name = rule.column, self._types[rule.column]
        is_text = type_name in ("string", "large_string") or type_name.startswith("dictionary<values=string")
        wants_text = rule.one_of is not None and any(isinstance(value, str) for value in rule.one_of)
        wants_numbers = rule.minimum is not None or rule.maximum is not None or not wants_text
        if (is_text and wants_numbers) or (wants_text and not is_text):
            why = f"rule {rule.name!r}: column {column!r} is {type_name}, which does not fit the rule"
            raise Err(types.Error_InvalidInput(why))
        if column not in self._values:
            if is_text:
                texts = self._batch.text_column(column)
                self._values[column] = checks.split_texts(texts.text, texts.offsets)
            elif checks.is_wide(type_name):
                with self._batch.cast_column(column, "string") as texts:
                    found = texts.text_column(column)
                    self._values[column] = checks.decimals(checks.split_texts(found.text, found.offsets))
            elif type_name in ("halffloat", "float", "double") or type_name.startswith("decimal"):
                self._values[column] = self._batch.float64_column(column)
            else:
                self._values[column] = self._batch.int64_column(column)
        return self._values[column]


def _types(schema: Schema) -> dict[str, str]:
    return {field.name: field.type_name for field in schema.fields}


def _severity(rule: checks.Rule) -> validator.Severity:
    return validator.Severity[rule.severity.upper()]

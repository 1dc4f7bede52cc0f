"""A transformer that doubles a column, by values or by an expression, makes a report, or hands batches through."""

from __future__ import annotations

from wit_world import exports
from wit_world.imports import expressions, types
from wit_world.imports.batches import Batch
from wit_world.imports.expressions import AggregateColumn, Node, Output
from wit_world.imports.schemas import Schema

from dataflare_plugin.raw import guarded, healthy, parse_object


class Plugin:
    """What the instance knows; set by `configure`."""

    column: str | None = None
    by = "values"


def column(name: str) -> Node:
    """A column of the batch."""
    return expressions.Node_Column(name)


def number(value: float) -> Node:
    """The same number for each row."""
    return expressions.Node_Literal(expressions.Literal_Float64(value))


def call(name: str, *arguments: int) -> Node:
    """What a function returns."""
    return expressions.Node_Call(expressions.Call(name, list(arguments), []))


def report(input: Batch) -> Batch:
    """Filter by two conditions, add three columns, and compute of them by the key."""
    wanted = [column("a"), column("b"), number(0.0), call("greater", 0, 2), call("less", 1, 2), call("and", 3, 4)]
    added = [column("a"), column("b"), column("c"), number(2.0)]
    added += [call("multiply", 0, 3), call("add", 0, 1), call("abs", 2)]
    with expressions.filter(input, wanted) as kept:
        outputs = [Output("double", 4), Output("sum", 5), Output("size", 6)]
        with expressions.with_columns(kept, added, outputs) as wide:
            aggregates = [
                AggregateColumn("double", "sum", "double"),
                AggregateColumn("sum", "mean", "sum"),
                AggregateColumn("size", "max", "size"),
            ]
            return expressions.aggregate(wide, ["k"], aggregates)


class Lifecycle(exports.Lifecycle):
    """The plugin's life."""

    def get_metadata(self) -> types.Metadata:
        """What the plugin says of itself."""
        description = "Doubles one column, or hands batches through"
        return types.Metadata("columns-python", "1.0.0", types.Kind.TRANSFORMER, description, "")

    @guarded
    def configure(self, config: str) -> None:
        """Take the configuration."""
        given = parse_object(config)
        Plugin.column, Plugin.by = given.get("column"), given.get("by", "values")

    def initialize(self) -> None:
        """Nothing is to be opened."""

    def shutdown(self) -> None:
        """Nothing is to be closed."""

    def health_check(self) -> types.Health:
        """It always works."""
        return healthy()


class Transformer(exports.Transformer):
    """The doubling."""

    def output_schema(self, input: Schema) -> Schema:
        """The columns stay as they are."""
        return input

    @guarded
    def transform(self, input: Batch) -> Batch:
        """Double the column, or hand the batch through."""
        if Plugin.column is None:
            return input
        with input:
            if Plugin.by == "report":
                return report(input)
            if Plugin.by == "expressions":
                nodes = [column(Plugin.column), number(2.0), call("multiply", 0, 1)]
                return expressions.with_columns(input, nodes, [Output(Plugin.column, 2)])
            values = [value * 2.0 for value in input.float64_column(Plugin.column)]
            return input.with_float64_column(Plugin.column, values, None)

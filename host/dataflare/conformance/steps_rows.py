"""Steps for processors, transformers and validators: what goes in, and what must come out."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from dataflare import PluginError
from dataflare.conformance.steps import Bench, NotConformant, NotTested, step
from dataflare.conformance.values import as_table, difference, objects, shown, typed_rows

__all__ = ["call"]


@step("rows")
def rows(bench: Bench, arguments: dict[str, Any]) -> None:
    """Make batches of rows: `of` others, changed by the other arguments, and called `as`."""
    given = dict(arguments)
    name, of, beside = given.pop("as"), given.pop("of", "sample"), given.pop("beside", None)
    batches: list[pa.RecordBatch] = [typed_rows()] if of == "types" else list(bench[of])
    if given.pop("apart", False):
        batches = [each.select([name]) for each in batches for name in each.schema.names]
    if beside is not None:
        batches = [_beside(as_table(bench[beside]), each) for each in batches]
    for key, value in given.items():
        batches = _change(batches, key, value)
    bench.values[name] = batches


def _beside(table: pa.Table, more: pa.RecordBatch) -> pa.RecordBatch:
    """Rows of a table, again from its first one where they are not enough, with the columns of others that it lacks."""
    places = [number % table.num_rows for number in range(more.num_rows)] if table.num_rows else []
    found = _one(table.take(pa.array(places, pa.int64())) if places else table)
    for field, column in zip(more.schema, more.columns, strict=True):
        if field.name not in found.schema.names:
            found = found.append_column(field, column.slice(0, found.num_rows))
    return found


def _change(batches: list[pa.RecordBatch], key: str, value: Any) -> list[pa.RecordBatch]:
    table = as_table(batches)
    match key:
        case "take":
            return [_one(table.slice(0, value))]
        case "skip":
            return [_one(table.slice(value))]
        case "repeat":
            return [_one(pa.concat_tables([table] * value))]
        case "split":
            return [_one(table.slice(start, value)) for start in range(0, table.num_rows, value)]
        case "sliced":
            # The same rows, as a view into a longer batch.
            longer = _one(pa.concat_tables([table.slice(0, 1), table, table.slice(0, 1)]))
            return [longer.slice(1, table.num_rows)]
        case "reverse":
            return [_one(table.take(pa.array(range(table.num_rows - 1, -1, -1))))]
        case "nulls":
            columns = [pa.nulls(table.num_rows, field.type) for field in table.schema]
            fields = [field.with_nullable(True) for field in table.schema]
            return [pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))]
        case "role":
            schema = table.schema
            at = schema.names.index(schema.names[0])
            return [_one(table.cast(schema.set(at, schema.field(at).with_metadata({"dataflare.key": "0"}))))]
    raise ValueError(f"`rows` has no argument {key!r}")


def _one(table: pa.Table) -> pa.RecordBatch:
    found = table.combine_chunks().to_batches()
    return found[0] if found else pa.RecordBatch.from_pylist([], schema=table.schema)


@step("apply")
def apply(bench: Bench, arguments: dict[str, Any]) -> None:
    """Give the plugin batches, `to`; what comes is called `as`. With `allow: error`, it may answer with an error.

    With `allow: refusal`, such an error is as good as a result. With `fresh: true`, each batch goes to an instance of
    its own.
    """
    results: list[Any] = []
    for batch in bench[arguments["to"]]:
        if arguments.get("fresh"):
            bench.renew()
        try:
            results.append(call(bench, batch))
        except PluginError as error:
            if "allow" not in arguments:
                raise NotConformant(f"it answered with an error: {error.message}", given=shown(batch)) from error
            if error.error.case not in ("invalid-input", "data", "unsupported"):
                case = error.error.case
                raise NotConformant(
                    f"the error is `{case}`, which does not speak of the rows: {error.message}", given=shown(batch)
                ) from error
            if arguments["allow"] == "refusal":
                continue
            raise NotTested(f"the plugin does not take such rows: {error.message}") from None
    if "as" in arguments:
        bench.values[arguments["as"]] = results


@step("apply-either")
def apply_either(bench: Bench, arguments: dict[str, Any]) -> None:
    """Give the plugin batches that it may refuse; what comes of it does not matter, unless it breaks down."""
    for batch in bench[arguments["to"]]:
        with contextlib.suppress(PluginError):
            call(bench, batch)


def call(bench: Bench, batch: pa.RecordBatch, *, plugin: Any = None) -> Any:
    """Give a batch to the plugin, or to another instance, in the manner of its kind."""
    plugin = bench.plugin if plugin is None else plugin
    match bench.subject.kind:
        case "processor":
            return plugin.process_batch(batch)
        case "transformer":
            plugin.output_schema(batch.schema)
            return plugin.transform(batch)
        case "validator":
            return plugin.validate(batch)
    raise ValueError(f"`apply` is not for a {bench.subject.kind}")


@step("equal")
def equal(bench: Bench, names: Sequence[str]) -> None:
    """Two results have the same rows in the same order."""
    one, other = (bench[name] for name in names)
    if message := difference(as_table(one), as_table(other)):
        raise NotConformant(f"{names[0]} and {names[1]}: {message}", given=shown(as_table(one)))


@step("alike")
def alike(bench: Bench, names: Sequence[str]) -> None:
    """Let the case apply only where two results have the same rows in the same order."""
    one, other = (as_table(bench[name]) for name in names)
    if difference(one, other):
        raise NotTested("what comes of a row depends on the others of its batch")


@step("count")
def count(bench: Bench, arguments: dict[str, Any]) -> None:
    """A result has as many rows as it must: `of` it, `is` a number, or `at-most` those of another."""
    found = as_table(bench[arguments["of"]]).num_rows
    if "is" in arguments and found != arguments["is"]:
        raise NotConformant(f"there are {found} rows, and should be {arguments['is']}")
    if "at-most" in arguments:
        most = as_table(bench[arguments["at-most"]]).num_rows
        if found > most:
            raise NotConformant(f"there are {found} rows, more than the {most} that went in")


@step("schema-kept")
def schema_kept(bench: Bench, arguments: dict[str, Any]) -> None:
    """The result has exactly the schema that `output-schema` promised for the rows that went in."""
    for given, found in zip(bench[arguments["of"]], bench[arguments["in"]], strict=True):
        promised = bench.plugin.output_schema(given.schema)
        if bench.make().output_schema(given.schema) != promised:
            raise NotConformant("`output-schema` of another instance is another one", given=shown(given))
        if found.schema.names != promised.names or found.schema.types != promised.types:
            raise NotConformant(f"`output-schema` said {promised.names}, and the batch has {found.schema.names}")


@step("untouched")
def untouched(bench: Bench, arguments: dict[str, Any]) -> None:
    """Columns that have the same name and type before and after hold the same values, where no row was dropped."""
    before, after = as_table(bench[arguments["of"]]), as_table(bench[arguments["in"]])
    if before.num_rows != after.num_rows:
        raise NotTested("rows were dropped, so that columns cannot be compared")
    same = [
        n
        for n in before.schema.names
        if n in after.schema.names and before.schema.field(n).type == after.schema.field(n).type
    ]
    if not same:
        raise NotTested("no column is there before and after")
    unknown = [name for name in same if difference(after.select([name]), before.select([name]))]
    if len(unknown) == len(same):
        raise NotConformant(f"every column that it passes on has other values: {', '.join(unknown)}")


@step("one-by-one")
def one_by_one(bench: Bench, arguments: dict[str, Any]) -> None:
    """A processor's `process-batch` gives what `process` gives for each row, without those that it drops."""
    table = as_table(bench[arguments["of"]])
    expected = []
    for row in objects(table):
        record = json.dumps(row, default=str)
        answer = bench.plugin.process(record)
        if answer is not None:
            expected.append(_object(answer, record))
        if bench.plugin.process(record) != answer:
            raise NotConformant("the same record gives another result the second time", given=record)
    found = objects(as_table(bench[arguments["in"]]))
    if len(found) != len(expected):
        message = f"`process-batch` gives {len(found)} rows, and `process` gives {len(expected)} one by one"
        raise NotConformant(message, given=shown(table))
    for number, (one, other) in enumerate(zip(found, expected, strict=True)):
        # A column that a record lacks is null in its row.
        wrong = [key for key in {**other, **one} if not _same(one.get(key), other.get(key))]
        if wrong:
            message = f"row {number}, {wrong[0]!r}: `process-batch` gives {shown(one.get(wrong[0]))}, and `process` "
            raise NotConformant(message + shown(other.get(wrong[0])), given=shown(table))


def _object(text: str, record: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotConformant(f"`process` returned what is not JSON: {error}", given=record) from error
    if not isinstance(found, dict):
        raise NotConformant(f"`process` returned {type(found).__name__}, not an object", given=record)
    return found


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return repr(one) == repr(other)  # zeros have a sign
    if isinstance(one, int | float) and isinstance(other, int | float):
        return bool(one == other)
    return one == other or str(one) == str(other)


@step("report")
def report(bench: Bench, arguments: dict[str, Any]) -> None:
    """A validator's reports count right: every rule, all rows, and no more violations listed than counted."""
    rules = {rule.name: rule for rule in bench.plugin.rules()}
    for batch, found in zip(bench[arguments["of"]], bench[arguments["in"]], strict=True):
        if found.rows_checked != batch.num_rows:
            raise NotConformant(f"{found.rows_checked} rows were checked, of {batch.num_rows}", given=shown(batch))
        counts = {each.rule: each.violations for each in found.counts}
        if set(counts) != set(rules):
            raise NotConformant(f"the counts are of {sorted(counts)}, and the rules are {sorted(rules)}")
        listed: dict[str, int] = {}
        last = -1
        for each in found.violations:
            if not each.message:
                raise NotConformant(f"a violation of rule {each.rule!r} does not say what is wrong", given=shown(batch))
            if each.column is not None and each.column not in batch.schema.names:
                raise NotConformant(f"a violation names column {each.column!r}, which is not there", given=shown(batch))
            listed[each.rule] = listed.get(each.rule, 0) + 1
            if each.row is not None:
                if each.row < last:
                    raise NotConformant(f"row {each.row} is listed after row {last}", given=shown(batch))
                last = each.row
            if each.rule in rules and each.severity != rules[each.rule].severity:
                raise NotConformant(
                    f"rule {each.rule!r} is {rules[each.rule].severity}, and a violation {each.severity}"
                )
        for rule, number in listed.items():
            if number > counts.get(rule, 0):
                raise NotConformant(f"rule {rule!r}: {number} violations are listed, and {counts.get(rule, 0)} counted")


@step("counts-add-up")
def counts_add_up(bench: Bench, names: Sequence[str]) -> None:
    """The counts of one result are the sums of those of another: checks of parts find what a check of all finds."""
    totals = []
    for name in names:
        total: dict[str, int] = {}
        for found in bench[name]:
            for each in found.counts:
                total[each.rule] = total.get(each.rule, 0) + each.violations
        totals.append(total)
    if totals[0] != totals[1]:
        raise NotConformant(f"{names[0]} has the counts {totals[0]}, and {names[1]} {totals[1]}")


@step("same-reports")
def same_reports(bench: Bench, names: Sequence[str]) -> None:
    """Two lists of reports are the same: the counts, and the violations that are listed."""
    for batch, one, other in zip(bench["sample"], *(bench[name] for name in names), strict=True):
        pairs = [(one.counts, other.counts), *itertools.zip_longest(one.violations, other.violations)]
        for came, due in pairs:
            if came != due:
                raise NotConformant(f"{names[0]} has {shown(came)}, and {names[1]} {shown(due)}", given=shown(batch))


@step("rules")
def rules(bench: Bench, _: Any) -> None:
    """A validator has rules, each with a name of its own and a line about it."""
    found = bench.plugin.rules()
    names = [rule.name for rule in found]
    if len(set(names)) < len(names):
        raise NotConformant(f"two rules have one name: {names}")
    for rule in found:
        if not rule.name or not rule.description:
            raise NotConformant(f"rule {rule.name!r} has no name or no description")
    for what, again in (("the second time", bench.plugin.rules()), ("in another instance", bench.make().rules())):
        if [rule.name for rule in again] != names:
            raise NotConformant(f"the rules are others {what}")


@step("rows-named")
def rows_named(bench: Bench, names: Sequence[str]) -> None:
    """The rows that a report of a batch lists are the first of those that break the rules by themselves."""
    alone, (whole,) = (bench[name] for name in names)
    broken = {(row, each.rule) for row, found in enumerate(alone) for each in found.counts if each.violations}
    listed = {(each.row, each.rule) for each in whole.violations if each.row is not None}
    if wrong := sorted(listed - broken):
        row, rule = wrong[0]
        raise NotConformant(f"row {row} is listed for rule {rule!r}, which it does not break by itself")
    last = max((row for row, _ in listed), default=0)
    if left_out := sorted(each for each in broken - listed if each[0] < last):
        row, rule = left_out[0]
        raise NotConformant(f"row {row}, which breaks rule {rule!r}, is left out, and row {last} is listed")


_NO_OBJECTS: Final = ("", "{", "[]", "1", "null", '"text"', "{'a': 1}", '{"a": 1} x')
_ODD_OBJECTS: Final = ("{}", '{"": null}', '{"a": {"b": [1, {"c": null}]}}', '{"a": 123456789012345678901234567890}')


@step("odd-records")
def odd_records(bench: Bench, _: Any) -> None:
    """Texts that are no JSON object are refused; unusual objects are no fault."""
    for text in _NO_OBJECTS:
        with contextlib.suppress(PluginError):
            bench.plugin.process(text)
            raise NotConformant("a text that is no JSON object is taken", given=text)
    for text in _ODD_OBJECTS:
        with contextlib.suppress(PluginError):
            answer = bench.plugin.process(text)
            if answer is not None:
                _object(answer, text)

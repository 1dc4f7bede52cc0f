"""The exports of a component, made from a plugin's class."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Callable
from functools import reduce
from operator import or_
from types import ModuleType
from typing import Any, ClassVar

from dataflare_plugin import config as configuration
from dataflare_plugin.batch import Batch
from dataflare_plugin.bindings import schemas, types
from dataflare_plugin.changes import ChangeReading
from dataflare_plugin.datasets import as_schema, fields_of
from dataflare_plugin.destination import Destination, Run, require_change, target_of
from dataflare_plugin.errors import InvalidInput, Unsupported
from dataflare_plugin.plugin import Plugin
from dataflare_plugin.processor import Processor, process_text
from dataflare_plugin.raw import guarded
from dataflare_plugin.source import Columns, Pause, Reading, Source, acknowledged, encoded, requests_of
from dataflare_plugin.transformer import Transformer
from dataflare_plugin.validator import Validator, limited

__all__ = ["exports", "find_plugin"]

_KINDS: dict[str, type[Plugin]] = {each.kind: each for each in (Source, Destination, Processor, Transformer, Validator)}


def find_plugin(module: ModuleType, kind: str) -> type[Plugin]:
    """The one class of a module that is a plugin of a kind.

    Raises:
        TypeError: There is none, or more than one.
    """
    base = _KINDS[kind]
    found = [
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, base) and each.__module__ == module.__name__
    ]
    if len(found) != 1:
        names = ", ".join(each.__name__ for each in found) or "none"
        raise TypeError(
            f"{module.__name__}.py has to have one subclass of {base.__name__}, as plugin.yaml says kind: {kind};"
            f" it has {names}"
        )
    return found[0]


def exports(module: ModuleType, *, kind: str, name: str, version: str, description: str) -> dict[str, Any]:
    """The classes that the component exports, by name: made of the module's plugin, or the module's own.

    Raises:
        TypeError: The module has no plugin of this kind, or more than one.
    """
    if hasattr(module, "Lifecycle"):
        return {each: getattr(module, each) for each in ("Lifecycle", kind.capitalize())}
    plugin = find_plugin(module, kind)
    model = typing.get_type_hints(plugin).get("config")
    model = model if dataclasses.is_dataclass(model) else None
    metadata = types.Metadata(
        name, version, types.Kind[plugin.kind.upper()], description, json.dumps(configuration.schema(model))
    )
    made = _Instance(plugin, model, metadata)
    classes: tuple[type, type] = (_Lifecycle, _EXPORTS[plugin.kind])
    return {each.__name__.strip("_"): type(each.__name__.strip("_"), (each,), {"instance": made}) for each in classes}


class _Instance:
    def __init__(self, plugin: type[Plugin], model: type | None, metadata: Any) -> None:
        self._plugin = plugin
        self._model = model
        self.metadata = metadata
        self.made: Any = None
        self.reading: Reading | ChangeReading | None = None

    def configure(self, text: str) -> None:
        value = configuration.parse(text, self._model)
        made = self._plugin()
        made.config = value
        made.check_config()
        self.made = made


class _Exports:
    instance: ClassVar[_Instance]

    @property
    def plugin(self) -> Any:
        if self.instance.made is None:
            raise Unsupported("`configure` comes first")
        return self.instance.made


class _Lifecycle(_Exports):
    def get_metadata(self) -> Any:
        return self.instance.metadata

    @guarded
    def configure(self, config: str) -> None:
        self.instance.configure(config)

    @guarded
    def initialize(self) -> None:
        self.plugin.initialize()

    @guarded
    def shutdown(self) -> None:
        self.plugin.shutdown()

    def health_check(self) -> Any:
        try:
            message = self.plugin.health()
        except Exception as error:
            message = f"{error!r}"
        return types.Health(types.HealthStatus.UNHEALTHY if message else types.HealthStatus.HEALTHY, message)


class _Processor(_Exports):
    @guarded
    def process(self, input: str) -> str | None:
        return process_text(self.plugin, input)

    @guarded
    def process_batch(self, input: Any) -> Any:
        return _apply(self.plugin.process_batch, input)


class _Transformer(_Exports):
    @guarded
    def output_schema(self, input: Any) -> Any:
        return schemas.Schema(as_schema(self.plugin.output_schema(fields_of(input))).fields, input.metadata)

    @guarded
    def transform(self, input: Any) -> Any:
        return _apply(self.plugin.transform, input)


def _apply(change: Callable[[Batch], Batch], raw: Any) -> Any:
    batch = Batch(raw)
    out = None
    try:
        out = change(batch)
        if not isinstance(out, Batch):
            raise TypeError(f"{change.__name__} returned a {type(out).__name__}, not a Batch")
        return out.raw
    finally:
        # The garbage collector would do it too late: it does not know how many rows a handle keeps.
        if not isinstance(out, Batch) or out.raw is not raw:
            batch.close()


class _Validator(_Exports):
    @guarded
    def rules(self) -> list[Any]:
        from wit_world.exports import validator

        return [
            validator.Rule(each.name, each.description, validator.Severity[each.severity.upper()])
            for each in self.plugin.rules()
        ]

    @guarded
    def validate(self, input: Any) -> Any:
        from wit_world.exports import validator

        with Batch(input) as batch:
            counts, found = limited(self.plugin.validate(batch))
            violations = [
                validator.Violation(
                    each.row,
                    each.rule.column or None,
                    each.rule.name,
                    validator.Severity[each.rule.severity.upper()],
                    each.message or each.rule.description,
                )
                for each in found
            ]
            names = [validator.RuleCount(each.name, counts[each.name]) for each in self.plugin.rules()]
            return validator.Report(len(batch), names, violations)


class _Source(_Exports):
    @guarded
    def discover(self) -> list[Any]:
        from wit_world.imports import datasets

        modes = datasets.ReadingModes
        return [
            datasets.Dataset(
                datasets.DatasetName(each.namespace, each.name),
                each.description,
                as_schema(each.fields()),
                list(each.key),
                [each.cursor] if "incremental" in each.reading_modes else [],
                reduce(or_, (modes[mode.upper()] for mode in each.reading_modes))
                | (modes.UNBOUNDED if "changes" in each.reading_modes else modes(0))
                | (modes.SPLITTABLE if each.splittable else modes(0)),
            )
            for each in self.plugin.datasets()
        ]

    @guarded
    def split(self, selections: list[Any], state: bytes | None, at_most: int) -> Any:
        from wit_world.exports import source

        (request, *_) = requests_of(self.plugin, selections, None, state)
        if request.mode == "changes":
            raise Unsupported(f"dataset {str(request.dataset)!r}: changes have one order, and no parts")
        return source.Division([encoded(request, part=each) for each in self.plugin.split(request, at_most)], None)

    @guarded
    def estimate(self, selections: list[Any], part: bytes | None, state: bytes | None) -> Any:
        from wit_world.exports import source

        (request, *_) = requests_of(self.plugin, selections, part, state)
        rows = None if request.mode == "changes" else self.plugin.estimate(request)
        return None if rows is None else source.EstimatedRows(rows, True)

    @guarded
    def open(self, selections: list[Any], part: bytes | None, state: bytes | None) -> list[Any]:
        requests = requests_of(self.plugin, selections, part, state)
        is_log = requests[0].mode == "changes"
        reading = ChangeReading(self.plugin, requests) if is_log else Reading(self.plugin, requests[0])
        self.instance.reading = reading
        return [as_schema(each) for each in reading.schemas()]

    @guarded
    def read(self, max_rows: int) -> Any:
        from wit_world.exports import source

        if self.instance.reading is None:
            raise Unsupported("no read is under way: `open` comes first")
        found = self.instance.reading.next(max_rows)
        if found is None:
            return source.Progress_Ended()
        if isinstance(found, Columns):
            return source.Progress_NewSchema(source.SchemaChange(found.selection, as_schema(found.fields)))
        if isinstance(found, Pause):
            return source.Progress_Idle(source.Pause(found.state, found.retry_after_ms))
        return source.Progress_Rows(source.Chunk(found.selection, found.batch.raw, found.state))

    @guarded
    def acknowledge(self, state: bytes) -> None:
        self.plugin.acknowledge(acknowledged(state))

    @guarded
    def close(self) -> None:
        self.instance.reading = None


class _Destination(_Exports):
    @guarded
    def abilities(self) -> Any:
        from wit_world.exports import destination

        able = destination.Ability(0)
        for each in self.plugin.abilities:
            able |= destination.Ability[each.upper().replace("-", "_")]
        return able

    @guarded
    def plan(self, targets: list[Any]) -> list[Any]:
        from wit_world.exports import destination

        kinds = destination.ChangeKind
        return [
            destination.PlannedChange(target, kinds[kind.upper().replace("-", "_")], detail)
            for target, kind, detail in self.plugin.plan([target_of(each) for each in targets])
        ]

    @guarded
    def open(self, run: Any, targets: list[Any]) -> bytes | None:
        given = Run(run.pipeline, run.run, run.generation)
        found = [target_of(each) for each in targets]
        for each in found:
            if each.mode not in self.plugin.abilities:
                raise Unsupported(f"dataset {str(each)!r}: rows cannot be written in the mode {each.mode}")
        token = self.plugin.open(given, found)
        self.plugin.run, self.plugin.targets = given, found
        return token

    @guarded
    def write(self, target: int, rows: Any) -> list[Any]:
        from wit_world.exports import destination

        with Batch(rows) as batch:
            rejected = self.plugin.write(self._target(target), batch) or ()
            return [destination.RejectedRow(each.row, each.column, each.reason) for each in rejected]

    def _target(self, number: int) -> Any:
        if number >= len(self.plugin.targets):
            raise InvalidInput(f"there is no target {number}, only {len(self.plugin.targets)}")
        return self.plugin.targets[number]

    @guarded
    def change_schema(self, target: int, schema: Any) -> None:
        changed, fields = self._target(target), fields_of(schema)
        require_change(changed, fields, self.plugin.abilities)
        self.plugin.change_schema(changed, fields)
        targets = list(self.plugin.targets)
        targets[target] = dataclasses.replace(changed, fields=fields)
        self.plugin.targets = targets

    @guarded
    def flush(self, token: bytes) -> bool:
        return self.plugin.flush(token)

    @guarded
    def finish(self, token: bytes) -> None:
        self.plugin.finish(token)

    @guarded
    def abort(self) -> None:
        self.plugin.abort()


_EXPORTS: dict[str, type[_Exports]] = {
    "source": _Source,
    "destination": _Destination,
    "processor": _Processor,
    "transformer": _Transformer,
    "validator": _Validator,
}

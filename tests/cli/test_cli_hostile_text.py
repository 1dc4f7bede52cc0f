"""Whatever plugins, files and command lines say: every field of every command is shown without harm.

`FIELDS` has, for each command, calls that show all that it can show, every text in it hostile. A command without an
entry, an option whose value is a text and that is not tried, and a new error are failures.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import logging
import sys
import types
import typing
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args, get_origin

import pyarrow as pa
import pytest
import yaml
from pydantic import AwareDatetime, BaseModel

from cli_commands import commands
from cli_terminal import HOSTILE, Terminal, assert_harmless
from dataflare import errors
from dataflare.authoring.cases import CaseResult as PluginCaseResult
from dataflare.authoring.dev import Round
from dataflare.authoring.doctor import Finding
from dataflare.authoring.samples import Tried
from dataflare.cli import app as application
from dataflare.cli import (
    audit,
    bench,
    bindgen,
    build,
    cache,
    check,
    compile,
    conformance,
    conformance_certificates,
    conformance_common,
    dead_letter,
    dev,
    discover,
    doctor,
    internal_errors,
    keys,
    new,
    output,
    package,
    plan,
    policy,
    run,
    run_report,
    runs,
    schema,
    screen,
    sign,
    state,
    verify,
)
from dataflare.cli import inspect as inspecting
from dataflare.cli import test as testing
from dataflare.cli.screen import LogHandler
from dataflare.conformance import CaseResult, Duty, HostService, Outcome, SuiteResult
from dataflare.conformance.cases import Case
from dataflare.conformance.reports import to_json
from dataflare.data.shapes import DataFailure
from dataflare.engine.cache import CacheEntry
from dataflare.errors import DataflareError
from dataflare.permissions.grant_keys import AsksModel
from dataflare.permissions.limit_keys import LimitsModel
from dataflare.pipeline.benchmark import Measurement
from dataflare.pipeline.guarantees import Promise
from dataflare.pipeline.pipeline_state import NodeState
from dataflare.pipeline.plan import NodePlan
from dataflare.pipeline.reading.file_schema import FileColumn, FileSchema
from dataflare.pipeline.replay import LetterLine
from dataflare.pipeline.report import NodeReport, Progress, RunReport, SchemaChange
from dataflare.pipeline.run_errors import NodeFailed
from dataflare.pipeline.run_history import RecordedRun
from dataflare.runtime.datasets import Dataset, DatasetName, PlannedChange
from dataflare.runtime.inspection import Inspection
from dataflare.security.audit import AuditEvent
from dataflare.security.capability import Capability, Needs
from dataflare.security.certificates import Findings
from dataflare.security.manifest import Manifest
from dataflare.security.review import LimitChange, NeedsDiff, PolicyReport
from dataflare.values import Variant
from dataflare.wit.model import Position, WitError
from dataflare.wit_types.types import Metadata
from hostile_lines import FILE, LINES


def case_result(outcome: Outcome) -> CaseResult:
    """A result of the conformance suite, every text in it hostile."""
    case = Case.model_construct(name=HOSTILE, title=HOSTILE, duties=[HOSTILE], kinds=[], profile="core", steps=[])
    return CaseResult(case, outcome, 1.0, HOSTILE, HOSTILE)


def essential() -> CaseResult:
    skipped = case_result(Outcome.SKIP)
    return dataclasses.replace(skipped, case=skipped.case.model_copy(update={"essential": True}))


def filled(kind: Any) -> Any:
    """A value of a type, every text in it hostile."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is bytes:
        return HOSTILE.encode("utf-8", "replace")
    if kind is str or origin is typing.Literal:
        return HOSTILE
    if kind in (int, float, bool, Any):
        return HOSTILE if kind is Any else kind(3)
    if kind in (datetime, AwareDatetime):
        return datetime(2026, 1, 1, tzinfo=UTC)
    if origin is typing.Annotated:
        return filled(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return filled(next(each for each in arguments if each is not type(None)))
    if origin in (list, tuple, frozenset, set) or kind in (list, tuple):
        return (origin or kind)([filled(arguments[0] if arguments else str)] * 2)
    if kind is Counter or origin is Counter:
        return Counter({HOSTILE: 2})
    if kind is dict or origin in (dict, Mapping) or (inspect.isclass(origin) and issubclass(origin, Mapping)):
        return {filled(arguments[0] if arguments else str): filled(arguments[1] if len(arguments) > 1 else str)}
    if kind is Path:
        return FILE
    if inspect.isclass(kind) and issubclass(kind, BaseModel):
        values = {name: filled(field.annotation) for name, field in kind.model_fields.items()}
        return kind.model_construct(**values)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{field.name: filled(hints[field.name]) for field in dataclasses.fields(kind) if field.init})
    raise AssertionError(f"no hostile value for {kind!r}")


def hostile_plan() -> NodePlan:
    """A node's plan, every text in it hostile."""
    made = NodePlan(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, (HOSTILE,), HOSTILE)
    made.schema = pa.schema([pa.field(HOSTILE.replace("\ud800", ""), pa.int64())])
    made.position, made.rows, made.bytes = HOSTILE, 3, 3
    made.schema_changes = [filled(SchemaChange)]
    made.changes = [PlannedChange(DatasetName(HOSTILE), HOSTILE, HOSTILE)]
    made.promise = filled(Promise)
    return made


KEPT_CHANGE = {"node": HOSTILE, "saved": HOSTILE, **filled(SchemaChange).to_json()}


def subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    for each in kind.__subclasses__():
        yield each
        yield from subclasses(each)


def hostile_error(kind: type[DataflareError]) -> DataflareError:
    """An error of a class, every argument hostile."""
    if kind is WitError:
        return WitError(HOSTILE, position=Position(HOSTILE, 1, 1), hint=HOSTILE)
    if kind is DataFailure:
        return DataFailure(Variant(HOSTILE, HOSTILE))
    if kind is NodeFailed:
        cause = hostile_error(errors.GuestPanic)
        made = NodeFailed(HOSTILE, cause, filled(RunReport), where=HOSTILE)
        made.__cause__ = cause
        return made
    values: dict[str, Any] = {}
    positional: list[Any] = []
    for parameter in inspect.signature(kind).parameters.values():
        value: Any = (HOSTILE, HOSTILE) if "tuple" in str(parameter.annotation) else HOSTILE
        if "int" in str(parameter.annotation) or "bool" in str(parameter.annotation):
            value = 3
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.default is parameter.empty:
            positional.append(value)
        elif parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            values[parameter.name] = value
    made = kind(*positional, **values)
    made.add_note(HOSTILE)
    return made


def needs() -> Needs:
    return Needs(plugin=HOSTILE, version=HOSTILE, digest=HOSTILE, capabilities=frozenset({capability()}))


def capability() -> Capability:
    return Capability(HOSTILE, HOSTILE, HOSTILE)


def manifest() -> Manifest:
    made = filled(Manifest)
    asks = AsksModel.model_construct(secrets=frozenset({HOSTILE}))
    return made.model_copy(update={"asks": asks, "limits": LimitsModel.model_construct(memory=HOSTILE)})


def policy_report() -> PolicyReport:
    change = LimitChange("memory", 1, 2)
    some = frozenset({capability()})
    return PolicyReport(
        **{
            **{field.name: HOSTILE for field in dataclasses.fields(PolicyReport) if field.init},
            **{
                "asked": some,
                "missing": some,
                "unused": some,
                "limits_missing": (change,),
                "datasets_missing": (HOSTILE,),
            },
        }
    )


def needs_diff() -> NeedsDiff:
    some = frozenset({capability()})
    return NeedsDiff(added=some, removed=some, limits_raised=(LimitChange("memory", 1, 2),), datasets_added=(HOSTILE,))


def show_progress() -> None:
    with run._progress(output.stderr(), enabled=output.stderr().is_terminal) as update:  # type: ignore[attr-defined]
        if update is None:
            output.stderr().say(HOSTILE)  # type: ignore[attr-defined]  # into a pipe there is no progress
            return
        update(Progress(3, 10, 4, 1.0, tuple(filled(RunReport).nodes)))


def found_schema() -> FileSchema:
    return FileSchema((FileColumn(HOSTILE, pa.int8(), inferred=True, note=HOSTILE),))


def dataset() -> Dataset:
    schema = pa.schema([pa.field(HOSTILE.replace("\ud800", ""), pa.int8(), nullable=False)])
    return Dataset(DatasetName(HOSTILE, HOSTILE), HOSTILE, schema, (HOSTILE,), (HOSTILE,), frozenset({HOSTILE}))


def hostile_round() -> Round:
    tried = filled(Tried)
    return Round(
        number=2,
        changed=(HOSTILE,),
        native=True,
        steps={HOSTILE: 1.0},
        seconds=1.0,
        tried=dataclasses.replace(tried, before=[{HOSTILE: HOSTILE}], after=[{HOSTILE: HOSTILE}]),
        printed=HOSTILE,
    )


def certificate() -> Any:
    return types.SimpleNamespace(name=HOSTILE, component=HOSTILE, findings=filled(Findings))


SUITE_SHOWN = (
    *(lambda outcome=outcome: conformance_common._show(case_result(outcome), HOSTILE) for outcome in Outcome),  # type: ignore[misc]
    lambda: conformance_common._show_end(
        SuiteResult((case_result(Outcome.PASS), essential())), HOSTILE, {"plugin": HOSTILE, "profile": HOSTILE}
    ),
    lambda: output.write_json(
        to_json(SuiteResult((case_result(Outcome.FAIL),)), plugin=HOSTILE, profile=HOSTILE, passed=False)
    ),
)

FIELDS: Mapping[str, tuple[Callable[[], Any], ...]] = {
    "run": (
        lambda: run_report.show_report(output.stdout(), filled(RunReport), verbose=False),  # type: ignore[attr-defined]
        lambda: run_report.show_report(output.stdout(), filled(RunReport), verbose=True),  # type: ignore[attr-defined]
        lambda: output.write_json(filled(RunReport).to_json()),
        show_progress,
    ),
    "inspect": (
        lambda: inspecting._show(FILE, filled(Inspection), filled(Metadata), manifest()),
        lambda: output.write_json(inspecting._document(FILE, filled(Inspection), filled(Metadata), None)),
    ),
    "schema": (
        lambda: schema._show(HOSTILE, [FILE], found_schema(), {HOSTILE: HOSTILE}),
        lambda: output.write_json(schema._document(HOSTILE, [FILE], found_schema())),
    ),
    "compile": (
        lambda: compile._show(
            [{"file": HOSTILE, "from_cache": False, "flattened": True, "seconds": 1.0, "size_bytes": 3}]
        ),
    ),
    "bench": (
        lambda: bench._show(filled(Measurement)),
        lambda: output.write_json(filled(Measurement).to_json()),
    ),
    "check": (
        lambda: check._show(
            {
                "name": HOSTILE,
                "version": "1",
                "kind": "source",
                "health": HOSTILE,
                "message": HOSTILE,
                "datasets": [HOSTILE],
            }
        ),
    ),
    "discover": (
        lambda: discover._show([dataset()]),
        lambda: output.write_json(discover._document(dataset())),
    ),
    "bindgen": (lambda: bindgen._say(FILE, HOSTILE, HOSTILE),),
    "new": (lambda: new._show(FILE, HOSTILE, HOSTILE, [FILE]),),
    "build": (lambda: build._show(FILE, HOSTILE, 3, 1.0),),
    "test": (
        lambda: testing._show(PluginCaseResult(HOSTILE)),
        lambda: testing._show(PluginCaseResult(HOSTILE, HOSTILE)),
    ),
    "dev": (
        lambda: dev._show(hostile_round()),
        lambda: dev._show(dataclasses.replace(hostile_round(), error=hostile_error(errors.GuestPanic), tried=None)),
        lambda: output.write_json_line(dev._document(hostile_round())),
    ),
    "doctor": (lambda: doctor._show(Finding(language=HOSTILE, missing=HOSTILE, hint=HOSTILE)),),
    "package": (lambda: package._show(FILE, filled(Manifest), b"\0asm\x0d\0\1\0", as_json=False),),
    "sign": (lambda: sign._say_signed(FILE, HOSTILE, HOSTILE, (HOSTILE, HOSTILE)),),
    "verify": (lambda: verify._say_good(FILE, HOSTILE, HOSTILE, (HOSTILE, HOSTILE)),),
    "audit": (
        lambda: output.stdout().print(audit._table([filled(AuditEvent)])),  # type: ignore[attr-defined]
        lambda: output.write_json(filled(AuditEvent).model_dump(mode="json")),
    ),
    "policy check": (
        lambda: policy._show_report(output.stdout(), FILE, policy_report()),  # type: ignore[attr-defined]
        lambda: output.write_json(policy._report_json(FILE, policy_report())),
    ),
    "policy suggest": (lambda: policy._show_yaml(yaml.safe_dump({HOSTILE: [HOSTILE]})),),
    "policy diff": (
        lambda: policy._show_diff(output.stdout(), needs(), needs(), needs_diff()),  # type: ignore[attr-defined]
        lambda: output.write_json(policy._diff_json(needs(), needs(), needs_diff())),
    ),
    "plan": (
        lambda: plan._show_node(hostile_plan()),
        lambda: output.write_json(hostile_plan().to_json()),
    ),
    "state list": (
        lambda: state._show_list([filled(NodeState)], FILE),
        lambda: output.write_json(state._document(filled(NodeState))),
    ),
    "state show": (
        lambda: state._show([filled(NodeState)]),
        lambda: state._show_columns({HOSTILE: [{"name": HOSTILE, "type": HOSTILE}]}, [KEPT_CHANGE]),
    ),
    "runs list": (
        lambda: runs._say(filled(RecordedRun)),
        lambda: output.write_json(runs._document(filled(RecordedRun))),
    ),
    "runs show": (lambda: runs._show({"nodes": [filled(NodeReport).to_json()], "error": HOSTILE}),),
    "state export": (lambda: output.write_json(state._document(filled(NodeState))),),
    "state import": (lambda: state._say("imported", [HOSTILE]),),
    "state edit": (lambda: state._say("changed", [HOSTILE]),),
    "state reset": (lambda: state._say("forgot", [HOSTILE]),),
    **dict.fromkeys(("conformance run", "conformance host"), SUITE_SHOWN),
    "conformance adapter": (lambda: output.write_json(HostService().answer({"do": HOSTILE})),),
    "conformance verify": (
        lambda: conformance_certificates._show(FILE, certificate()),
        lambda: output.write_json(conformance_certificates._document(FILE, FILE, certificate())),
    ),
    "conformance list": (
        lambda: conformance._show_case(
            case_result(Outcome.PASS).case, defaultdict(lambda: Duty(HOSTILE, "MUST", HOSTILE))
        ),
    ),
    "dead-letter show": (
        lambda: dead_letter._show(
            FILE,
            {(HOSTILE, HOSTILE): dead_letter._Group(3, HOSTILE, HOSTILE, Counter({HOSTILE: 3}))},
            [filled(LetterLine)],
        ),
        lambda: output.write_json(
            [
                dead_letter._errors(
                    {(HOSTILE, HOSTILE): dead_letter._Group(3, HOSTILE, HOSTILE, Counter({HOSTILE: 3}))}
                ),
                HOSTILE,
            ]
        ),
    ),
    "dead-letter replay": (lambda: run_report.show_report(output.stdout(), filled(RunReport)),),  # type: ignore[attr-defined]
    "cache list": (lambda: cache._show([filled(CacheEntry)], 3, FILE),),
    "cache clear": (lambda: cache._say_cleared(1, 3, FILE),),
    "key generate": (lambda: keys._show(FILE, types.SimpleNamespace(id=HOSTILE), as_json=False),),
    "key show": (lambda: keys._show(FILE, types.SimpleNamespace(id=HOSTILE), as_json=True),),
}
SHOWN = [(name, call) for name, calls in FIELDS.items() for call in calls]
ERRORS = sorted({*subclasses(DataflareError)}, key=lambda each: each.__qualname__)

# Every command has the options of roles.


@pytest.fixture(params=[0, 40, 80], ids=["pipe", "40-columns", "80-columns"])
def streams(request: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """Standard output and standard error: a pipe, or a terminal of some columns; gives what was written to both."""
    out, err = Terminal(request.param), Terminal(request.param)
    monkeypatch.setenv("COLUMNS", str(request.param or 80))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(screen, "sys", types.SimpleNamespace(stdout=out, stderr=err))
    written = lambda: out.getvalue() + err.getvalue()  # noqa: E731  # as short as it is
    yield written
    assert written(), "nothing was written: nothing was tried"
    for each in (out, err):
        assert_harmless(each.getvalue(), terminal=request.param > 0)


def test_every_command_is_tried():
    names = {name for name, _ in commands()}
    assert names == set(FIELDS) == set(LINES)


OPTIONS = {"called": "new", "files": "schema", "settings": "--set", "nodes": "--node"}
"""What options are called, where it is not the parameter's name."""


def test_every_option_that_takes_a_text_is_tried():
    for name, callback in commands():
        tried = [word for line in LINES[name] for word in line]  # type: ignore[attr-defined]
        for parameter, annotation in typing.get_type_hints(callback).items():
            if str in (annotation, *get_args(annotation)) or annotation == list[str] | None:
                option = OPTIONS.get(parameter, f"--{parameter.replace('_', '-')}")
                assert option in tried and tried[tried.index(option) + 1] == HOSTILE, (name, option)


@pytest.mark.parametrize(("name", "show"), SHOWN, ids=[f"{name}-{i}" for i, (name, _) in enumerate(SHOWN)])
def test_every_field_of_every_command_is_harmless(streams, name, show):
    show()
    assert "x1b" in streams() or "u001b" in streams() or "a\\" in streams(), "the field is not shown: nothing was tried"


@pytest.mark.parametrize("kind", ERRORS, ids=[each.__qualname__ for each in ERRORS])
def test_every_field_of_every_error_is_harmless(streams, kind):
    error = hostile_error(kind)
    output.show_error(error)
    output.write_json(output.error_json(error))
    assert r"\x7f" in streams() and r"\u007f" in streams()


@pytest.mark.parametrize(
    "line", [line for lines in LINES.values() for line in lines], ids=lambda line: " ".join(map(ascii, line))[:30]
)
def test_what_a_command_line_says_is_harmless(streams, folder, line):
    code = application.run([str(word).replace("\0", "") for word in line])
    assert code in (0, 1, 2)


@pytest.mark.parametrize(
    "line",
    [
        [HOSTILE],
        ["run", "--" + HOSTILE],
        ["run", "a", HOSTILE],
        ["--log-level", HOSTILE, "run", "a"],
        ["policy", HOSTILE],
    ],
)
def test_wrong_command_line_is_refused_harmlessly(streams, line):
    assert application.run(line) == 2


def test_log_events_and_warnings_are_harmless(streams):
    logger = logging.Logger(HOSTILE)
    logger.addHandler(LogHandler())
    logger.warning("%s", HOSTILE, extra={"fields": {HOSTILE: HOSTILE}})
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logger.exception(HOSTILE)

    class WithoutText:
        def __str__(self) -> str:
            raise ValueError(HOSTILE)

    logger.error("%s", WithoutText())
    assert "lost" in streams()


def test_faults_of_the_program_itself_are_harmless(streams):
    with pytest.raises(SystemExit), internal_errors.shown_faults():
        raise ValueError(HOSTILE)
    sys.unraisablehook(types.SimpleNamespace(exc_value=ValueError(HOSTILE)))


def test_json_is_lossless():
    for columns in (0, 80):
        stream = Terminal(columns)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(screen, "sys", types.SimpleNamespace(stdout=stream))
            output.write_json({HOSTILE: [HOSTILE]})
        assert json.loads(stream.getvalue()) == {HOSTILE: [HOSTILE]}
        assert stream.getvalue().isascii() and "\x7f" not in stream.getvalue()

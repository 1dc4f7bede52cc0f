"""Hosts that answer wrongly in one respect: this project's host, whose answers or requests are changed on their way.

They stand for faults that would end the process of the tests, or that lie deep within a host.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from dataflare.conformance import HostService
from dataflare.conformance.host_calls import encoded_rows

_ONE_ROW = encoded_rows(pa.RecordBatch.from_pylist([{"a": 1}]))

Answer: TypeAlias = dict[str, Any]
Change: TypeAlias = Callable[[Mapping[str, Any], Answer], Answer]


class Good(HostService):
    """Nothing is changed."""

    caught_by = ""
    replaced: Mapping[str, Any] = {}


def changed(case: str, what: str, change: Change) -> type[Good]:
    """A host whose answers are changed; `change` is given the request and the answer."""

    class Changed(Good):
        def answer(self, request: Mapping[str, Any]) -> Answer:
            return change(request, super().answer(request))

    return named(Changed, case, what)


def asked(case: str, what: str, change: Callable[[dict[str, Any]], dict[str, Any]], *, do: str = "call") -> type[Good]:
    """A host that is asked something else than the caller asked, in requests of one kind."""

    class Asked(Good):
        def answer(self, request: Mapping[str, Any]) -> Answer:
            return super().answer(change(dict(request)) if request["do"] == do else request)

    return named(Asked, case, what)


def named(made: type[Good], case: str, what: str) -> type[Good]:
    """The class, with the case that has to find it."""
    made.caught_by, made.__doc__ = f"host/{case}", what
    made.__name__ = "".join(map(str.title, case.split("-")))
    return made


def came(case: str, what: str, operation: str, to: Callable[[Any], Any]) -> type[Good]:
    """A host in which an operation of the probe gives something else, also where it is a fault."""

    def change(request: Mapping[str, Any], answer: Answer) -> Answer:
        given = json.loads(request["input"])["do"] if request["do"] == "process" else []
        names = [next(iter(each)) for each in given]
        if operation not in names:
            return answer
        output = answer.get("ok", {}).get("output")
        found = json.loads(output)["came"] if output else [{} for _ in names]
        pairs = zip(names, found, strict=True)
        return {
            "ok": {"output": json.dumps({"came": [to(each) if name == operation else each for name, each in pairs]})}
        }

    return changed(case, what, change)


def told(case: str, what: str, operation: str, **given: Any) -> type[Good]:
    """A host in which an operation of the probe is another one, with other arguments."""

    def change(request: dict[str, Any]) -> dict[str, Any]:
        asked = json.loads(request["input"])["do"]
        changed = [
            {name: {**each, **given} if name == operation else each} for one in asked for name, each in one.items()
        ]
        return {**request, "input": json.dumps({"do": changed})}

    return asked(case, what, change, do="process")


def ok(value: Any) -> Callable[[Any], Any]:
    """What always comes."""
    return lambda came: {"ok": value}


def passes(case: str, what: str, *, do: str = "call", function: str = "", ok: Any = None) -> type[Good]:
    """A host that makes a result of an error."""

    def change(request: Mapping[str, Any], answer: Answer) -> Answer:
        same = request["do"] == do and request.get("function", "") == function
        return {"ok": ok} if same and "error" in answer else answer

    return changed(case, what, change)


def result(case: str, what: str, function: str, to: Callable[[Any], Any]) -> type[Good]:
    """A host in which a function of a plugin returns something else."""

    def change(request: Mapping[str, Any], answer: Answer) -> Answer:
        return {"ok": to(answer["ok"])} if request.get("function") == function and "ok" in answer else answer

    return changed(case, what, change)


def kind(case: str, what: str, *, of: str, to: str) -> type[Good]:
    """A host that takes errors of one kind for another."""

    def change(request: Mapping[str, Any], answer: Answer) -> Answer:
        error = answer.get("error", {})
        return {"error": {**error, "kind": to}} if error.get("kind") == of else answer

    return changed(case, what, change)


def without(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Leaves an argument of a call out."""
    return lambda request: {**request, "with": {k: v for k, v in request.get("with", {}).items() if k != name}}


def arguments(function: str, **given: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Calls of a function with other arguments."""

    def change(request: dict[str, Any]) -> dict[str, Any]:
        return {**request, "with": {**request.get("with", {}), **given}} if request["function"] == function else request

    return change


def instead_of(function: str, other: str, **given: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Calls of another function."""
    return lambda request: {**request, "function": other, "with": given} if request["function"] == function else request


class Writes(Good):
    """Writes files at once, published or not."""

    def answer(self, request: Mapping[str, Any]) -> Answer:
        done = super().answer(request)
        if request["do"] == "load":
            places = [each.rpartition("=")[2] for each in request["grants"] if each.startswith("files:write:data=")]
            self.place = Path(places[0])
        for each in json.loads(request["input"])["do"] if request["do"] == "process" else []:
            written = each.get("write-file", {"publish": True})
            if not written.get("publish"):
                (self.place / Path(written["path"]).name).write_text(written["text"])
        return done


class Counts(Good):
    """Goes on with an instance after a trap."""

    caught_by = "host/new-instance"
    calls = 0

    def answer(self, request: Mapping[str, Any]) -> Answer:
        done = super().answer(request)
        if request["do"] == "process":
            self.calls += 1
            if "ok" in done:
                found = json.loads(done["ok"]["output"])["came"]
                return {"ok": {"output": json.dumps({"came": [{"ok": self.calls}, *found[1:]]})}}
        return done


MUTANTS: list[type[Good]] = [
    Counts,
    named(type("Writes", (Writes,), {}), "file-writing", "Publishes what is written."),
    named(type("Leaves", (Writes,), {}), "file-trap", "Leaves behind what a trapped plugin had written."),
    came("bad-utf8", "Takes texts that are not UTF-8.", "bad-utf8", ok("taken")),
    came("out-of-bounds", "Reads beyond a plugin's memory.", "out-of-bounds", ok("taken")),
    came("dropped-handle", "Takes handles that were dropped.", "dropped-handle", ok(1)),
    came("forged-handle", "Takes any handle.", "forged-handle", ok(0)),
    came("stack-limit", "Does not limit how deep a plugin recurses.", "recurse", ok(1)),
    came("cancelled-in-vain", "Ends a cancelled call as if it had come to its end.", "spin", ok(None)),
    came("time-in-host", "Counts no time within its own functions.", "spin-in-host", ok(None)),
    passes("time-at-start", "Counts no time before the first call.", do="load", ok={"plugin": 1}),
    passes("refused-start", "Takes a plugin that could not start.", do="load", ok={"plugin": 1}),
    passes("no-plugin", "Takes a component of no kind.", do="load", ok={"plugin": 1}),
    passes("unknown-import", "Takes a component with any import.", do="load", ok={"plugin": 1}),
    kind("start-trap", "Takes a trap at the start for an error.", of="fault", to="plugin"),
    kind("refused-config", "Takes a refused configuration for its own error.", of="plugin", to="config"),
    kind("batch-errors", "Takes an error about a batch for a fault.", of="plugin", to="fault"),
    came("batch-builders", "Changes a batch to which a column is added.", "column-names", ok(["a"])),
    came("batch-columns", "Gives anything in place of a null.", "int64", ok([1, -1, -3])),
    came(
        "batch-errors-of-columns",
        "Takes a column of another type for one that is missing.",
        "int64",
        lambda came: {"err": "no-such-column", "with": "missing"},
    ),
    came("batch-kept-types", "Changes the type of a column that is replaced.", "types", ok([["a", "int64"]])),
    came("batch-json", "Writes rows as one list.", "json", lambda came: {**came, "ok": f"[{came.get('ok')}]"}),
    passes("source-same-parts", "Takes parts of which two are the same.", function="split", ok={"parts": []}),
    came("batch-malformed", "Takes damaged streams.", "from-arrow", ok("made")),
    came("batch-metadata", "Loses the metadata of columns.", "column-metadata", ok([])),
    came("batch-no-nulls", "Returns a bitmap for a column without nulls.", "validity", ok([1])),
    came("batch-rows", "Takes a mask of any length.", "mask", ok("made")),
    came(
        "clock",
        "Has a clock that stands still.",
        "clock",
        ok({"after-2020": True, "below-a-second": True, "ascends": False}),
    ),
    came("compute", "Computes with null as with zero.", "json", lambda came: {"ok": came["ok"].replace("null", "0")}),
    came(
        "expression-aggregate",
        "Leaves out the group of nulls.",
        "json",
        lambda came: {"ok": "".join(row for row in came["ok"].splitlines(True) if "null" not in row)},
    ),
    came("expression-errors", "Takes any expression.", "compute", ok("made")),
    came("expression-join", "Drops rows without a partner.", "rows", ok(3)),
    came("expression-sort", "Turns equal rows around.", "int64", lambda came: {"ok": came["ok"][::-1]}),
    came("file-links", "Follows links out of a directory.", "read-file", ok("secret")),
    came("file-paths", "Reads any file.", "read-file", ok("inside")),
    came("file-reading", "Gives a wrong size.", "stat-file", ok({"name": "a.txt", "size": 11})),
    came("http", "Lets requests go anywhere.", "http", ok({})),
    told("http-requests", "Loses the body of a request.", "http", body=None),
    told("http-requests", "Loses the headers of a request.", "http", headers=[]),
    came("http-requests", "Has one response for all.", "http", ok({"status": 200, "headers": [], "body": ""})),
    came(
        "http-requests",
        "Loses headers of one name.",
        "http",
        lambda came: {"ok": {**came["ok"], "headers": list(map(list, dict(came["ok"]["headers"]).items()))}},
    ),
    told("http-errors", "Waits as long as the operator allows.", "http", **{"timeout-ms": None}),
    came("http-errors", "Has one error for all.", "http", lambda came: came if "ok" in came else {"err": "other"}),
    came("http-rate", "Makes requests at any rate.", "http", ok({"body": "a"})),
    came("http-addresses", "Makes requests to any address.", "http", ok({"body": "a"})),
    came("file-positions", "Refuses positions after the end.", "seek", lambda came: {"err": "other"}),
    came("file-positions", "Gives a part of what is there.", "read", lambda came: {"ok": came["ok"][:3]}),
    came("file-positions", "Counts words.", "tell", lambda came: {"ok": came["ok"] // 4}),
    came("file-large", "Reads any length at once.", "read-length", ok(17_825_792)),
    came(
        "file-entries",
        "Lists entries in any order.",
        "list-files",
        lambda came: {**came, "ok": came.get("ok", [])[::-1]},
    ),
    came("file-entries", "Takes every entry for a file.", "list-kinds", ok(["file"] * 4)),
    came("file-entries", "Says that all may be written.", "files-granted", ok([{"name": "data", "writable": True}])),
    came("file-publishing", "Publishes once, and then fails.", "publish", lambda came: {"err": "other"}),
    told("file-publishing", "Replaces any file.", "create-file", replace=True),
    came("file-appending", "Lets several writers append.", "append-file", ok(True)),
    asked(
        "shared-replaced",
        "Shares batches with all pipelines.",
        lambda request: {**request, "pipeline": "conformance"},
        do="load",
    ),
    came("shared-replaced", "Keeps the first batch of a name.", "json", ok('{"a":1}\n')),
    came("plugin-cycles", "Calls a plugin within its own call.", "calls", ok(2)),
    came("kept-batch", "Changes a batch that is kept.", "json", ok("{}\n")),
    came("life-order", "Initializes again for each call.", "life", ok(["configure", "initialize", "initialize"])),
    came("life-order", "Initializes before it configures.", "life", ok(["initialize", "configure"])),
    came("plugin-call-errors", "Takes a fault of another plugin for an error.", "call", lambda came: {"err": "failed"}),
    came("plugin-calls", "Lets a plugin call any other.", "call", ok("called")),
    came("shared", "Lets a plugin share under any name.", "share", ok(None)),
    came("state", "Takes an empty value for none.", "state-get", lambda came: {"ok": came["ok"] or None}),
    came("state-large", "Takes values of any size.", "state-set", ok(None)),
    came(
        "state-list",
        "Lists keys in any order.",
        "state-list",
        lambda came: {"ok": {**came["ok"], "keys": came["ok"]["keys"][::-1]}},
    ),
    *(
        asked(
            f"without-{name}",
            f"Grants {name} to everybody.",
            lambda request, word=word: {  # type: ignore[misc]
                **request,
                "grants": [*request["grants"], word],
            },
            do="load",
        )
        for name, word in {
            "http": "http:GET:https://nothing.invalid",
            "metrics": "metrics",
            "plugins": "plugins:nothing",
            "random": "random",
            "secrets": "secrets:nothing",
            "shared": "shared:nothing",
            "tasks": "tasks",
        }.items()
    ),
    passes("processor-more-rows", "Takes more records than it gave.", do="process-batch", ok={"rows": _ONE_ROW}),
    # Sources
    asked("source-open", "Begins at the beginning.", without("state")),
    asked("source-parts", "Reads all of a part's dataset.", without("part")),
    asked("source-read", "Asks for one row at a time.", arguments("read", **{"max-rows": 1})),
    asked("source-acknowledge", "Closes a read for an acknowledgement.", instead_of("acknowledge", "close")),
    passes("source-busy", "Ends a read that asks for a retry.", function="read", ok={"ended": True}),
    result(
        "source-datasets",
        "Loses the keys of datasets.",
        "discover",
        lambda found: [{**each, "key": []} for each in found],
    ),
    result(
        "source-estimate", "Calls every estimate exact.", "estimate", lambda found: found and {**found, "exact": True}
    ),
    *(
        passes(f"source-{name}", what, function=function, ok=value)
        for name, what, function, value in (
            ("too-many", "Takes more rows than it asked for.", "read", {"ended": True}),
            ("no-selection", "Takes rows of any selection.", "read", {"ended": True}),
            ("lost", "Ends a read that is lost.", "read", {"ended": True}),
            ("failed", "Goes on with a read that ended with an error.", "read", {"ended": True}),
            ("close", "Ends a read that is closed.", "read", {"ended": True}),
            ("two-datasets", "Takes two datasets of one name.", "discover", []),
            ("no-key", "Accepts a key that names no column.", "discover", []),
            ("no-cursor", "Accepts a cursor that names no column.", "discover", []),
            ("no-schema", "Takes too few schemas.", "open", []),
            ("no-operation", "Takes changes that do not say what happened.", "open", []),
            ("too-many-parts", "Takes any number of parts.", "split", {"parts": []}),
            ("no-parts", "Takes a division without parts.", "split", {"parts": []}),
            ("unknown", "Asks for any dataset.", "open", []),
        )
    ),
    # Destinations
    asked("destination-open", "Names every run alike.", arguments("open", run="run")),
    asked("destination-token", "Keeps no token.", arguments("flush", token="")),
    asked("destination-abort", "Finishes a run that is aborted.", instead_of("abort", "finish", token="")),
    result("destination-write", "Keeps rejected rows to itself.", "write", lambda found: {"rejected": []}),
    result("destination-flush", "Says that rows are safe.", "flush", lambda found: True),
    result("destination-abilities", "Adds an ability.", "abilities", lambda found: [*found, "append"]),
    result("destination-plan", "Plans nothing.", "plan", lambda found: []),
    *(
        passes(f"destination-{name}", what, function=function, ok=value)
        for name, what, function, value in (
            ("no-row", "Takes a rejected row that there is not.", "write", {"rejected": []}),
            ("row-twice", "Takes a row that is rejected twice.", "write", {"rejected": []}),
            ("rows-back", "Takes rejected rows in any order.", "write", {"rejected": []}),
            ("order", "Takes rows before a run.", "write", {"rejected": []}),
            ("other-columns", "Takes rows of any columns.", "write", {"rejected": []}),
            ("lost", "Goes on with a run that is lost.", "flush", True),
            ("no-mode", "Opens a run in any mode.", "open", {"token": None}),
            ("no-key", "Merges without a key.", "open", {"token": None}),
            ("operation", "Replaces rows by changes.", "open", {"token": None}),
            ("change-refused", "Takes a refused change for one that was made.", "change-schema", None),
            ("no-change", "Asks for any change.", "change-schema", None),
            ("plan-of-nothing", "Takes a plan of no target.", "plan", []),
            ("superseded", "Finishes a run that was shut out.", "finish", None),
            ("busy", "Takes an answer that asks for a retry for success.", "write", {"rejected": []}),
        )
    ),
    asked("destination-change", "Tells no destination of new columns.", instead_of("change-schema", "abilities")),
    # The others
    result("transformer-passes", "Loses a transformed row.", "output-schema", lambda found: {}),
    passes("transformer-other-columns", "Takes any columns.", function="transform", ok={"rows": None}),
    passes("transformer-other-type", "Takes any types.", function="transform", ok={"rows": None}),
    result("validator-report", "Lists no violations.", "validate", lambda found: {**found, "violations": []}),
    *(
        passes(f"validator-{name}", what, function="validate", ok={})
        for name, what in (
            ("rows", "Takes a report of more rows than there are."),
            ("no-row", "Takes a violation of a row that there is not."),
            ("too-many", "Takes more violations than were counted."),
            ("no-rule", "Takes a violation of a rule that was not counted."),
        )
    ),
]

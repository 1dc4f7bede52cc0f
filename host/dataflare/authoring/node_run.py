"""Runs a plugin in JavaScript or TypeScript on a sample natively: Node has it, and it calls the host over pipes."""

from __future__ import annotations

import json
import logging
import re
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

from dataflare.authoring.node_values import NodeValues, WrongValue, camel
from dataflare.authoring.samples import Sample, Tried, try_sample
from dataflare.authoring.timing import timed
from dataflare.engine.call_errors import ENDINGS, Endings
from dataflare.errors import CallTimeout, DataflareError, GuestPanic, MemoryLimitExceeded
from dataflare.grants import Grants
from dataflare.interfaces import FREE, interface_name
from dataflare.limits import Limits
from dataflare.runtime.host import Host
from dataflare.runtime.plugin import Plugin
from dataflare.runtime.ports import Engine, HostFunctions
from dataflare.testing.native_engine import NativeEngine, NativeStats, exported
from dataflare.testing.shapes import plugin_shape
from dataflare.toolchain.conversation import Conversation, ToolEnded
from dataflare.toolchain.javascript import import_failure
from dataflare.toolchain.manifest_file import PluginFile
from dataflare.toolchain.run_tool import BuildFailed, Patience
from dataflare.values import Err, Ok
from dataflare.wit import model as wit
from dataflare.wit.standard import standard

__all__ = ["run_in_node"]

_Forms: TypeAlias = tuple[dict[str, type[Any]], ...]

_NODE: Final = Path(__file__).parent.parent / "toolchain" / "node"
_START_S: Final = 30
"""What Node and the plugin's modules may take to load."""
_LEAST_HEAP: Final = 64
"""MiB: Node needs some for itself."""
_PLACE: Final = re.compile(r"^\[?(?:file://)?(?P<path>/.*):(?P<line>\d+)$", re.MULTILINE)
_RAISED: Final = re.compile(r"^\[?(?P<what>[A-Z]\w*Error: .*?)\]?$", re.MULTILINE)
_LAST_GCS: Final = "<--- Last few GCs --->"
_MOST_KEPT: Final = 2**16
"""How many of the last characters that are printed are looked at for Node's own words."""
_LOADED: Final[_Forms] = ({"ready": bool}, {"failed": str, "stack": str})
_ANSWERS: Final[_Forms] = ({"ok": object}, {"err": object}, {"trap": str, "stack": str})
_ASKED: Final[_Forms] = ({"drop": int}, {"call": list, "args": list})
"""The messages of Node's side, which a plugin can write, too: it finds the pipe."""


def run_in_node(
    folder: Path,
    file: PluginFile,
    sample: Sample,
    work: Path,
    stage: Callable[[Path], None],
    printed: Callable[[str], object],
    steps: dict[str, float],
) -> Tried:
    """Run the plugin of a folder on a sample, in Node.

    Args:
        folder: The plugin's folder.
        file: Its `plugin.yaml`.
        sample: The rows.
        work: An empty folder.
        stage: Writes the plugin's modules, with `component-entry.js`, into a folder.
        printed: Is given what the plugin prints and logs.
        steps: Gets the wall seconds of `build`, `load` and `rows`, also where one of them fails.

    Raises:
        ConfigError: The sample is wrong.
        BuildFailed: The plugin is not JavaScript, its types are wrong, or it failed when it was imported.
        PluginError: It answered with an error.
        PluginFault: It failed, did not end in time, or ended its process.
    """
    app = work / "app"
    app.mkdir()
    with timed(steps, "build"):
        stage(app)
    _write_host(app, work / "host", file.interfaces())

    @contextmanager
    def load(*, config: Mapping[str, Any], grants: Grants, limits: Limits) -> Iterator[Plugin]:
        def instance(host: HostFunctions, *, limits: Limits, log_lines: Callable[[], tuple[str, ...]]) -> _NodeInstance:
            return _NodeInstance(file, folder, app, host, limits, log_lines, printed)

        engine = NativeEngine(str(folder), plugin_shape(file.kind, file.interfaces()), instance)
        with (
            _logged(printed),
            Host(engine=cast(Engine, engine)) as host,
            host.load(engine.binary, name=file.name, config=config, grants=grants, limits=limits) as plugin,
        ):
            with timed(steps, "load"):
                plugin.start()
            with timed(steps, "rows"):
                yield plugin

    return try_sample(folder, file, sample, load)


class _NodeInstance:
    """An instance that is a process of Node."""

    embedder: Callable[[], Any] | None = None

    def __init__(
        self,
        file: PluginFile,
        folder: Path,
        app: Path,
        host: HostFunctions,
        limits: Limits,
        log_lines: Callable[[], tuple[str, ...]],
        printed: Callable[[str], object],
    ) -> None:
        self.alive = True
        self.stats = NativeStats()
        self._file = file
        self._folder = folder
        self._app = app
        self._printed = printed
        self._said = ""
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._host = host
        self._limits = limits
        self._log_lines = log_lines
        self._values = NodeValues()
        self._export = "import"
        heap = f"--max-old-space-size={max(_LEAST_HEAP, limits.memory_bytes // 2**20)}"
        command: list[str | Path] = ["node", "--enable-source-maps", "--no-warnings", heap, _NODE / "main.mjs", app]
        self._node = Conversation(command, cwd=app, hint="install Node.js", printed=self._say)
        try:
            answer = self._spoken(lambda patience: self._exchange(None, _LOADED, patience), _START_S)
            if "failed" in answer:
                place, _, _ = str(answer["stack"]).partition("\n")[0].rpartition("@")[2].rpartition(":")
                raise import_failure(folder, place or None, str(answer["failed"]))
        except BaseException:
            self.close()
            raise

    def call(self, interface: str, function: str, *arguments: Any) -> Any:
        self.stats.calls += 1
        found, short = exported(interface, function)
        self._export = function
        lent = set(self._values.handles)
        given = [
            self._values.to_node(value, each.type) for value, each in zip(arguments, found.parameters, strict=True)
        ]
        lent = set(self._values.handles) - lent
        message = {"interface": short, "function": camel(function), "args": given}
        answer = self._spoken(lambda patience: self._exchange(message, _ANSWERS, patience), self._limits.call_timeout_s)
        for number in lent:
            # Lent for this call alone.
            self._values.handles.pop(number, None)
        if "trap" in answer:
            raise self._panic(f"{answer['trap']}\n{answer['stack']}")
        kind = found.result
        try:
            if not isinstance(kind, wit.ResultOf):
                return self._values.from_node(answer.get("ok"), kind, "what it returns")
            if "err" in answer:
                return Err(self._values.from_node(answer["err"], kind.error, "what it throws"))
            return Ok(self._values.from_node(answer["ok"], kind.ok, "what it returns"))
        except WrongValue as error:
            raise self._panic(str(error)) from error

    def _say(self, part: bytes) -> None:
        self._said += self._decoder.decode(part)
        if len(self._said) > 2 * _MOST_KEPT:
            self._printed(self._said[:-_MOST_KEPT])
            self._said = self._said[-_MOST_KEPT:]

    def _flush(self, end: int | None = None) -> None:
        """Hand on what was printed, up to where Node's own words begin."""
        self._printed(self._said[:end])
        self._said = ""

    def interrupt(self) -> None:
        pass

    def drop(self, resource: Any) -> None:
        pass

    def close(self) -> None:
        self.alive = False
        self._node.close()
        self._flush()

    def _spoken(self, speak: Callable[[Patience], Any], seconds: float | None) -> Any:
        """What Node says; where it says nothing, the instance ends."""
        try:
            answer = speak(Patience(seconds or float("inf")))
        except TimeoutError as error:
            self.close()
            raise CallTimeout(
                f"took longer than {seconds:g} s",
                plugin=self._file.name,
                export=self._export,
                log_lines=self._log_lines(),
                hint="is there an endless loop?",
            ) from error
        except ToolEnded as error:
            found = self._end(error)
            self.close()
            raise found from error
        except BuildFailed as error:
            self.close()
            raise self._panic(error.message) from error
        except ENDINGS as cause:
            self.close()
            endings = Endings(self._file.name, self._limits, self._log_lines)
            endings.export = self._export
            raise endings.of(cause, over_budget=endings.over_output) from cause
        except BaseException:
            self.close()
            raise
        self._flush()
        return answer

    def _exchange(self, message: Any, ends: _Forms, patience: Patience) -> Any:
        """Say something, unless it is `None`, and answer what is asked; returns the message of one of these forms."""
        while True:
            answer = self._node.hear(patience) if message is None else self._node.ask(message, patience)
            if _is_one_of(answer, ends):
                return answer
            if not _is_one_of(answer, _ASKED):
                raise BuildFailed("it sent a message that has no meaning here")
            if ends is _LOADED:
                message = {"wrong": "the host cannot be called while the plugin is imported"}
            elif "drop" in answer:
                self._values.drop(answer["drop"])
                message = {"ok": None}
            else:
                message = self._host_call(answer["call"], answer["args"])

    def _host_call(self, said: list[Any], arguments: list[Any]) -> dict[str, Any]:
        try:
            owner, name = said
            target, function = self._host[owner][name], _functions(owner)[name]
        except (KeyError, TypeError, ValueError) as error:
            raise BuildFailed("it called a function that the host does not have for it") from error
        kinds = [each.type for each in function.parameters]
        names = [each.name for each in function.parameters]
        try:
            handle: list[Any] = []
            if name.startswith("[method]"):
                resource = wit.Named(name.removeprefix("[method]").partition(".")[0], owner)
                own, *arguments = arguments or [None]
                handle = [self._values.from_node(own, resource, f"{name}: its own handle")]
            raw = bool(getattr(target, "text_as_bytes", False))
            # As in a component: what is missing at the end is undefined, and what is too much is left out.
            arguments = [*arguments, *([None] * len(kinds))][: len(kinds)]
            given = [
                self._values.from_node(value, kind, f"{camel(function.name)}: {camel(each)}", raw=raw)
                for value, kind, each in zip(arguments, kinds, names, strict=True)
            ]
        except WrongValue as error:
            return {"wrong": str(error)}
        result = target(*handle, *given)
        kind = function.result
        if not isinstance(kind, wit.ResultOf):
            return {"ok": self._values.to_node(result, kind)}
        if isinstance(result, Err):
            return {"err": self._values.to_node(result.error, kind.error)}
        return {"ok": self._values.to_node(result.value if isinstance(result, Ok) else result, kind.ok)}

    def _panic(self, message: str) -> GuestPanic:
        return GuestPanic(message, plugin=self._file.name, export=self._export, log_lines=self._log_lines())

    def _end(self, error: ToolEnded) -> DataflareError:
        """What the end of Node means, by its last words."""
        if self._export == "import" and (raised := _RAISED.search(self._said)):
            place = next((each for each in _PLACE.finditer(self._said)), None)
            where = None
            if place is not None:
                path = Path(place["path"])
                where = f"{path.relative_to(self._app) if path.is_relative_to(self._app) else path}:{place['line']}"
            self._flush(raised.start() if place is None else place.start())
            return import_failure(self._folder, where, raised["what"])
        begin = self._said.find(_LAST_GCS)
        if begin >= 0:
            self._flush(begin)
            return MemoryLimitExceeded(
                f"needed more than memory_bytes = {self._limits.memory_bytes}",
                plugin=self._file.name,
                export=self._export,
                log_lines=self._log_lines(),
                hint="raise the limit, or use less memory",
            )
        return GuestPanic(
            f"ended its process: {error.message.splitlines()[0]}",
            plugin=self._file.name,
            export=self._export,
            log_lines=self._log_lines(),
            hint="leave out what ends it, such as process.exit",
        )


def _is_one_of(message: Any, forms: _Forms) -> bool:
    return isinstance(message, dict) and any(
        message.keys() == form.keys() and all(isinstance(message[key], kind) for key, kind in form.items())
        for form in forms
    )


def _functions(owner: str) -> dict[str, wit.Function]:
    interface = standard().interface(owner)
    found = {each.name: each for each in interface.functions}
    for each in interface.types:
        if isinstance(each, wit.Resource):
            found |= {f"[method]{each.name}.{function.name}": function for function in each.functions}
    return found


def _write_host(app: Path, to: Path, needs: tuple[str, ...]) -> None:
    """Write a module for each of the host's interfaces that the plugin may import."""
    to.mkdir()
    known = {}
    for short in sorted({"schemas", "batches", *FREE, *needs}):
        owner = interface_name(short)
        path = to / f"{short}.mjs"
        path.write_text(_module(owner), encoding="utf-8")
        known[owner] = path.as_uri()
    (app / "host.json").write_text(json.dumps(known), encoding="utf-8")


def _module(owner: str) -> str:
    interface = standard().interface(owner)
    channel = (_NODE / "channel.mjs").as_uri()
    lines = [f"import {{ hostFunction, resource }} from {json.dumps(channel)};"]
    for at, function in enumerate(interface.functions):
        # One of them is called `delete`, which a constant cannot be.
        lines.append(f"const function{at} = hostFunction({json.dumps(owner)}, {json.dumps(function.name)});")
        lines.append(f"export {{ function{at} as {camel(function.name)} }};")
    for each in interface.types:
        if isinstance(each, wit.Resource):
            methods = {camel(function.name): f"[method]{each.name}.{function.name}" for function in each.functions}
            name = camel(each.name)
            said = ", ".join(map(json.dumps, (owner, each.name, methods)))
            lines.append(f"export const {name[0].upper()}{name[1:]} = resource({said});")
    return "\n".join(lines) + "\n"


@contextmanager
def _logged(say: Callable[[str], object]) -> Iterator[None]:
    """Have what plugins log said too."""
    handler = _Lines(say)
    logger = logging.getLogger("dataflare.plugin")
    level, propagates = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates


class _Lines(logging.Handler):
    def __init__(self, say: Callable[[str], object]) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(f"{record.levelname} {record.getMessage()}\n")

"""Runs a plugin in Python on a sample natively: `python -m dataflare.authoring.native_run REQUEST ANSWER`.

In a process of its own, so that each run has the modules as they are now, and one that loops, or ends its process, can
be ended. Both files are JSON: the arguments of `Request`, and `tried` with `steps`, or `error`.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from dataflare.authoring.samples import Sample, Tried, try_sample
from dataflare.errors import ConfigError, DataflareError
from dataflare.grants import Grants
from dataflare.limits import Limits
from dataflare.runtime.plugin import Plugin
from dataflare.toolchain.manifest_file import read_plugin_file
from dataflare.toolchain.run_tool import BuildFailed, run

__all__ = ["NativeRunFailed", "run_natively"]

_MODULE: Final = "plugin"
_FRAME: Final = re.compile(r"\s*at (?P<file>[^/\s]+\.py):\d+, in ")
_SPARE_S: Final = 10
"""What the interpreter and the host's modules may take to load, beside the time of the plugin's calls."""


class NativeRunFailed(DataflareError):
    """A plugin failed in its own Python; the message is its error, and begins with file and line where it has them."""


def run_natively(
    folder: Path, sample: Sample, work: Path, printed: Callable[[str], object], steps: dict[str, float]
) -> Tried:
    """Run the plugin of a folder on a sample, in a new interpreter.

    Args:
        folder: The plugin's folder.
        sample: The rows.
        work: An empty folder.
        printed: Is given what the plugin prints and logs.
        steps: Gets the wall seconds of `start`, `load` and `rows`.

    Raises:
        ConfigError: The sample or the `plugin.yaml` is wrong.
        NativeRunFailed: The plugin failed.
        BuildFailed: It did not end in time, or ended its process.
    """
    request, answer = work / "request.json", work / "answer.json"
    given = {**asdict(sample), "file": None if sample.file is None else str(sample.file)}
    request.write_text(json.dumps({"folder": str(folder), "sample": given}))
    begin = time.perf_counter()
    # -P: the plugin's modules must not stand in the place of the host's.
    command: list[str | Path] = [sys.executable, "-P", "-m", "dataflare.authoring.native_run", request, answer]
    paths = os.pathsep.join(filter(None, sys.path))
    limit_s = (Limits().call_timeout_s or 0) + _SPARE_S
    try:
        printed(run(command, cwd=folder, env={"PYTHONPATH": paths}, timeout_s=limit_s))
    except BuildFailed as error:
        what, hint = "the plugin ended its process", ""
        if "did not end" in error.message:
            what, hint = "the plugin did not end", "is there an endless loop?"
        raise NativeRunFailed(f"{what}: {error.message.partition('` ')[2]}", hint=hint) from error
    if not answer.exists():
        raise NativeRunFailed("the plugin ended its process", hint="leave out what ends it, such as os._exit")
    found = json.loads(answer.read_text())
    steps["start"] = time.perf_counter() - begin - sum(found["steps"].values())
    steps.update(found["steps"])
    if wrong := found.get("error"):
        hint = wrong["hint"]
        raise (
            ConfigError(wrong["message"], hint=hint)
            if wrong["config"]
            else NativeRunFailed(wrong["message"], hint=hint)
        )
    return Tried(**found["tried"])


def main(request: Path, answer: Path) -> None:
    """Answer a request."""
    given = json.loads(request.read_text())
    sample = given["sample"]
    chosen = Sample(**{**sample, "file": None if sample["file"] is None else Path(sample["file"])})
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(levelname)s %(message)s")
    steps: dict[str, float] = {}
    found: dict[str, Any]
    try:
        found = {"tried": asdict(_try(Path(given["folder"]), chosen, steps, answer.parent)), "steps": steps}
    except DataflareError as error:
        wrong = {
            "message": _own_frames(error.message, Path(given["folder"])),
            "hint": error.hint,
            "config": isinstance(error, ConfigError),
        }
        found = {"error": wrong, "steps": steps}
    sys.stdout.flush()
    answer.write_text(json.dumps(found))
    # A thread that the plugin began, and that never ends, is not waited for.
    os._exit(0)


def _try(folder: Path, sample: Sample, steps: dict[str, float], work: Path) -> Tried:
    file = read_plugin_file(folder)

    @contextmanager
    def load(*, config: dict[str, Any], grants: Grants, limits: Limits) -> Iterator[Plugin]:
        begin = time.perf_counter()
        plugin = _plugin_class(folder, file.kind, work)
        from dataflare.testing import native

        with native(plugin, config=config, needs=file.interfaces(), grants=grants) as started:
            steps["load"] = time.perf_counter() - begin
            begin = time.perf_counter()
            try:
                yield started
            finally:
                steps["rows"] = time.perf_counter() - begin

    return try_sample(folder, file, sample, load)


def _plugin_class(folder: Path, kind: str, work: Path) -> type[Any]:
    import dataflare.testing  # noqa: F401  # the modules that the SDK imports

    sys.path.insert(0, str(folder))
    # Compiled modules are found by whole seconds: two edits within one would run the first.
    sys.pycache_prefix = str(work / "compiled")
    if not (folder / f"{_MODULE}.py").is_file():
        raise NativeRunFailed(f"there is no {_MODULE}.py", hint=f"put the plugin's class into {folder}")
    try:
        module = importlib.import_module(_MODULE)
    except (Exception, SystemExit) as error:
        said = error.msg if isinstance(error, SyntaxError) else str(error)
        raise NativeRunFailed(f"{_place(folder, error)}: {type(error).__name__}: {said}") from error
    from dataflare_plugin.component import find_plugin

    try:
        found: type[Any] = find_plugin(module, kind)
    except TypeError as error:
        raise NativeRunFailed(str(error)) from error
    return found


def _own_frames(message: str, folder: Path) -> str:
    """A message without the lines of Python's and the SDK's own frames, which the author did not write."""
    own = {path.name for path in folder.rglob("*.py")}
    lines = message.splitlines()
    others = {line for line in lines if (frame := _FRAME.match(line)) and frame["file"] not in own}
    return "\n".join(line for line in lines if line not in others)


def _place(folder: Path, error: BaseException) -> str:
    """File and line of the plugin's own at which it was raised."""
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((error.filename, error.lineno))
    for name, line in reversed(places):
        path = Path(name)
        if path.is_relative_to(folder):
            return f"{path.relative_to(folder).as_posix()}:{line or 1}"
    return f"{_MODULE}.py"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

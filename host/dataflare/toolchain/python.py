"""Python: componentize-py, which puts CPython and the plugin's modules into one component (19 MB, with WASI)."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from dataflare.interfaces import NEEDS_GRANT
from dataflare.texts import cut
from dataflare.toolchain.guests import Guest
from dataflare.toolchain.manifest_file import PluginFile
from dataflare.toolchain.run_tool import BuildFailed, ToolchainMissing, run
from dataflare.toolchain.store import stage_wit
from dataflare.user_folders import files_below

__all__ = ["PythonDriver", "driver", "own_modules", "sdk_modules", "tools"]

_VERSION = "0.25.1"
_ENTRY = """from importlib import import_module

from dataflare_plugin.component import exports
import plugin

for late in {late}:
    try:
        import_module(late)
    except Exception:
        pass
globals().update(exports(plugin, {said}))
"""
_HOST = re.compile(r"dataflare_plugin\.(\w+)")
# Modules lie in folders that are named by a number within the component.
_FRAME = re.compile(r'File "(?:/\d+/)?([^"<>]+)", line (\d+)')
_EXCEPTION = re.compile(r"\s*[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Warning|Err)?(?::|$)")
_SYNTAX = Path(__file__).with_name("python_syntax.py")
_HINT = f"`{Path(sys.executable).name} -m pip install componentize-py=={_VERSION}`"


class PythonDriver:
    """Builds the module `plugin.py`, with the modules and packages beside it, and the SDK."""

    def identity(self) -> str:
        """Return what the component depends on apart from its sources."""
        return f"python: componentize-py {_VERSION}, {_ENTRY}"

    def runtime(self) -> dict[str, str]:
        """What is in each component beside the sources: the tool brings CPython."""
        return {"pypi:componentize-py": _VERSION}

    def sources(self, guest: Guest) -> Iterator[Path]:
        """Return the files that the component is made from, without the WIT."""
        yield from own_modules(guest.folder)
        yield from sdk_modules(guest)

    def build(self, guest: Guest, work: Path) -> bytes:
        """Build a component.

        Raises:
            ToolchainMissing: There is no componentize-py of the right version in this interpreter's environment.
            BuildFailed: The build failed.
        """
        tool = _tool()
        wit = stage_wit(guest, work)
        # The tool takes whatever lies in the folder, so it gets one of the modules alone.
        app = work / "app"
        for root, modules in ((guest.folder, own_modules(guest.folder)), (guest.sdk / "src", sdk_modules(guest))):
            for module in modules:
                target = app / module.relative_to(root)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(module, target)
        if not (app / "plugin.py").is_file():
            raise BuildFailed(
                f"{guest.name}: there is no plugin.py", hint=f"put the plugin's class into {guest.folder}"
            )
        late = _late_imports(guest, work)
        start = "plugin"
        if guest.file is not None:
            start = "component_entry"
            (app / f"{start}.py").write_text(_entry(guest.file, late), encoding="utf-8")
        output = work / "plugin.wasm"
        command: list[str | Path] = [tool, "-d", wit, "-w", guest.world, "componentize", "-p", app, "-o", output, start]
        try:
            # Backtraces of the tool itself would bury what is wrong with the plugin.
            run(command, cwd=work, env={"RUST_BACKTRACE": "0"})
        except BuildFailed as error:
            raise _explained(guest, error) from error
        return output.read_bytes()

    def unit_tests(self, guest: Guest) -> str:
        """Run the tests of the folder `tests` with pytest; returns its last line, or nothing where there are none."""
        if not any((guest.folder / "tests").glob("test_*.py")):
            return ""
        if find_spec("pytest") is None:
            raise ToolchainMissing("there is no pytest in this Python environment", hint="`pip install pytest`")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
        folders = [str(guest.folder), *filter(None, sys.path)]
        return run(command, cwd=guest.folder, env={"PYTHONPATH": os.pathsep.join(folders)}).strip().splitlines()[-1]


def own_modules(folder: Path) -> Iterator[Path]:
    """A plugin's own modules: those beside `plugin.py` and those of packages there, without tests."""

    def is_package(path: Path) -> bool:
        return path.name != "tests" and (path / "__init__.py").is_file()

    for path in files_below(folder, enter=is_package):
        if path.suffix == ".py" and not path.name.startswith((".", "test_")) and path.name != "conftest.py":
            yield path


def sdk_modules(guest: Guest) -> Iterator[Path]:
    """The modules of the SDK."""
    yield from sorted((guest.sdk / "src" / "dataflare_plugin").glob("*.py"))


def _entry(file: PluginFile, late: list[str]) -> str:
    said = {"kind": file.kind, "name": file.name, "version": file.version, "description": file.description}
    return _ENTRY.format(late=repr(late), said=", ".join(f"{key}={value!r}" for key, value in said.items()))


def _late_imports(guest: Guest, work: Path) -> list[str]:
    """The modules that functions of the plugin import: a component has only what is imported when it is built.

    Refuses what is not Python, since the tool's error would be long, and without the line; and imports of the host's
    interfaces that `plugin.yaml` does not list, which would fail in the middle of a run.
    """
    modules = {path.relative_to(guest.folder).as_posix(): str(path) for path in own_modules(guest.folder)}
    listed = work / "modules.json"
    listed.write_text(json.dumps(modules), encoding="utf-8")
    # With -I, nothing of the plugin's folder is imported.
    said = run([sys.executable, "-I", _SYNTAX, listed], cwd=work)
    read = json.loads(said)
    if found := read["error"]:
        place = f"{found['name']}:{found['line']}" if found["line"] else found["name"]
        marked = f"\n    {cut(found['text'])}" if found["text"] else ""
        raise BuildFailed(f"{place}: {found['what']}{marked}")
    for each in read["late"]:
        interface = _HOST.fullmatch(each["module"])
        if guest.file is not None and interface and interface[1] in NEEDS_GRANT.difference(guest.file.interfaces()):
            raise BuildFailed(
                f"{each['name']}:{each['line']}: it imports {interface[1]}, which plugin.yaml does not list",
                hint=f"plugin.yaml: add {interface[1]} to `needs`",
            )
    return sorted({each["module"] for each in read["late"]})


def _explained(guest: Guest, error: BuildFailed) -> BuildFailed:
    """The exception that a plugin's module raised when it was imported, with the line; else the error as it is."""
    lines = error.output.splitlines()
    begin = max((at for at, line in enumerate(lines) if "Traceback (most recent call last)" in line), default=None)
    if begin is None:
        return error
    places, what = [], ""
    for line in lines[begin + 1 :]:
        if found := _FRAME.search(line):
            places.append((found[1], found[2]))
        elif found := _EXCEPTION.match(line):
            what = line.strip()
            break
    own = {path.relative_to(guest.folder).as_posix() for path in own_modules(guest.folder)}
    where = next(((name, line) for name, line in reversed(places) if name in own), ("plugin.py", ""))
    return BuildFailed(f"{':'.join(filter(None, where))}: {what or 'it cannot be imported'}")


def _tool() -> Path:
    try:
        found = version("componentize-py")
    except PackageNotFoundError as exc:
        raise ToolchainMissing("there is no componentize-py in this Python environment", hint=_HINT) from exc
    if found != _VERSION:
        raise ToolchainMissing(f"componentize-py {found} is installed, but {_VERSION} is needed", hint=_HINT)
    script = shutil.which("componentize-py", path=str(Path(sys.executable).parent)) or shutil.which("componentize-py")
    if script is None:
        raise ToolchainMissing("componentize-py is installed without its program", hint=f"{_HINT} --force-reinstall")
    return Path(script)


def tools() -> str:
    """The tools that plugins in Python are built with.

    Raises:
        ToolchainMissing: There is no componentize-py of the right version.
    """
    return f"componentize-py {_VERSION} ({_tool()})"


def driver(_: Guest) -> PythonDriver:
    """Make the driver for a guest."""
    return PythonDriver()

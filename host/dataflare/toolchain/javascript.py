"""JavaScript: ComponentizeJS, which puts SpiderMonkey and the plugin's modules into one component (14 MB, no WASI)."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from dataflare.texts import cut
from dataflare.toolchain.garbage_limits import LIMITS, collect_early
from dataflare.toolchain.guests import Guest, sdks_folder
from dataflare.toolchain.run_tool import BuildFailed, ToolchainMissing, run
from dataflare.toolchain.store import cache_root, digest_files, once, stage_wit, write_changed
from dataflare.user_files import MAX_COMPONENT_BYTES, read_file
from dataflare.user_folders import files_below, own_folders

__all__ = [
    "JavaScriptDriver",
    "driver",
    "engine_packages",
    "import_failure",
    "npm_packages",
    "run_tests",
    "stage_for_node",
    "tools",
    "write_sdk",
]

_NODE_MAJOR = 20
_ENGINE = "@bytecodealliance/componentize-js"
_ANSWER_S = 15
"""Wall seconds that the registry of npm has to answer."""
_HINT = f"install Node.js {_NODE_MAJOR} or newer with npm (https://nodejs.org)"
_NOT_OURS = ("build", "dataflare", "dist", "node_modules", "tests")
_ERROR = re.compile(r"[A-Z][A-Za-z]*Error: ")
_RAISED = re.compile(r"(?:(\S+:\d+):\d+ )?((?:[A-Z]\w*)?Error: .*)")
_NO_MODULE = re.compile(r"Error loading module (\"[^\"]*\")")
_NO_DEFAULT = re.compile(r"plugin\.js'? (does not provide|doesn't provide) an export named:? 'default'")
_NEEDED = re.compile(r"\"dataflare:host/([a-z-]+)@")
_ENTRY = """import Plugin from './plugin.js';
import {{ exportsOf }} from './dataflare/sdk/component.js';

export const {{ lifecycle, {kind} }} = exportsOf(Plugin, {said});
"""
_COMPONENTIZE = Path(__file__).with_name("componentize.mjs")


class JavaScriptDriver:
    """Builds the module `plugin.js` and what it imports by relative paths.

    Its default export is the plugin's class. Each build writes the SDK into the folder `dataflare` beside it; the
    component is made of a copy of its own.
    A module that exports `lifecycle` itself is taken as it is.
    """

    def identity(self) -> str:
        """Return what the component depends on apart from its sources, of which the lock is one."""
        return f"javascript: {LIMITS.hex()}, {_COMPONENTIZE.read_text(encoding='utf-8')}"

    def runtime(self) -> dict[str, str]:
        """What is in each component beside the sources: the tool brings SpiderMonkey."""
        return engine_packages()

    def sources(self, guest: Guest) -> Iterator[Path]:
        """Return the files that the component is made from, without the WIT."""
        yield from (guest.sdk / "package.json", guest.sdk / "package-lock.json")
        yield from (guest.sdk / "lib").glob("*.js")
        if _is_raw(guest):
            yield from (path for path in files_below(guest.folder) if path.suffix == ".js")
        else:
            yield from (guest.sdk / "lib" / "sdk").glob("*.js")
            yield from _own_modules(guest)

    def prepare(self, guest: Guest) -> None:
        """Write the SDK beside the plugin, for editors and for tests in Node.

        Raises:
            ConfigError: It cannot be written.
        """
        if not _is_raw(guest):
            write_sdk(guest, guest.folder)

    def build(self, guest: Guest, work: Path) -> bytes:
        """Build a component.

        Raises:
            ToolchainMissing: There is no Node.js of the right age, no npm, or its packages are not available.
            BuildFailed: The build failed.
        """
        packages = npm_packages(guest.sdk)
        wit = stage_wit(guest, work)
        output = work / "plugin.wasm"
        source = _plugin_module(guest)
        if not _is_raw(guest):
            _check_syntax(guest)
            source = _stage(guest, work / "app")
        command: list[str | Path] = ["node", _COMPONENTIZE, packages / "node_modules", source, wit, guest.world, output]
        try:
            run(command, cwd=guest.sdk, env={"TMPDIR": str(work)}, hint=_HINT)
        except BuildFailed as error:
            raise _explained(error, guest) from error
        return collect_early(output.read_bytes())

    def in_node(self, guest: Guest) -> Callable[[Path], None] | None:
        """What writes the plugin into a folder, for Node to run it natively; `None` for one that needs its component.

        It raises `ToolchainMissing` and `BuildFailed`, as `build` does.
        """
        return None if _is_raw(guest) else lambda app: stage_for_node(guest, app)

    def unit_tests(self, guest: Guest) -> str:
        """Run the tests of the folder `tests` in Node; returns how many passed, or nothing where there are none."""
        return run_tests(guest)


def engine_packages() -> dict[str, str]:
    """The package that brings the engine of JavaScript, with its version."""
    locked = json.loads((sdks_folder() / "javascript" / "package-lock.json").read_text(encoding="utf-8"))
    return {f"npm:{_ENGINE}": str(locked["packages"][f"node_modules/{_ENGINE}"]["version"])}


def run_tests(guest: Guest) -> str:
    """Run the tests of a guest's folder `tests` in Node; returns how many passed, or nothing where there are none.

    Raises:
        BuildFailed: A test failed; the message has Node's words.
    """
    tests = sorted((guest.folder / "tests").glob("*.test.js"))
    if not tests:
        return ""
    write_sdk(guest, guest.folder)
    # The host's interfaces are their twins in memory.
    twins = (guest.folder / "dataflare" / "twin" / "register.js").resolve().as_uri()
    said = run(["node", "--import", twins, "--test", "--test-reporter=tap", *tests], cwd=guest.folder, hint=_HINT)
    return next(line.removeprefix("# ") for line in said.splitlines() if line.startswith("# pass"))


def stage_for_node(guest: Guest, app: Path) -> None:
    """Write the plugin's modules, the SDK and the component's entry into a folder, for Node.

    Raises:
        ToolchainMissing: There is no Node.js of the right age.
        BuildFailed: There is no `plugin.js`.
    """
    _node_release(app)
    _plugin_module(guest)
    _stage(guest, app)


def _plugin_module(guest: Guest) -> Path:
    path = guest.folder / "plugin.js"
    if not path.is_file():
        raise BuildFailed(f"{guest.name}: there is no plugin.js", hint=f"put the plugin's class into {guest.folder}")
    return path


def _is_raw(guest: Guest) -> bool:
    path = guest.folder / "plugin.js"
    return guest.file is None or (path.is_file() and b"export const lifecycle" in read_file(path, MAX_COMPONENT_BYTES))


def own_modules(folder: Path) -> Iterator[Path]:
    """The modules of a plugin's folder, without its tests and without what builds write."""
    for path in files_below(folder, enter=own_folders(folder, _NOT_OURS)):
        if path.suffix in (".js", ".ts") and not path.name.endswith((".test.js", ".test.ts")):
            yield path


def _own_modules(guest: Guest) -> Iterator[Path]:
    return (path for path in own_modules(guest.folder) if path.suffix == ".js")


def _check_syntax(guest: Guest) -> None:
    """Refuse what is not JavaScript: the tool's error would have neither the file nor the line."""
    for path in _own_modules(guest):
        try:
            run(["node", "--check", path], cwd=guest.folder, hint=_HINT)
        except BuildFailed as error:
            lines = [line.strip() for line in error.output.splitlines() if line.strip()]
            place = next((line for line in lines if line.startswith(str(path))), str(path))
            what = next((line for line in lines if _ERROR.match(line)), "it is not JavaScript")
            where = place.replace(str(path), path.relative_to(guest.folder).as_posix())
            raise BuildFailed(f"{where}: {what}") from error


def _explained(error: BuildFailed, guest: Guest) -> BuildFailed:
    """The exception that a plugin's module raised when it was imported, with the line; else the error as it is."""
    _, marker, said = error.output.partition("Exception while evaluating top-level script")
    found = _RAISED.match(said.strip()) if marker else None
    if found is None:
        return error
    return import_failure(guest.folder, *found.groups())


def import_failure(folder: Path, place: str | None, what: str) -> BuildFailed:
    """Why a plugin's modules cannot be imported.

    Args:
        folder: The plugin's folder.
        place: File and line at which it was found, relative to it.
        what: The engine's own words.
    """
    if missing := _NO_MODULE.search(what):
        hint = "a plugin imports files of its own folder by relative paths; put a package of npm into one such file"
        if needed := _NEEDED.match(missing.group(1)):
            hint = f"plugin.yaml: add {needed.group(1)} to `needs`"
        where = _place_of(missing.group(1).strip('"'), folder)
        return BuildFailed(f"{where}there is no module {missing.group(1)} to import", hint=hint)
    if _NO_DEFAULT.search(what):
        hint = "begin it with `export default class`"
        return BuildFailed("plugin.js: it has to export the plugin's class as its default", hint=hint)
    if place is None or place.startswith(("component-entry.js", "dataflare/")):
        # What the SDK says of the plugin's module begins with its name.
        what = what.removeprefix("TypeError: ")
        return BuildFailed(what if what.startswith("plugin.js") else f"plugin.js: {what}")
    return BuildFailed(f"{place}: {what}")


def _place_of(module: str, folder: Path) -> str:
    """The first line in a plugin's files that names a module in quotes, for the begin of a message."""
    for path in sorted(own_modules(folder)):
        text = read_file(path, MAX_COMPONENT_BYTES).decode(errors="replace")
        for number, line in enumerate(text.splitlines(), 1):
            if f"'{module}'" in line or f'"{module}"' in line:
                return f"{path.relative_to(folder).as_posix()}:{number}: "
    return ""


def _stage(guest: Guest, app: Path) -> Path:
    """Put the plugin, the SDK and the component's entry into a folder; returns the entry."""
    for path in _own_modules(guest):
        target = app / path.relative_to(guest.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    write_sdk(guest, app)
    file = guest.file
    assert file is not None
    said = {"name": file.name, "version": file.version, "kind": file.kind, "description": file.description}
    entry = app / "component-entry.js"
    entry.write_text(_ENTRY.format(kind=file.kind, said=json.dumps(said)), encoding="utf-8")
    return entry


def write_sdk(guest: Guest, folder: Path, types: Iterable[Path] = ()) -> None:
    """Write the SDK, with the types of TypeScript, into `dataflare` in a folder, where it is not there already.

    Raises:
        ConfigError: It cannot be written.
    """
    lib = guest.sdk.parent / "javascript" / "lib"
    texts = {path.relative_to(lib): path.read_bytes() for path in lib.rglob("*.js")}
    texts |= {Path(path.name): path.read_bytes() for path in types}
    for name, data in {**texts, Path("index.js"): b"export * from './sdk/index.js';\n"}.items():
        write_changed(folder, Path("dataflare", name), data)


def _node_release(folder: Path) -> str:
    """The version of Node.js.

    Raises:
        ToolchainMissing: There is no Node.js of the right age.
    """
    try:
        release = run(["node", "--version"], cwd=folder, hint=_HINT).strip()
    except BuildFailed as error:
        raise ToolchainMissing(f"node does not work: {error}", hint=_HINT) from error
    number = re.match(r"v(\d+)\.", release)
    if number is None:
        raise ToolchainMissing(f"node does not say its version, but {cut(release)!r}", hint=_HINT)
    if int(number[1]) < _NODE_MAJOR:
        raise ToolchainMissing(f"Node.js {release} is too old", hint=_HINT)
    return release


def _release(folder: Path) -> str:
    release = _node_release(folder)
    if shutil.which("npm") is None:
        raise ToolchainMissing("there is no npm", hint=_HINT)
    return release


def npm_packages(workspace: Path) -> Path:
    """Install the npm packages of a lock on first use.

    Args:
        workspace: A folder with a `package.json` and a `package-lock.json`.

    Returns:
        The folder of `node_modules`, in the user's cache.

    Raises:
        ToolchainMissing: There is no Node.js of the right age, no npm, or a package cannot be downloaded.
    """
    _release(workspace)
    manifest, lock = workspace / "package.json", workspace / "package-lock.json"

    def install(folder: Path) -> None:
        shutil.copy2(manifest, folder)
        shutil.copy2(lock, folder)
        # `npm ci` refuses locks that npm itself wrote on another platform; `install` keeps to the lock all the same.
        command = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"]
        try:
            run([*command, "--offline"], cwd=folder)
        except BuildFailed:
            # Not all of it was downloaded before.
            _require_registry(folder)
            try:
                run(command, cwd=folder)
            except BuildFailed as exc:
                raise _not_downloaded(exc) from exc

    platform = f"{os.uname().sysname}-{os.uname().machine}" if hasattr(os, "uname") else os.name
    return once(
        cache_root() / "toolchains" / f"node-{digest_files({'': workspace}, [manifest, lock], platform)[:16]}", install
    )


def _require_registry(folder: Path) -> None:
    """Ask for one package: without an answer, npm would ask again and again, for minutes."""
    try:
        run(["npm", "view", _ENGINE, "name", "--fetch-retries=0"], cwd=folder, timeout_s=_ANSWER_S)
    except BuildFailed as exc:
        raise _not_downloaded(exc) from exc


def _not_downloaded(cause: BuildFailed) -> ToolchainMissing:
    return ToolchainMissing(
        f"npm packages cannot be downloaded: {cause.message}",
        hint="try with the network; `npm config set registry URL` names another place to get them from",
    )


def tools() -> str:
    """The tools that plugins in JavaScript are built with.

    Raises:
        ToolchainMissing: There is no Node.js of the right age, or no npm.
    """
    return f"Node.js {_release(Path.cwd())}"


def driver(_: Guest) -> JavaScriptDriver:
    """Make the driver for a guest."""
    return JavaScriptDriver()

"""Rounds of `dataflare dev`: after each change of a plugin's folder, the plugin is built, loaded and tried."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from dataflare.authoring.building import build_plugin
from dataflare.authoring.case_files import CASES
from dataflare.authoring.native_run import run_natively
from dataflare.authoring.samples import Sample, Tried, try_sample
from dataflare.authoring.timing import timed
from dataflare.authoring.watching import FileWatch
from dataflare.errors import ConfigError, DataflareError
from dataflare.grants import Grants
from dataflare.limits import Limits
from dataflare.real_paths import real_path
from dataflare.runtime.host import Host
from dataflare.runtime.plugin import Plugin
from dataflare.toolchain.guests import guest_of
from dataflare.toolchain.languages import load_driver
from dataflare.toolchain.manifest_file import PLUGIN_FILE, read_plugin_file
from dataflare.toolchain.run_tool import ToolStopped, stopped_when

__all__ = ["Developing", "Round"]

_MOST_SHOWN: Final = 2**16
"""How many characters of what a plugin prints are shown."""
_MORE_WORK: Final = 20
"""How many times the fuel of a case code gets that is not optimized, as that of a package is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What came of one round.

    Attributes:
        number: From 1.
        changed: The files whose change began it, relative to the plugin's folder where they are in it.
        native: Whether the plugin ran in its own language rather than as a component.
        steps: Wall seconds of each step, in order. Of a component `build`, `compile`, `load` and `rows`; natively
            `start` (of Python) or `build` (of modules for Node), `load` and `rows`. A step that was not reached is
            missing.
        seconds: Of the round as a whole.
        tried: The rows; `None` where there is an error.
        printed: What a plugin that ran natively printed and logged.
        error: What went wrong.
    """

    number: int
    changed: tuple[str, ...]
    native: bool
    steps: Mapping[str, float]
    seconds: float
    tried: Tried | None = None
    printed: str = ""
    error: DataflareError | None = None

    @property
    def good(self) -> bool:
        """Whether the plugin ran, and gave what its case expects."""
        return self.tried is not None and not self.tried.problem


class Developing:
    """A plugin's folder while somebody works on it.

    Args:
        folder: A folder with a `plugin.yaml`, which may be wrong for now.
        host: Loads the components.
        sample: What the plugin is tried with.
        sandbox: Whether a plugin that can run natively is built into a component too. Others always are.
        build_timeout_s: Seconds after which each tool of a build is ended.

    Raises:
        ConfigError: The folder has no `plugin.yaml`.
    """

    def __init__(self, folder: Path, host: Host, sample: Sample, *, sandbox: bool, build_timeout_s: float) -> None:
        self.folder = real_path(folder)
        if not (self.folder / PLUGIN_FILE).is_file():
            read_plugin_file(self.folder)
        self._host = host
        self._sample = sample
        self._sandbox = sandbox
        self._build_timeout_s = build_timeout_s
        self._sources: frozenset[Path] = frozenset()
        self._watch = FileWatch(self._files)

    @property
    def files(self) -> int:
        """How many files are watched."""
        return len(self._watch)

    def rounds(self, *, once: bool = False) -> Iterator[Round]:
        """Try the plugin, then again after each change. Ends after the first round with `once`, else never.

        A change during a round ends the tools that it runs, and begins the next.

        Raises:
            ConfigError: The folder is gone.
        """
        changed: list[Path] = []
        number = 1
        while True:
            self._prepare()
            self._watch.accept()
            try:
                with stopped_when(lambda: not once and bool(self._watch.changes()), after_s=self._build_timeout_s):
                    found = self._round(number, changed)
            except ToolStopped:
                found = None
            if found is not None:
                yield found
                number += 1
            if once:
                return
            changed = self._watch.wait()

    def _prepare(self) -> None:
        """Let the driver write what no author writes, so that this is no change."""
        with _ignored(), stopped_when(lambda: False, after_s=self._build_timeout_s):
            guest = guest_of(self.folder)
            getattr(load_driver(guest.language)(guest), "prepare", lambda _: None)(guest)

    def _files(self) -> Iterable[Path]:
        if not self.folder.is_dir():
            raise ConfigError("the folder is gone", where=str(self.folder))
        with _ignored():
            # What was known last is watched on while the plugin.yaml is being edited.
            guest = guest_of(self.folder)
            self._sources = frozenset(load_driver(guest.language)(guest).sources(guest))
        own = {self.folder / PLUGIN_FILE, *(self.folder / CASES).glob("*.yaml")}
        return own | self._sources | ({self._sample.file} if self._sample.file is not None else set())

    def _round(self, number: int, changed: list[Path]) -> Round:
        begin = time.perf_counter()
        steps: dict[str, float] = {}
        printed = _Printed()
        native, tried, error = False, None, None
        try:
            run = None if self._sandbox else self._native_run(printed.add, steps)
            native = run is not None
            if run is None:
                tried = self._in_sandbox(steps)
            else:
                with tempfile.TemporaryDirectory(prefix="dataflare-dev-") as work:
                    tried = run(real_path(Path(work)))
        except ToolStopped:
            raise
        except DataflareError as failure:
            error = failure
        return Round(
            number=number,
            changed=tuple(map(self._shown, changed)),
            native=native,
            steps=steps,
            seconds=time.perf_counter() - begin,
            tried=tried,
            printed=printed.text,
            error=error,
        )

    def _shown(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix() if path.is_relative_to(self.folder) else str(path)

    def _native_run(self, printed: Callable[[str], object], steps: dict[str, float]) -> Callable[[Path], Tried] | None:
        """What runs the plugin natively, given an empty folder; `None` if nothing can."""
        guest = guest_of(self.folder)
        file = guest.file
        assert file is not None
        if file.language == "python":
            return lambda work: run_natively(self.folder, self._sample, work, printed, steps)
        in_node = getattr(load_driver(guest.language)(guest), "in_node", lambda _: None)(guest)
        if in_node is None:
            return None
        # Only here: what stands in for components takes its time to load.
        from dataflare.authoring.node_run import run_in_node

        return lambda work: run_in_node(self.folder, file, self._sample, work, in_node, printed, steps)

    def _in_sandbox(self, steps: dict[str, float]) -> Tried:
        with timed(steps, "build"):
            built, file = build_plugin(self.folder, self._host, debug=True)

        @contextmanager
        def load(*, config: dict[str, Any], grants: Grants, limits: Limits) -> Iterator[Plugin]:
            with timed(steps, "compile"):
                plugin = self._host.load(
                    built.guest.output,
                    name=file.name,
                    config=config,
                    grants=grants,
                    limits=replace(limits, fuel=limits.fuel and limits.fuel * _MORE_WORK),
                )
            with plugin:
                with timed(steps, "load"):
                    plugin.start()
                with timed(steps, "rows"):
                    yield plugin

        return try_sample(self.folder, file, self._sample, load)


class _Printed:
    """What a plugin printed, the first of it: it may print without end."""

    def __init__(self) -> None:
        self.text = ""

    def add(self, text: str) -> None:
        room = _MOST_SHOWN - len(self.text)
        if room > 0:
            self.text += text if len(text) <= room else f"{text[:room]}\n(more was printed)"


@contextmanager
def _ignored() -> Iterator[None]:
    """Leave errors of the plugin's folder to the round, which shows them."""
    with suppress(DataflareError, OSError):
        yield

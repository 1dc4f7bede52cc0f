"""Files about a run, for people and for other programs, beside the report on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self

from dataflare.errors import ConfigError
from dataflare.interruptible import undisturbed
from dataflare.pipeline.outputs import AtomicFile

__all__ = ["ReportFiles", "page_of", "write_file"]


def write_file(path: Path, text: str) -> None:
    """Write a file in one step.

    Raises:
        DataError: It cannot be written.
    """

    def write() -> None:
        with AtomicFile(path) as file:
            _fill(file, text)

    undisturbed(write)


class ReportFiles:
    """Files that a run's report is written to. They are begun before the run, which then fails before any row moves if
    one cannot be written. Use it in a `with`.

    Args:
        files: What is written to each, made from the report as JSON, and the option that names it.

    Raises:
        ConfigError: A name does not end as it should. So no file of data is replaced by a report.
        DataError: A file cannot be made.
    """

    def __init__(self, *files: tuple[Path | None, str, str, Callable[[Mapping[str, Any]], str]]) -> None:
        self._open: list[tuple[AtomicFile, Callable[[Mapping[str, Any]], str]]] = []
        with ExitStack() as stack:
            for path, option, suffix, make in files:
                if path is None:
                    continue
                _require_suffix(path, suffix, option)
                # The stack has the file before an interrupt can come.
                file = undisturbed(partial(_opened, path, stack))
                self._open.append((file, make))
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        undisturbed(self._stack.close)

    @property
    def paths(self) -> list[Path]:
        """The files."""
        return [file.path for file, _ in self._open]

    def write(self, report: Mapping[str, Any]) -> None:
        """Write all files, once.

        Args:
            report: The report as JSON, with `error` where the run failed.

        Raises:
            DataError: A file cannot be written.
        """

        def write() -> None:
            for file, make in self._open:
                _fill(file, make(report))

        undisturbed(write)


def _opened(path: Path, stack: ExitStack) -> AtomicFile:
    return stack.enter_context(AtomicFile(path))


def _require_suffix(path: Path, suffix: str, option: str) -> None:
    if path.suffix != suffix:
        raise ConfigError(f"{path} does not end in {suffix}", where=option, hint=f"name a {suffix} file")


def page_of(report: Mapping[str, Any]) -> str:
    """Write a report as a page. What that needs is loaded when it is asked for, since most runs have no page."""
    from dataflare.cli.report_page import report_page

    return report_page(report)


def _fill(file: AtomicFile, text: str) -> None:
    file.file.write(text.encode("utf-8", "replace"))
    file.commit()

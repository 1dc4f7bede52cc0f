"""The parts that all steps share: their registry, what they work with, and how they fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import pyarrow as pa

from dataflare import Limits, PluginError
from dataflare.conformance.retrying import Patience, Patient
from dataflare.conformance.subject import Subject, Work

__all__ = ["STEPS", "Bench", "NotConformant", "NotTested", "Step", "expect_error", "step"]


class NotConformant(Exception):
    """The plugin does not keep a duty.

    Args:
        message: What came, and what was due.
        given: The input that shows it.
    """

    def __init__(self, message: str, *, given: str = "") -> None:
        super().__init__(message)
        self.given = given


class NotTested(Exception):
    """The case does not apply to this plugin, or to what the user gave."""


class Bench:
    """What the steps of one case work with.

    Args:
        subject: The plugin.
        work: The case's host, and what makes instances in it.
    """

    def __init__(self, subject: Subject, work: Work) -> None:
        self.subject = subject
        self.work = work
        self.values: dict[str, Any] = {}
        self.about = ""
        """What the steps work on at the moment, such as a dataset: said with errors that were not due."""
        self._patience = Patience()
        self._plugin: Any = None

    @property
    def note(self) -> str:
        """What is said with the outcome: which calls were made again."""
        return self._patience.note

    def make(
        self, config: Mapping[str, Any] | None = None, limits: Limits | None = None, configurations: int = 1
    ) -> Any:
        """Make an instance whose calls are made again where it asks for it."""
        loaded = self.work.load(config, limits)
        self._patience.call(loaded.start, configurations=configurations)
        return Patient(loaded, self._patience)

    @property
    def plugin(self) -> Any:
        """The instance of the case, made when it is first used."""
        if self._plugin is None:
            self._plugin = self.make()
        return self._plugin

    def renew(self, config: Mapping[str, Any] | None = None, configurations: int = 1) -> Any:
        """Close the instance, and make another one."""
        if self._plugin is not None:
            self._plugin.close()
        self._plugin = None  # where it cannot be made, there is none
        self._plugin = self.make(config, configurations=configurations)
        return self._plugin

    def leave(self) -> None:
        """Continue with another instance, and leave this one without closing it, as after a crash of its host."""
        self._plugin = None

    def __getitem__(self, name: str) -> Any:
        """Return what an earlier step stored under this name."""
        if name == "sample":
            return self.subject.rows.combine_chunks().to_batches()
        if name not in self.values:
            raise ValueError(f"no step before made {name!r}")
        return self.values[name]


Step: TypeAlias = Callable[[Any, Any], None]
"""Given what the steps of a case work with (for hosts another one), and its arguments."""
STEPS: Final[dict[str, Step]] = {}
"""By name, what `FORMAT.md` describes."""


def step(name: str) -> Callable[[Step], Step]:
    """Register a step."""

    def register(function: Step) -> Step:
        STEPS[name] = function
        return function

    return register


def expect_error(call: Callable[[], Any], cases: list[str], what: str) -> None:
    """Demand one of some errors.

    Raises:
        NotConformant: Another one came, or none.
    """
    try:
        found = call()
    except PluginError as error:
        if error.error.case not in cases:
            raise NotConformant(f"{what}: the error was `{error.error.case}`, and should be {_names(cases)}") from error
        return
    came = f"it answered {type(found).__name__}" if isinstance(found, pa.Table) else "it answered without an error"
    raise NotConformant(f"{what}: {came}, and {_names(cases)} was due")


def _names(cases: list[str]) -> str:
    return " or ".join(f"`{each}`" for each in cases)

"""The cases, as data: the steps that are done with a plugin, and the results that are due."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dataflare import ConfigError
from dataflare.conformance.files import suite_folder
from dataflare.documents.models import validate_document
from dataflare.documents.reader import read_document

__all__ = ["KINDS", "Case", "Profile", "load_cases", "select"]

KINDS: Final = ("source", "destination", "processor", "transformer", "validator")
Profile: TypeAlias = Literal["core", "full", "certified"]


class Case(BaseModel):
    """A case.

    Args:
        name: Its folder, such as `transformer/empty-batch`.
        title: What must hold, in one line.
        duties: The numbers of the duties that it tests.
        kinds: The kinds of plugins that it is for, or `host`.
        profile: The smallest profile that has it.
        needs: What the user must provide: `sample`, rows that the plugin takes.
        essential: Whether nothing is known of a plugin's work when the case is skipped.
        steps: What is done, one after the other; each is one name with its arguments.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str
    title: str
    duties: Annotated[list[str], Field(min_length=1)]
    kinds: Annotated[
        list[Literal["source", "destination", "processor", "transformer", "validator", "host"]], Field(min_length=1)
    ]
    profile: Literal["core", "full"] = "core"
    needs: list[Literal["sample"]] = Field(default=[])
    essential: bool = False
    steps: Annotated[list[dict[str, Any]], Field(min_length=1)]

    @model_validator(mode="after")
    def _one_step_each(self) -> Case:
        for step in self.steps:
            if len(step) != 1:
                raise ValueError(f"a step is one name with its arguments, not {sorted(step)}")
        return self


def load_cases(folder: Path | None = None) -> list[Case]:
    """Read all cases of a folder, in the order of their names; without it, the suite's own.

    Raises:
        ConfigError: A case is not valid; names its file and the line.
    """
    root = suite_folder() / "cases" if folder is None else folder
    cases = []
    for file in sorted(root.glob("*/*/case.yaml")):
        document = read_document(file)
        if isinstance(document.value, dict):
            if "name" in document.value:
                raise ConfigError("a case has the name of its folder", where=document.where(("name",)))
            name = f"{file.parent.parent.name}/{file.parent.name}"
            document = replace(document, value={**document.value, "name": name})
        cases.append(validate_document(document, Case))
    return cases


def select(cases: Sequence[Case], *, kind: str, profile: Profile, only: Collection[str] = ()) -> list[Case]:
    """Choose the cases for a plugin, or for a host.

    Args:
        cases: All of them.
        kind: The plugin's kind, or `host`.
        profile: `core`, or all (`full`, `certified`).
        only: Names of cases, folders of them (`source`), or numbers of duties; empty is all.
    """
    chosen = [case for case in cases if kind in case.kinds and (profile != "core" or case.profile == "core")]
    if only:
        chosen = [case for case in chosen if {case.name, case.name.partition("/")[0], *case.duties} & set(only)]
    return chosen

"""What the models of a pipeline's YAML are made of."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from dataflare.documents.quantities import DURATION_PATTERN, SIZE_PATTERN, parse_duration, parse_size

__all__ = ["TAG_MARK", "Duration", "FilePath", "Input", "Name", "Size", "Strict", "nearest", "shorten"]

TAG_MARK = "|"
"""What the names of a union's members begin with, to be told from keys in the paths of pydantic's errors."""


def shorten(value: Any) -> str:
    """Write a value of the YAML for a message."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def nearest(name: str, known: Iterable[str]) -> str:
    """Name the known word that is most like a wrong one, for a hint: `did you mean 'input'?`; else list them all."""
    words = sorted(known)
    if found := difflib.get_close_matches(name, words, n=1):
        return f"did you mean {found[0]!r}?"
    return f"known are {', '.join(words)}" if words else "there is none"


class Strict(BaseModel):
    """A mapping with known keys only, whose values are what they are: no text becomes a number."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, value: Any) -> Any:
        if isinstance(value, dict):
            for key in value:
                if key not in cls.model_fields:
                    context = {"key": str(key), "hint": nearest(str(key), cls.model_fields)}
                    raise PydanticCustomError("unknown_key", "unknown key {key}", context)
        return value


def _as_size(value: Any) -> str:
    return _quantity(value, parse_size, "256MiB")


def _as_duration(value: Any) -> str:
    return _quantity(value, parse_duration, "30s")


def _quantity(value: Any, parse: Any, example: str) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise PydanticCustomError(
            "quantity", "{value} has no unit", {"value": value, "hint": f"write such as {example}"}
        )
    if not isinstance(value, str):
        raise PydanticCustomError("quantity", "give a text such as {example}", {"example": example})
    try:
        parse(value)
    except ValueError as error:
        raise PydanticCustomError("quantity", "{why}", {"why": str(error)}) from error
    return value


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
FilePath = Annotated[
    str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]+$", description="Relative to this file.")
]
Size = Annotated[str, BeforeValidator(_as_size), Field(pattern=SIZE_PATTERN, examples=["256MiB"])]
Duration = Annotated[str, BeforeValidator(_as_duration), Field(pattern=DURATION_PATTERN, examples=["30s"])]
Input = Annotated[Name, Field(description="The node whose rows this one takes.")]

"""Limits in pipelines, policies and manifests: a key for each row of `dataflare.limits.LIMITS`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, TypeAlias

from pydantic import AfterValidator, Discriminator, Field, Tag, create_model
from pydantic_core import PydanticCustomError

from dataflare.documents.models import StrictModel
from dataflare.documents.quantities import Duration, Size, parse_duration, parse_size, write_duration, write_size
from dataflare.errors import ConfigError
from dataflare.limits import LIMITS, LimitRow, Limits, LimitValue

__all__ = ["LimitsModel", "write_limit"]

_NO_LIMIT: Final = "none"
_KINDS: Final = {
    "size": Size,
    "duration": Duration,
    "count": Annotated[int, Field(ge=1, lt=2**63)],
}


class _LimitKeys(StrictModel):
    """Ceilings for a plugin; where one is not given, the default holds."""

    hints: ClassVar[Mapping[str, str]] = {
        **{row.field: f"write `{name}`, its value with a unit" for name, row in LIMITS.items() if row.field != name},
        "call_timeout_ms": "write `call_timeout`, such as 30s",
    }

    def given(self) -> Mapping[str, LimitValue]:
        """Return the limits that are given, by the fields of `Limits`."""
        said = ((row, getattr(self, name)) for name, row in LIMITS.items())
        return {row.field: _value(row, written) for row, written in said if written is not None}

    def merged(self, over: LimitsModel) -> LimitsModel:
        """Merge with others; if both give a limit, that of `over` wins."""
        said = {name: value for name, value in vars(over).items() if value is not None}
        return LimitsModel(**{**vars(self), **said})

    def limits(self) -> Limits:
        """Return the limits; those that are not given have their defaults."""
        given: Mapping[str, Any] = self.given()
        return Limits(**given)


def write_limit(row: LimitRow, value: LimitValue) -> str:
    """Write a limit in the form of documents, such as `64MiB`; `none` for no limit."""
    match row.quantity:
        case _ if value is None:
            return _NO_LIMIT
        case "size":
            return write_size(int(value))
        case "duration":
            return write_duration(value)
        case _:
            return str(value)


def _value(row: LimitRow, written: Any) -> LimitValue:
    if written == _NO_LIMIT:
        return None
    if row.quantity == "size":
        return parse_size(written)
    return parse_duration(written) if row.quantity == "duration" else int(written)


def _key(row: LimitRow) -> tuple[Any, Any]:
    """Return the type and the default of a row's key."""

    def check(written: Any) -> Any:
        try:
            Limits(**{row.field: _value(row, written)})  # type: ignore[arg-type]  # its own check says what fits
        except ConfigError as error:
            raise PydanticCustomError(
                "limit", "{why}", {"why": error.message.removeprefix(f"{error.where}: ")}
            ) from None
        return written

    kind: Any = Annotated[_KINDS[row.quantity], AfterValidator(check)]
    if row.removable:
        kind = Annotated[
            Annotated[kind, Tag("|limit")] | Annotated[Literal["none"], Tag("|none")],
            Discriminator(lambda value: "|none" if value == _NO_LIMIT else "|limit"),
        ]
    return kind | None, Field(default=None, description=row.says)


if TYPE_CHECKING:
    LimitsModel: TypeAlias = _LimitKeys
else:
    LimitsModel = create_model(
        "LimitsModel",
        __base__=_LimitKeys,
        __doc__=_LimitKeys.__doc__,
        **{name: _key(row) for name, row in LIMITS.items()},
    )

"""The files of a plugin's cases: configurations and rows, and what must come of them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from dataflare.data.schemas import SchemaError, parse_type
from dataflare.documents.models import Frozen, StrictModel, validate_document
from dataflare.documents.reader import Document, read_document
from dataflare.errors import ConfigError
from dataflare.permissions.limit_keys import LimitsModel

__all__ = ["CASES", "Case", "ExpectedError", "ExpectedViolation", "Row", "read_case", "read_cases"]

CASES: Final = Path("tests") / "cases"
"""Where a plugin's cases are, in its folder."""

Row = dict[str, Any]


class ExpectedError(StrictModel):
    """An error that a case expects.

    Attributes:
        kind: Its case, such as `invalid-input`; `fault` for a trap or a limit that is passed; the class of an error
            of the host, such as `PermissionDenied`.
        says: A part of its text.
    """

    kind: str = Field(examples=["invalid-input"])
    says: str = Field(default="", examples=["id is not a text"])


class ExpectedViolation(StrictModel):
    """A violation that a case expects; what it does not name may be anything.

    Attributes:
        rule: The rule that is broken.
        row: The row that breaks it, from 0.
        column: The rule's column.
    """

    rule: str = Field(examples=["within"])
    row: int | None = Field(default=None, examples=["1"])
    column: str | None = Field(default=None, examples=["age"])


class Case(StrictModel):
    """One case.

    Attributes:
        description: What it shows.
        config: The plugin's configuration.
        input: The rows that the plugin gets; a source gets none.
        types: Arrow types of columns of the input, by name; others are inferred.
        dataset: What a source reads, or a destination writes. A source of one dataset needs none.
        mode: How it is read (`full`, `incremental`) or written (`append`, `replace`, `merge`).
        key: The columns that tell a destination's rows apart.
        folders: Directories that the plugin may write, by name, each with the texts of the files in it.
        limits: Ceilings, as in a pipeline.
        output: The rows that must come, in order; of a destination, the rows that it rejects: `row`, `column` and
            `reason`, of which some may be left out.
        violations: What a validator must find, in order.
        files: The texts of files that must be there at the end, by directory and name.
        error: The error that must come in place of all that.
    """

    description: str = Field(default="", examples=["White space at the ends goes"])
    config: Frozen[str, Any] = Field(default_factory=dict, examples=["{ field: name }"])
    input: list[Row] = Field(default_factory=list, examples=["[{ id: 1, name: Ada }, { id: 2, name: null }]"])
    types: Frozen[str, str] = Field(default_factory=dict, examples=["{ id: int32, at: 'timestamp[us]' }"])
    dataset: str | None = Field(default=None, examples=["people"])
    mode: Literal["full", "incremental", "append", "replace", "merge"] | None = Field(default=None, examples=["merge"])
    key: list[str] = Field(default_factory=list, examples=["[id]"])
    folders: Frozen[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")], dict[str, str]] = Field(
        default_factory=dict, examples=["{ data: { people.csv: 'id,name' }, out: {} }"]
    )
    limits: LimitsModel = Field(default=LimitsModel(), examples=["{ memory: 32MiB, fuel: 1000000 }"])
    output: list[Row] | None = Field(default=None, examples=["[{ id: 1, name: Ada }]"])
    violations: list[ExpectedViolation] | None = Field(default=None, examples=["[{ rule: within, row: 1 }]"])
    files: Frozen[str, str] | None = Field(default=None, examples=["{ out/people.txt: Ada }"])
    error: ExpectedError | None = Field(default=None, examples=["{ kind: invalid-config, says: 'rows: give' }"])

    def expects_something(self) -> bool:
        """Whether it says what must come."""
        return any(each is not None for each in (self.output, self.violations, self.files, self.error))


def read_cases(folder: Path) -> list[tuple[Case, Document]]:
    """Read all cases of a plugin's folder, in the order of their names.

    Raises:
        ConfigError: As `read_case`.
    """
    paths = sorted((folder / CASES).glob("*.yaml"))
    return [read_case(path, name=path.relative_to(folder).as_posix()) for path in paths]


def read_case(path: Path, *, name: str) -> tuple[Case, Document]:
    """Read a case.

    Raises:
        ConfigError: It is wrong, or expects nothing; the error names file and line.
    """
    document = read_document(path, name=name)
    case = validate_document(document, Case)
    if not case.expects_something():
        raise ConfigError("it expects nothing", where=name, hint="give output, violations, files or error")
    for column, kind in case.types.items():
        try:
            parse_type(kind)
        except SchemaError as error:
            raise ConfigError(f"{column}: {error.message}", where=document.where(("types", column))) from error
    for folder, files in case.folders.items():
        for file in files:
            _check_name(file, document.where(("folders", folder)))
    for file in case.files or ():
        _check_name(file, document.where(("files", file)))
    return case, document


def _check_name(file: str, where: str) -> None:
    parts = PurePosixPath(file)
    if parts.is_absolute() or not parts.parts or ".." in parts.parts:
        raise ConfigError(f"{file!r} is outside of its folder", where=where)
    if "\0" in file:
        raise ConfigError(f"{file!r} cannot be a file's name", where=where)

"""Identifies pipelines: by the path or the contents of a file, never by the name in it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, StringConstraints, model_validator

from dataflare.documents.models import Frozen, FrozenSet, StrictModel
from dataflare.errors import PermissionDenied
from dataflare.real_paths import place_of
from dataflare.security.identifiers import Digest

__all__ = [
    "Bindings",
    "PipelineBinding",
    "PipelineFile",
    "PipelineName",
    "bound_files",
    "bound_name",
    "named_scopes",
    "require_own_name",
]

_SCOPE_MARK: Final = "@"

PipelineName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


@dataclass(frozen=True, slots=True)
class PipelineFile:
    """A pipeline's file, as it was read.

    Args:
        path: The real path of its folder, without symbolic links, and its name in it.
        digest: `sha256:` and the digest of its contents.
        in_program: Whether it is not a file: a program made it, and is responsible for its name.
    """

    path: Path
    digest: str
    in_program: bool = False

    def scope(self, name: str, bound: str) -> str:
        """Return the key of its state, such that a file cannot reach the state of another file of the same name.

        Args:
            name: The name in the file.
            bound: The name that a policy or roles have for it; empty if they do not know it.

        Returns:
            The bound name; without one, the file's own name with a mark of its location, which no name can contain.
        """
        if bound or self.in_program:
            return bound or name
        return f"{name}{_SCOPE_MARK}{sha256(os.fsencode(self.path)).hexdigest()[:32]}"


class PipelineBinding(StrictModel):
    """What identifies a file as this pipeline. If several keys are given, all must fit.

    Attributes:
        file: Its path, relative to the file that says so. Anyone who can write there can change the pipeline.
        digests: Its contents: one of these digests, `sha256:...`. It may be anywhere; its relative paths start there.
        embedded: No file is this pipeline: a program that embeds the host loads its plugins under this name.
    """

    file: Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\x00]+$")] | None = None
    digests: Annotated[FrozenSet[Digest], Field(min_length=1)] | None = None
    embedded: bool = False

    @model_validator(mode="after")
    def _says_something(self) -> PipelineBinding:
        if self.embedded == (self.file is not None or self.digests is not None):
            raise ValueError("say which file it is, by `file` or `digests`, or `embedded: true` where it is none")
        return self

    def fits(self, pipeline: PipelineFile, base_dir: Path) -> bool:
        """Whether a file is this pipeline; `base_dir` is what `file` is relative to."""
        if self.embedded or (self.digests is not None and pipeline.digest not in self.digests):
            return False
        if self.file is None:
            return True
        return pipeline.path == place_of(base_dir / self.file)


Bindings = Frozen[PipelineName, PipelineBinding]
"""Pipelines by the name that policies and roles use for them."""


def bound_files(bindings: Mapping[str, PipelineBinding], base_dir: Path) -> list[Path]:
    """Return the files that are bound as pipelines by their path: anyone who can write one gets the grants of its
    name."""
    return [base_dir / binding.file for binding in bindings.values() if binding.file is not None]


def bound_name(bindings: Mapping[str, PipelineBinding], pipeline: PipelineFile, base_dir: Path, source: str) -> str:
    """Return the name that a policy or roles have for a pipeline's file; empty if they do not know it.

    Raises:
        PermissionDenied: It is known under several names.
    """
    found = sorted(name for name, binding in bindings.items() if binding.fits(pipeline, base_dir))
    if len(found) > 1:
        raise PermissionDenied(
            f"{pipeline.path} is several pipelines by {source}: {', '.join(found)}",
            capability="pipelines",
            hint="let one name alone stand for a file",
        )
    return found[0] if found else ""


def named_scopes(scopes: Iterable[str], name: str) -> list[str]:
    """Return the scopes of a pipeline's name: its own, and those of files with this name in them."""
    return [each for each in scopes if each.partition(_SCOPE_MARK)[0] == name]


def require_own_name(
    bindings: Mapping[str, PipelineBinding], name: str, bound: str, pipeline: PipelineFile, source: str
) -> None:
    """Refuse a file with the name of another pipeline in it: state and shared batches are separate for each name.

    Args:
        bindings: The pipelines by their names.
        name: The name in the file.
        bound: Its name in `bindings`.
        pipeline: The file.
        source: The file with the bindings, for the error.

    Raises:
        PermissionDenied: The name is another pipeline's.
    """
    if name in bindings and name != bound:
        raise PermissionDenied(
            f"{pipeline.path} ({pipeline.digest}) calls itself {name!r}, which is another pipeline by {source}",
            capability=f"pipeline:{name}",
            hint=f"give it another name, or bind {name!r} to it under `pipelines` in {source}",
        )

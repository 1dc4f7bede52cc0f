"""Versions by Semantic Versioning 2.0 (https://semver.org)."""

from __future__ import annotations

from dataclasses import dataclass

from dataflare.wit.model import WitError
from dataflare.wit.tokens import VERSION

__all__ = ["Version"]


@dataclass(frozen=True, slots=True)
class Version:
    """A version. Versions are ordered by precedence; build metadata is ignored."""

    major: int
    minor: int
    patch: int
    pre_release: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read `1.2.3`, `1.2.3-rc.1` or `1.2.3+build`.

        Raises:
            WitError: The text is not a valid version.
        """
        if VERSION.fullmatch(text) is None:
            raise WitError(f"`{text}` is not a version", hint="write major.minor.patch, such as 1.0.0")
        core, _, pre = text.partition("+")[0].partition("-")
        major, minor, patch = (int(part) for part in core.split("."))
        return cls(major, minor, patch, tuple(pre.split(".")) if pre else ())

    @property
    def track(self) -> str:
        """The common part of compatible versions: `1`, `0.2` or, before 0.1, `0.0.3`."""
        if self.pre_release:
            return str(self)
        if self.major:
            return str(self.major)
        return f"0.{self.minor}" if self.minor else f"0.0.{self.patch}"

    def __str__(self) -> str:
        core = f"{self.major}.{self.minor}.{self.patch}"
        return f"{core}-{'.'.join(self.pre_release)}" if self.pre_release else core

    def __lt__(self, other: Version) -> bool:
        return self._precedence() < other._precedence()

    def _precedence(self) -> tuple[object, ...]:
        # A release comes after its pre-releases; numbers come before words.
        pre = tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in self.pre_release)
        return (self.major, self.minor, self.patch, not self.pre_release, pre)

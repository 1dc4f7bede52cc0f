"""Variables in a pipeline's file: `${NAME}` and `${NAME:-default}`.

They are put into values that were parsed already, so that what a variable holds stays one value, whatever is in it: it
adds no key and no line. Names of keys have no variables. `$${` is a `${` that is meant as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from dataflare.errors import ConfigError
from dataflare.suggestions import close_matches

__all__ = ["NAME_PATTERN", "SECRET_PREFIX", "Variables", "as_variables"]

NAME_PATTERN: Final = r"[A-Za-z_][A-Za-z0-9_]*"
SECRET_PREFIX: Final = "DATAFLARE_SECRET_"
"""What the names of secrets in the environment begin with: they are granted by name, and never in a pipeline's text."""

_MAX_CHARACTERS: Final = 2**20
_PART: Final = re.compile(r"\$\$\{|\$\{(" + NAME_PATTERN + r")(?::-([^}]*))?\}|\$\{")


@dataclass(slots=True)
class Variables:
    """The variables of one document.

    Args:
        values: Their values, by name.
        hidden: Why no values of the environment are among them, in words; empty if they may be.
        given: Those that were given for this document alone, and that it has to use.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    hidden: str = ""
    given: frozenset[str] = frozenset()
    _named: set[str] = field(default_factory=set)
    _left: int = _MAX_CHARACTERS

    def again(self) -> Variables:
        """The same variables, of which nothing was used yet."""
        return Variables(self.values, self.hidden, self.given)

    def check_given(self) -> None:
        """Check, after all texts were expanded, that what was given for the document is used.

        Raises:
            ConfigError: A variable is not; most likely its name is misspelt.
        """
        for name in sorted(self.given - self._named):
            near = close_matches(name, self._named)
            hint = (
                f"did you mean {near[0]!r}?" if near else f"leave --set {name} out, or write ${{{name}}} into the file"
            )
            raise ConfigError(f"the variable {name} was given, and the file does not use it", where="--set", hint=hint)

    def expand(self, text: str) -> tuple[str, bool]:
        """Put the values in.

        Returns:
            The text, and whether all of it is the value of one variable.

        Raises:
            ConfigError: A variable has no value and no default, a `${` begins none, or the values are too long.
        """
        if "${" not in text:
            return text, False
        whole = _PART.fullmatch(text)
        return _PART.sub(self._value, text), whole is not None and whole[1] is not None

    def _value(self, match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        if match[0] == "$${":
            return "${"
        if name is None:
            raise ConfigError(
                "`${` begins no variable", hint="write ${NAME} or ${NAME:-default}; for a literal `${`, write $${"
            )
        self._named.add(name)
        if default is not None and "${" in default:
            hint = "a default is plain text: give the variable a value instead, with --set or in the environment"
            raise ConfigError(f"the default of the variable {name} has a variable within it", hint=hint)
        if name.startswith(SECRET_PREFIX):
            secret = name.removeprefix(SECRET_PREFIX).lower().replace("_", "-")
            hint = f"grant it by its name, and the host adds it where it is used: `secrets: [{secret}]`"
            raise ConfigError(f"the variable {name} is a secret, which no pipeline's text may hold", hint=hint)
        value = self.values.get(name, "")
        if not value and default is not None:
            value = default
        elif name not in self.values:
            raise self._undefined(name)
        if any("\ud800" <= each <= "\udfff" for each in value):
            raise ConfigError(f"the variable {name} is not UTF-8")
        self._left -= len(value)
        if self._left < 0:
            raise ConfigError(f"the values of variables are longer than {_MAX_CHARACTERS} characters together")
        return value

    def _undefined(self, name: str) -> ConfigError:
        near = close_matches(name, self.values)
        give = f"give it with --set {name}=..., or a default: ${{{name}:-...}}"
        hint = f"did you mean {near[0]!r}?" if near else give
        return ConfigError(f"the variable {name} is not defined{self.hidden and f' ({self.hidden})'}", hint=hint)


def as_variables(given: Mapping[str, str] | Variables | None) -> Variables:
    """Make variables of texts by name.

    Raises:
        ConfigError: A value is not a text.
    """
    if isinstance(given, Variables):
        return given
    for name, value in (given or {}).items():
        if not isinstance(value, str):
            what = f"the variable {name} is a value of {type(value).__name__}, and not a text"
            raise ConfigError(what, where="variables", hint=f"give it as it would stand in the file: {str(value)!r}")
    return Variables(given or {})

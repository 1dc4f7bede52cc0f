"""New plugins: folders that are copied from an SDK's templates, with the plugin's names in place of theirs."""

from __future__ import annotations

import keyword
import shutil
import tempfile
from pathlib import Path
from typing import Final

from dataflare.documents.models import nearest, validate_document
from dataflare.documents.reader import Document
from dataflare.errors import ConfigError
from dataflare.toolchain.guests import sdks_folder
from dataflare.toolchain.manifest_file import PluginFile

__all__ = ["kinds_of", "languages_with_templates", "new_plugin"]

_TEMPLATES: Final = "templates"
_COMMON: Final = "common"
_KEBAB, _SNAKE, _CAMEL = "sample-plugin", "sample_plugin", "SamplePlugin"
# Names that the templates import, in any language.
_TAKEN: Final = frozenset(
    word
    for words in (
        "Abilities Batch BTreeMap Box Chunk Config Dataset Default Deserialize Destination Drop Error",
        "Expression Field Fn Iterator JsonSchema Mode NoConfig None Ok Option Plugin Processor Record",
        "RejectedRow Request Result Rule Run Schema Self Send Serialize Settings Severity Some Source",
        "String Sync Target Transformer Validator Value Vec Violation",
    )
    for word in words.split()
)


def languages_with_templates() -> tuple[str, ...]:
    """The languages that `new_plugin` knows, sorted."""
    return tuple(sorted(each.parent.name for each in sdks_folder().glob(f"*/{_TEMPLATES}")))


def kinds_of(language: str) -> tuple[str, ...]:
    """The kinds of plugins that there are templates for in a language, sorted."""
    folders = (sdks_folder() / language / _TEMPLATES).iterdir()
    return tuple(sorted(each.name for each in folders if each.is_dir() and each.name != _COMMON))


def new_plugin(folder: Path, *, kind: str, language: str) -> list[Path]:
    """Make a plugin's folder.

    Args:
        folder: Where; its last part is the plugin's name. It must not exist.
        kind: What the plugin is.
        language: What it is written in.

    Returns:
        The files, relative to the folder, sorted.

    Raises:
        ConfigError: There is something already, no such template, or the name cannot be a plugin's; or the folder
            cannot be written.
    """
    name = folder.name
    _require("language", "--lang", language, languages_with_templates())
    _require("kind", "--kind", kind, kinds_of(language))
    file = {"name": name, "version": "0.1.0", "kind": kind, "language": language}
    try:
        validate_document(Document("the name", file, {}), PluginFile)
    except ConfigError as error:
        hint = "lower-case letters, digits and single hyphens, such as clean-names; a letter first, at most 64 in all"
        raise ConfigError(f"a plugin cannot be called {name!r}", hint=hint) from error
    if folder.exists() or folder.is_symlink():
        raise ConfigError("it already exists", where=str(folder), hint="choose another name, or remove it")
    templates = sdks_folder() / language / _TEMPLATES
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{name}.") as work:
            made = Path(work) / name
            files = sorted(_copy(templates / _COMMON, made, name, kind) + _copy(templates / kind, made, name, kind))
            made.rename(folder)
    except OSError as error:
        raise ConfigError(f"cannot be made: {error.strerror}", where=str(folder)) from error
    return files


def _require(what: str, option: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise ConfigError(f"there is no {what} {given!r}", where=option, hint=nearest(given, known))


def _copy(template: Path, to: Path, name: str, kind: str) -> list[Path]:
    words = "".join(word.capitalize() for word in name.split("-"))
    if keyword.iskeyword(words) or words in _TAKEN:
        words += "Plugin"
    found = []
    for path in sorted(template.rglob("*")):
        relative = path.relative_to(template)
        if not path.is_file() or "__pycache__" in relative.parts or "target" in relative.parts:
            continue
        # A name that begins with a dot would mean something in the SDK's own folder.
        target = Path(
            *(f".{part.removeprefix('dot-')}" if part.startswith("dot-") else part for part in relative.parts)
        )
        text = path.read_text(encoding="utf-8").replace(_KEBAB, name).replace(_SNAKE, name.replace("-", "_"))
        (to / target).parent.mkdir(parents=True, exist_ok=True)
        (to / target).write_text(text.replace(_CAMEL, words).replace("sample-kind", kind), encoding="utf-8")
        shutil.copymode(path, to / target)
        found.append(target)
    return found

"""YAML files checked by pydantic models, with the line and the nearest known key in each error."""

from __future__ import annotations

import difflib
import json
import re
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from dataflare.errors import ConfigError
from dataflare.user_files import read_file

__all__ = ["MAX_BYTES", "parse_yaml", "read_text"]

MAX_BYTES: Final = 2**20
_MAX_DEPTH: Final = 32
_SHOWN: Final = 5
_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,17})", re.ASCII)
_FLOAT: Final = re.compile(r"-?[0-9]+\.[0-9]+", re.ASCII)
_UNSTORABLE: Final = re.compile("[\ud800-\udfff]")

_Path = tuple[str | int, ...]
_Model = TypeVar("_Model", bound=BaseModel)


def read_text(file: Path) -> str:
    """Read a text file of at most `MAX_BYTES`.

    Raises:
        ConfigError: It cannot be read, is too long, or is not UTF-8.
    """
    raw = read_file(file, MAX_BYTES)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 at byte {error.start}", where=str(file)) from error


def parse_yaml(text: str, model: type[_Model], *, name: str) -> _Model:
    """Read a YAML document into a model.

    Refused are aliases, tags, repeated keys, keys that are no texts, several documents, and numbers that
    are not plain decimals. Dates stay texts.

    Args:
        text: The document.
        model: What it has to fit; validated as JSON, strictly.
        name: The file's name, for errors.

    Raises:
        ConfigError: With `where` as `name:line`. The first problem is the message; others follow it.
    """
    lines: dict[_Path, int] = {}
    try:
        node = yaml.compose(text, Loader=_Loader) if len(text) <= MAX_BYTES else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        if isinstance(error, _AliasFound):
            raise ConfigError(
                "aliases are not read here", where=f"{name}:{line}", hint="write the value out"
            ) from error
        raise ConfigError(f"is not YAML: {error.problem or error.context}", where=f"{name}:{line}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError("is not YAML: an unreadable character, or nested too deeply", where=f"{name}:1") from error
    if node is None:
        raise ConfigError("is empty" if len(text) <= MAX_BYTES else f"is longer than {MAX_BYTES}", where=f"{name}:1")
    value = _Builder(name, lines).value(node, ())
    try:
        return model.model_validate_json(json.dumps(value))
    except ValidationError as error:
        raise _translate(error, model, name, lines) from error


class _AliasFound(yaml.MarkedYAMLError):
    pass


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise _AliasFound(problem_mark=self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        return super().compose_node(parent, index)


class _Builder:
    def __init__(self, name: str, lines: dict[_Path, int]) -> None:
        self._name = name
        self._lines = lines

    def value(self, node: yaml.Node, path: _Path) -> Any:
        self._lines.setdefault(path, node.start_mark.line + 1)
        if len(path) > _MAX_DEPTH:
            raise self._error(node, f"is nested more than {_MAX_DEPTH} deep")
        match node:
            case yaml.MappingNode(tag="tag:yaml.org,2002:map"):
                return self._mapping(node, path)
            case yaml.SequenceNode(tag="tag:yaml.org,2002:seq"):
                return [self.value(each, (*path, index)) for index, each in enumerate(node.value)]
            case yaml.ScalarNode():
                return self._scalar(node)
        raise self._error(node, f"the tag {node.tag} is not read here")

    def _mapping(self, node: yaml.MappingNode, path: _Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != "tag:yaml.org,2002:str":
                raise self._error(key_node, "a key is no text", "put it into quotes")
            key = str(self._scalar(key_node))
            if key in result:
                first = self._lines[(*path, key)]
                raise self._error(key_node, f"the key {key[:100]!r} is there already, in line {first}")
            self._lines[(*path, key)] = key_node.start_mark.line + 1
            result[key] = self.value(value_node, (*path, key))
        return result

    def _scalar(self, node: yaml.ScalarNode) -> str | int | float | bool | None:
        text: str = node.value
        if _UNSTORABLE.search(text):
            raise self._error(node, "has half of a surrogate pair")
        match node.tag.rpartition(":")[2]:
            case "str" | "timestamp":
                return text
            case "null":
                return None
            case "bool" if text.lower() in ("true", "false"):
                return text.lower() == "true"
            case "int" if _INTEGER.fullmatch(text):
                return int(text)
            case "float" if _FLOAT.fullmatch(text):
                return float(text)
        raise self._error(node, f"{text[:40]!r} can be read in more than one way", "put a text into quotes")

    def _error(self, node: yaml.Node, message: str, hint: str = "") -> ConfigError:
        return ConfigError(message, where=f"{self._name}:{node.start_mark.line + 1}", hint=hint)


def _translate(error: ValidationError, model: type[BaseModel], name: str, lines: Mapping[_Path, int]) -> ConfigError:
    problems = []
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        path = tuple(part for part in each["loc"] if part != "[key]")
        at = path
        while at and at not in lines:
            at = at[:-1]
        key = ".".join(map(str, at))
        hint = ""
        if each["type"] == "extra_forbidden":
            known = _known_keys(model, path[:-1])
            near = difflib.get_close_matches(str(path[-1]), known, n=1)
            message = f"there is no key {str(path[-1])[:100]!r}" + (
                f" in {'.'.join(map(str, path[:-1]))}" if path[:-1] else ""
            )
            hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
        elif each["type"] == "missing":
            message = f"{'.'.join(map(str, path))} is missing"
        elif each["type"] == "frozen_set_type":
            message = f"{key}: write a list"
        else:
            message = f"{key}: {each['msg'].removeprefix('Value error, ')}" if key else each["msg"]
        # A key that is not known first: what is missing may be what it was to say.
        problems.append((each["type"] != "extra_forbidden", lines.get(at, 1), message, hint))
    problems.sort(key=lambda problem: problem[:2])
    (_, line, message, hint), *others = problems
    for _, other_line, other, other_hint in others[:_SHOWN]:
        message += f"\n{name}:{other_line}: {other}" + (f" ({other_hint})" if other_hint else "")
    if len(others) > _SHOWN:
        message += f"\nand {len(others) - _SHOWN} more"
    return ConfigError(message, where=f"{name}:{line}", hint=hint)


def _known_keys(model: type[BaseModel], path: _Path) -> list[str]:
    """The keys of the model at a path; none where the path leads to something else."""
    current: Any = model
    for part in path:
        current = _model_within(current)
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = current.model_fields.get(str(part))
            current = field.annotation if field else None
        else:
            # A mapping or a list: the last argument is what its values are.
            arguments = get_args(current)
            current = arguments[-1] if arguments else None
    current = _model_within(current)
    return sorted(current.model_fields) if isinstance(current, type) and issubclass(current, BaseModel) else []


def _model_within(annotation: Any) -> Any:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        return next((_model_within(each) for each in get_args(annotation) if each is not type(None)), None)
    return annotation

"""Parses types, functions and resources of WIT."""

from __future__ import annotations

from typing import TypeVar

from dataflare.wit.model import (
    PRIMITIVES,
    Alias,
    Borrow,
    Case,
    Enum,
    Flags,
    Function,
    Gate,
    ListOf,
    Named,
    OptionOf,
    Own,
    Parameter,
    Position,
    Primitive,
    Record,
    RecordField,
    Resource,
    ResultOf,
    TupleOf,
    Type,
    TypeDefinition,
    Variant,
    WitError,
    uniqueness,
)
from dataflare.wit.token_reader import ASYNCHRONOUS, TokenReader

__all__ = ["TypeParser", "unique"]

_MAX_DEPTH = 100
_MAX_FLAGS = 32
_MAX_LIST_LENGTH = 2**32 - 1


class TypeParser(TokenReader):
    """A recursive-descent parser for the content of interfaces and worlds."""

    # Functions.

    def _function(self, name: str, kind: str, docs: str, gate: Gate, position: Position) -> Function:
        if self._at("async"):
            raise self._asynchronous()
        self._expect("func")
        parameters = self._parameters()
        result = self._type() if self._take("->") else None
        return Function(
            name=name, parameters=parameters, result=result, kind=kind, docs=docs, gate=gate, position=position
        )

    def _parameters(self) -> tuple[Parameter, ...]:
        self._expect("(")

        def parameter() -> Parameter:
            position = self._token.position
            name = self._name("a parameter's name")
            self._expect(":")
            return Parameter(name=name, type=self._type(), position=position)

        return unique(self._list(")", parameter), "parameter")

    # Types.

    def _type_definition(self, docs: str, gate: Gate) -> TypeDefinition:
        keyword = self._advance()
        position = self._token.position
        name = self._name(f"the name of the {keyword.text}")
        match keyword.text:
            case "type":
                self._expect("=")
                aliased = self._type()
                self._expect(";")
                return Alias(name=name, type=aliased, docs=docs, gate=gate, position=position)
            case "resource":
                functions = () if self._take(";") else self._resource_body()
                for function in functions:
                    if uniqueness(function.name) == uniqueness(name):
                        raise WitError(f"`{name}` is the resource's own name", position=function.position)
                return Resource(name=name, functions=functions, docs=docs, gate=gate, position=position)
            case "record":
                self._expect("{")
                fields = unique(self._list("}", self._record_field), "field")
                return Record(name=name, fields=fields, docs=docs, gate=gate, position=position)
        self._expect("{")
        carries = keyword.text == "variant"
        noun = "flag" if keyword.text == "flags" else "case"
        listed = self._list("}", lambda: self._case(carries))
        if not listed and keyword.text != "flags":
            raise WitError(f"at least a {noun} is needed", position=position)
        cases = unique(listed, noun)
        if keyword.text == "variant":
            return Variant(name=name, cases=cases, docs=docs, gate=gate, position=position)
        if keyword.text == "enum":
            return Enum(name=name, cases=cases, docs=docs, gate=gate, position=position)
        if len(cases) > _MAX_FLAGS:
            raise WitError(f"{len(cases)} flags, more than {_MAX_FLAGS}", position=position)
        return Flags(name=name, flags=cases, docs=docs, gate=gate, position=position)

    def _record_field(self) -> RecordField:
        start = self._token
        name = self._name("a field's name")
        self._expect(":")
        return RecordField(name=name, type=self._type(), docs=start.docs, position=start.position)

    def _case(self, carries: bool) -> Case:
        start = self._token
        name = self._name("a case's name")
        payload: Type | None = None
        if carries and self._take("("):
            payload = self._type()
            self._expect(")")
        return Case(name=name, payload=payload, docs=start.docs, position=start.position)

    def _resource_body(self) -> tuple[Function, ...]:
        functions: list[Function] = []
        self._expect("{")
        while not self._take("}"):
            item_docs, gate = self._preamble()
            position = self._token.position
            if self._take("constructor"):
                parameters = self._parameters()
                result = self._type() if self._take("->") else None
                functions.append(
                    Function(
                        name="constructor",
                        parameters=parameters,
                        result=result,
                        kind="constructor",
                        docs=item_docs,
                        gate=gate,
                        position=position,
                    )
                )
            else:
                name = self._name("`constructor`, a method's name or `}`")
                self._expect(":")
                kind = "static" if self._take("static") else "method"
                functions.append(self._function(name, kind, item_docs, gate, position))
            self._expect(";")
        return unique(tuple(functions), "function")

    def _type(self, depth: int = 0) -> Type:
        token = self._token
        if depth > _MAX_DEPTH:
            raise WitError(f"types are nested more than {_MAX_DEPTH} deep", position=token.position)
        if token.kind == "name":
            self._advance()
            if token.text == "map" and self._at("<"):
                raise WitError(
                    "`map` is not supported", position=token.position, hint="use a list of tuples: list<tuple<K, V>>"
                )
            return Named(token.text, position=token.position)
        if token.kind != "keyword":
            raise self._unexpected("a type")
        if token.text in PRIMITIVES:
            self._advance()
            return Primitive(token.text)
        if token.text in ASYNCHRONOUS:
            raise self._asynchronous()
        match self._advance().text:
            case "list":
                self._expect("<")
                element = self._type(depth + 1)
                length = self._list_length() if self._take(",") else None
                self._expect(">")
                return ListOf(element, length)
            case "option":
                self._expect("<")
                some = self._type(depth + 1)
                self._expect(">")
                return OptionOf(some)
            case "tuple":
                self._expect("<")
                return TupleOf(self._list(">", lambda: self._type(depth + 1)))
            case "result":
                return self._result(depth)
            case "borrow" | "own" as kind:
                self._expect("<")
                at = self._token.position
                resource = Named(self._name("a resource's name"), position=at)
                self._expect(">")
                return Borrow(resource) if kind == "borrow" else Own(resource)
        raise self._unexpected("a type", token)

    def _result(self, depth: int) -> ResultOf:
        if not self._take("<"):
            return ResultOf()
        at = self._token.position
        ok = None if self._take("_") else self._type(depth + 1)
        error = self._type(depth + 1) if self._take(",") else None
        self._expect(">")
        if ok is None and error is None:
            raise WitError("`result<_>` says nothing", position=at, hint="write `result`")
        return ResultOf(ok, error)

    def _list_length(self) -> int:
        token = self._kind("integer", "a length")
        if len(token.text) > 10 or not 0 < int(token.text) <= _MAX_LIST_LENGTH:
            raise WitError(f"a list's length is 1 to {_MAX_LIST_LENGTH}", position=token.position)
        return int(token.text)


_Member = TypeVar("_Member", Parameter, RecordField, Case, Function)


def unique(members: tuple[_Member, ...], noun: str) -> tuple[_Member, ...]:
    seen: set[str] = set()
    for member in members:
        if uniqueness(member.name) in seen:
            raise WitError(f"the {noun} `{member.name}` is there twice", position=member.position)
        seen.add(uniqueness(member.name))
    return members

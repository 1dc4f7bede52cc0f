from __future__ import annotations

import time
from typing import Annotated, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Discriminator, Field, Tag

from dataflare.documents import reader
from dataflare.documents.models import Frozen, FrozenSet, StrictModel, validate_document
from dataflare.documents.reader import Document, parse_document
from dataflare.errors import ConfigError
from dataflare.pipeline.specification import parse_specification
from dataflare.security.access import Access
from dataflare.security.policy import Policy
from dataflare.security.trust import TrustPolicy


class Cat(StrictModel):
    lives: int


class Dog(StrictModel):
    tricks: FrozenSet[str] = frozenset()


Pet = Annotated[
    Annotated[Cat, Tag("|cat")] | Annotated[Dog, Tag("|dog")],
    Discriminator(lambda value: "|cat" if "lives" in value else "|dog"),
]


class House(StrictModel):
    version: Literal[1]
    pets: Frozen[str, Pet] = Field(default_factory=dict)
    rooms: list[Cat] = Field(default=[])
    secrets: dict[str, int] = Field(default={})


def refused(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        validate_document(parse_document(text, name="house.yaml"), House)
    return caught.value


@pytest.mark.parametrize(
    ("text", "line", "words", "hint"),
    [
        ("version: 1\npets:\n  tom:\n    lives: 9\n    livs: 8\n", 5, "pets.tom.livs: unknown key", "'lives'"),
        ("version: 1\npets:\n  rex:\n    trick: [sit]\n", 4, "pets.rex.trick: unknown key", "'tricks'"),
        ("version: 1\npets:\n  rex: {tricks: sit}\n", 3, "pets.rex.tricks: give a list, not 'sit'", ""),
        ("version: 1\nrooms:\n- lives: 1\n- live: 1\n", 4, "rooms.1.live: unknown key", "'lives'"),
        ("version: 1\nrooms:\n- lives: 1\n- {}\n", 4, "rooms.1.lives is missing", ""),
        ("version: 1\nrooms:\n- lives: true\n", 3, "rooms.0.lives: give a whole number, not true", ""),
        ("pets: {}\n", 1, "version is missing", ""),
        ("versoin: 1\n", 1, "versoin: unknown key", "'version'"),
        ("- 1\n", 1, "give a mapping, not [1]", ""),
    ],
)
def test_a_problem_is_told_with_line_key_and_hint(text, line, words, hint):
    error = refused(text)
    assert error.where == f"house.yaml:{line}"
    assert words in error.message
    assert hint in error.hint


def test_what_is_missing_beside_an_unknown_key_is_not_told():
    assert refused("versoin: 1\n").message == "house.yaml:1: versoin: unknown key"


def test_six_problems_are_told_in_the_order_of_lines_and_the_rest_is_counted():
    lines = refused("version: 1\n" + "".join(f"k{number}: 1\n" for number in range(9))).message.splitlines()
    assert lines[0] == "house.yaml:2: k0: unknown key"
    assert [line.partition(": ")[0] for line in lines[:6]] == [f"house.yaml:{number}" for number in range(2, 8)]
    assert lines[6:] == ["and 3 more"]


def test_a_value_below_secrets_is_never_shown():
    error = refused("version: 1\nsecrets: {api: S3CR3T!}\n")
    assert "give a whole number, not this" in error.message
    assert "S3CR3T" not in str(error)


def test_a_value_of_a_program_is_named_by_its_keys():
    with pytest.raises(ConfigError) as caught:
        validate_document(Document("house", {"version": 1, "rooms": [{"lives": "x"}]}, {}), House)
    assert caught.value.where == "house: rooms.0.lives"
    assert caught.value.message == "house: rooms.0.lives: give a whole number, not 'x'"


PARSERS = {
    "pipeline": lambda text: parse_specification(text, file="x.yaml"),
    "policy": lambda text: Policy.parse(text, source="x.yaml"),
    "trust": lambda text: TrustPolicy.parse(text, source="x.yaml"),
    "access": lambda text: Access.parse(text, source="x.yaml"),
}


@pytest.mark.parametrize("kind", PARSERS)
@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("", 1, "is empty"),
        ("a: 1\na: 2\n", 2, "is there twice"),
        ("a: &x 1\n", 1, "the anchor &x"),
        ("a: *x\n", 1, "the alias *x"),
        ("a: !!str x\n", 1, "the tag"),
        ("a: 017\n", 1, "more than one way"),
        ("a:\n  b: .inf\n", 2, "JSON does not have"),
        ("[" * 40 + "]" * 40, 1, "deeper than 32"),
        ("a: 1\n---\nb: 1\n", 2, "a second document"),
        ("{a: [}\n", 1, "is not YAML"),
        ("nmae: x\n", 1, "nmae: unknown key"),
    ],
)
def test_every_kind_of_file_is_read_by_the_same_rules(kind, text, where, words):
    with pytest.raises(ConfigError) as caught:
        PARSERS[kind](text)
    assert caught.value.where == f"x.yaml:{where}"
    assert words in caught.value.message


@pytest.mark.parametrize("kind", PARSERS)
def test_a_file_of_ninety_thousand_unknown_keys_is_refused_quickly(kind):
    text = "".join(f"k{number}: 1\n" for number in range(90_000))
    began = time.process_time()
    with pytest.raises(ConfigError, match=r"and 8999\d more"):
        PARSERS[kind](text)
    assert time.process_time() - began < 6


@pytest.mark.parametrize("keys", [1_000, 10_000, 80_000])
@pytest.mark.parametrize("form", ["{key}: 1\n", "{key}: [1, 2]\n", "{key}: {{a: 1}}\n"])
def test_reading_takes_time_by_the_number_of_keys_alone(keys, form):
    text = "".join(form.format(key=f"k{number}") for number in range(keys))[: 2**20].rpartition("\n")[0]
    began = time.process_time()
    parse_document(text, name="x.yaml")
    assert time.process_time() - began < 0.5 + text.count("\n") * 200e-6


def test_roles_that_inherit_in_many_ways_are_followed_once_each():
    layers, width = 7, 40
    roles = {
        f"r{layer}-{each}": {"inherits": [f"r{layer + 1}-{other}" for other in range(width)] if layer < layers else []}
        for layer in range(layers + 1)
        for each in range(width)
    }
    text = yaml.safe_dump({"version": 1, "roles": roles})
    began = time.process_time()
    assert not Access.parse(text).allows("ann", "run", "pipelines")
    assert time.process_time() - began < 20


@given(
    st.text(st.sampled_from("ab:-[]{},|>'\"%@`#?~ \n01.\\u\U0001f600"), max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=12,
    ).map(lambda value: yaml.safe_dump(value, allow_unicode=True))
)
def test_both_parsers_read_the_same_value_wherever_both_read_one(text):
    found = []
    for loader in (yaml.SafeLoader, yaml.CSafeLoader):
        try:
            found.append(reader._Parser(text, "x.yaml", None, loader).parse().value)
        except (ConfigError, yaml.YAMLError, ValueError, OverflowError):
            return
    assert found[0] == found[1]

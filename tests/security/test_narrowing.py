"""What is granted beside a policy only takes away from it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.errors import PermissionDenied
from dataflare.grants import DirectoryGrant, Grants, HttpGrant
from dataflare.limits import Limits
from dataflare.request_headers import SAFE_HEADERS
from dataflare.security.capability import capabilities_of
from dataflare.security.narrowing import narrowed_grants, narrowed_limits

ORIGIN = "https://api.example.com"
NAMES = st.sampled_from(["a", "b", "c"])
METHODS = st.frozensets(st.sampled_from(["GET", "POST", "PUT"]), min_size=1)
DIRECTORIES = st.sampled_from([Path("/data"), Path("/data/inner"), Path("/other")])
ACCESSES = st.sampled_from(["read", "write"])
GRANTS = st.builds(
    Grants,
    files=st.dictionaries(NAMES, st.builds(DirectoryGrant, path=DIRECTORIES, access=ACCESSES)),
    state=st.booleans(),
    metrics=st.booleans(),
    clock=st.booleans(),
    random=st.booleans(),
    tasks=st.booleans(),
    secrets=st.frozensets(NAMES),
    plugins=st.frozensets(NAMES),
    shared=st.dictionaries(NAMES, ACCESSES),
    http=st.dictionaries(
        st.sampled_from([ORIGIN, "http://b.example"]),
        st.builds(
            HttpGrant,
            methods=METHODS,
            request_headers=st.one_of(st.just("any"), st.just(frozenset({"accept", "x-trace"}))),
            secrets=st.dictionaries(st.just("x-key"), NAMES),
            addresses=st.frozensets(st.sampled_from(["10.0.0.7", "10.0.0.0/8"])),
            burst=st.integers(1, 50),
        ),
    ),
)


def narrow(allowed: Grants, wanted: Grants) -> Grants:
    return narrowed_grants(allowed, wanted, plugin="p", source="policy.yaml")


@given(GRANTS)
def test_all_that_is_allowed_can_be_wanted(grants: Grants) -> None:
    assert narrow(grants, grants) == grants


@given(GRANTS)
def test_nothing_can_always_be_wanted(grants: Grants) -> None:
    assert narrow(grants, Grants()) == Grants()


@given(GRANTS, GRANTS)
def test_what_comes_out_is_within_what_is_allowed(allowed: Grants, wanted: Grants) -> None:
    try:
        found = narrow(allowed, wanted)
    except PermissionDenied as error:
        assert error.capability and error.hint and "policy.yaml" in error.hint
        return
    assert capabilities_of(found) <= capabilities_of(allowed)
    assert capabilities_of(found) == capabilities_of(wanted)
    for name, directory in found.files.items():
        assert directory.path.is_relative_to(allowed.files[name].path)
    for origin, http in found.http.items():
        over = allowed.http[origin]
        assert http.burst <= over.burst and http.addresses <= over.addresses
        assert http.secrets.items() <= over.secrets.items()
        assert over.request_headers == "any" or (
            http.request_headers != "any" and http.request_headers <= over.request_headers
        )


def test_request_headers_and_numbers_are_cut_to_what_is_allowed() -> None:
    allowed = Grants(http={ORIGIN: HttpGrant(request_headers=frozenset({"accept", "x-trace"}), timeout_s=5)})
    found = narrow(allowed, Grants(http={ORIGIN: HttpGrant()})).http[ORIGIN]
    assert found.request_headers == {"accept"} and found.timeout_s == 5
    any_header = Grants(http={ORIGIN: HttpGrant(request_headers="any")})
    assert narrow(any_header, Grants(http={ORIGIN: HttpGrant()})).http[ORIGIN].request_headers == SAFE_HEADERS


def test_seed_makes_granted_randomness_repeat() -> None:
    assert narrow(Grants(random=True), Grants(random=True, random_seed=7)).random_seed == 7


@pytest.mark.parametrize("name", [each.name for each in dataclasses.fields(Limits)])
def test_lower_limit_holds(name: str) -> None:
    low, high = Limits(**{name: 10}), Limits(**{name: 20})  # type: ignore[arg-type]
    assert getattr(narrowed_limits(low, high), name) == getattr(narrowed_limits(high, low), name) == 10


@pytest.mark.parametrize("given_first", [True, False])
def test_limit_that_is_none_is_no_limit(given_first: bool) -> None:
    pair: Any = (Limits(fuel=5), Limits())
    assert narrowed_limits(*(pair if given_first else pair[::-1])).fuel == 5
    assert narrowed_limits(Limits(), Limits()).fuel is None

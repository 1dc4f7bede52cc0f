"""Datasets among the grants of pipelines and policies."""

from __future__ import annotations

import pytest

from dataflare.errors import ConfigError, PermissionDenied
from dataflare.grants import Grants
from dataflare.pipeline.specification import parse_specification
from dataflare.security.capability import Needs
from dataflare.security.narrowing import narrowed_grants
from dataflare.security.policy import Policy

POLICY = """
version: 1
pipelines: {nightly: {embedded: true}}
plugins:
  crm:
    grants: {datasets: {orders: [id, amount]}}
    pipelines:
      nightly: {grants: {datasets: {shop.people: any}}}
"""
ORDERS = {"orders": frozenset({"id", "amount"})}


def test_policy_grants_datasets_and_a_pipeline_more():
    policy = Policy.parse(POLICY)
    assert policy.grants_for(Needs(plugin="crm"), "").datasets == ORDERS
    assert policy.grants_for(Needs(plugin="crm"), "nightly").datasets == {**ORDERS, "shop.people": "any"}
    assert policy.grants_for(Needs(plugin="other"), "nightly").datasets is None
    assert Policy.parse(policy.to_yaml()).document == policy.document


def test_pipeline_says_what_a_node_may_read(tmp_path):
    (tmp_path / "crm.wasm").touch()
    text = "name: p\nnodes: {a: {plugin: crm.wasm, grants: {datasets: {orders: [id]}}}}"
    assert parse_specification(text, file=tmp_path / "p.yaml").grants["a"].datasets == {"orders": frozenset({"id"})}


@pytest.mark.parametrize("wrong", ["{orders: []}", "{orders: all}", "[orders]", '{"": any}', "{orders: {id: any}}"])
def test_datasets_that_are_none_are_refused_with_their_place(wrong):
    with pytest.raises(ConfigError, match="datasets"):
        Policy.parse(f"version: 1\nplugins: {{crm: {{grants: {{datasets: {wrong}}}}}}}")


@pytest.mark.parametrize(
    ("allowed", "wanted", "left"),
    [
        (None, None, None),
        (None, {"orders": "any"}, {"orders": "any"}),
        (ORDERS, None, ORDERS),
        (ORDERS, {"orders": frozenset({"id"})}, {"orders": frozenset({"id"})}),
        ({"orders": "any"}, ORDERS, ORDERS),
    ],
)
def test_datasets_are_narrowed(allowed, wanted, left):
    found = narrowed_grants(Grants(datasets=allowed), Grants(datasets=wanted), plugin="p", source="s")
    assert found.datasets == left


@pytest.mark.parametrize(
    ("wanted", "capability"),
    [
        ({"people": frozenset({"id"})}, "datasets:people"),
        ({"orders": "any"}, "datasets:orders"),
        ({"orders": frozenset({"id", "note"})}, "datasets:orders.note"),
    ],
)
def test_no_more_datasets_than_the_policy_allows(wanted, capability):
    with pytest.raises(PermissionDenied) as caught:
        narrowed_grants(Grants(datasets=ORDERS), Grants(datasets=wanted), plugin="p", source="s")
    assert caught.value.capability == capability

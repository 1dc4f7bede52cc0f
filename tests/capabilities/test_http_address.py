from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflare.capabilities.capability_failure import CapabilityFailure
from dataflare.capabilities.http_address import AddressRules, SystemResolver, is_address

REFUSED = {
    "0.0.0.0": "unspecified",
    "0.1.2.3": "unspecified",
    "10.0.0.1": "private",
    "100.64.0.1": "provider",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "169.254.1.1": "link-local",
    "169.254.169.254": "metadata",
    "169.254.170.2": "metadata",
    "100.100.100.200": "metadata",
    "168.63.129.16": "metadata",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.1": "reserved",
    "192.0.2.1": "documentation",
    "192.88.99.1": "reserved",
    "192.168.1.1": "private",
    "198.18.0.1": "benchmarks",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "reserved",
    "::": "unspecified",
    "::1": "loopback",
    "fc00::1": "private",
    "fd00:ec2::254": "metadata",
    "fe80::1": "link-local",
    "fec0::1": "private",
    "ff02::1": "multicast",
    "2001:db8::1": "documentation",
    "3fff::1": "documentation",
    "2001:2::1": "benchmarks",
    "2001:10::1": "reserved",
    "100::1": "reserved",
    "5f00::1": "reserved",
    "4000::1": "reserved",
    "::ffff:127.0.0.1": "another form of 127.0.0.1",
    "::ffff:8.8.8.8": "IPv4 address within",
    "::127.0.0.1": "another form of 127.0.0.1",
    "::8.8.8.8": "IPv4 address within",
    "2002:7f00:1::": "another form of 127.0.0.1",
    "2002:808:808::": "IPv4 address within",
    "64:ff9b::a9fe:a9fe": "another form of 169.254.169.254",
    "64:ff9b::808:808": "IPv4 address within",
    "64:ff9b:1::808:808": "reserved",
    "2001:0:808:808::f7f7:f7f7": "Teredo",
    "2001:0:808:808::80ff:fffe": "another form of 127.0.0.1",
}


@pytest.mark.parametrize("text", REFUSED)
def test_address_that_is_not_public_is_refused(text):
    with pytest.raises(CapabilityFailure, match=REFUSED[text]) as caught:
        AddressRules().check(text)
    assert caught.value.case == "denied" and "name it under the origin's `addresses`" in str(caught.value.error.value)


@pytest.mark.parametrize(
    "text", ["8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.0", "172.32.0.1", "223.255.255.255", "2606:4700::1111"]
)
def test_public_address_is_allowed(text):
    assert AddressRules().check(text) == ipaddress.ip_address(text)


@pytest.mark.parametrize("text", ["", "a.test", "127.1", "0x7f000001", "1.2.3.4/32", "fe80::1%eth0", "2606:4700::1%1"])
def test_what_is_no_plain_address_is_refused(text):
    with pytest.raises(CapabilityFailure) as caught:
        AddressRules(["fe80::/10"]).check(text)
    assert caught.value.case == "denied"


@pytest.mark.parametrize(
    ("granted", "text"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("10.1.0.0/16", "10.1.255.255"),
        ("fd00::/8", "fd12::1"),
        ("169.254.169.254", "169.254.169.254"),
        ("fd00:ec2::254", "fd00:ec2::254"),
        ("64:ff9b::/96", "64:ff9b::808:808"),
    ],
)
def test_granted_address_is_allowed(granted, text):
    assert AddressRules([granted]).check(text) == ipaddress.ip_address(text)


@pytest.mark.parametrize(
    ("granted", "text"),
    [
        ("127.0.0.1", "127.0.0.2"),
        ("10.1.0.0/16", "10.2.0.0"),
        ("127.0.0.1", "::1"),
        ("127.0.0.1", "::ffff:127.0.0.1"),
        ("169.254.0.0/16", "169.254.169.254"),
        ("fd00::/8", "fd00:ec2::254"),
        ("100.64.0.0/10", "100.100.100.200"),
        ("64:ff9b::/96", "64:ff9b::7f00:1"),
        ("64:ff9b::/96", "64:ff9b::a9fe:a9fe"),
        ("2002::/16", "2002:a00:1::"),
    ],
)
def test_grant_reaches_no_further_than_it_says(granted, text):
    with pytest.raises(CapabilityFailure):
        AddressRules([granted]).check(text)


def test_addresses_of_a_host_that_may_not_be_used_are_left_out():
    selected = AddressRules().select("a.test", ["10.0.0.1", "8.8.8.8", "::1", "2606:4700::1111"])
    assert [str(address) for address in selected] == ["8.8.8.8", "2606:4700::1111"]


@pytest.mark.parametrize("addresses", [[], ["10.0.0.1", "::1"]])
def test_host_without_an_address_that_may_be_used_is_refused(addresses):
    with pytest.raises(CapabilityFailure, match=r"a\.test") as caught:
        AddressRules().select("a.test", addresses)
    assert caught.value.case == "denied"


def test_rules_are_equal_where_the_grants_are():
    one, two = AddressRules(["10.0.0.1", "::1"]), AddressRules(["::1", "10.0.0.1/32"])
    assert (one, hash(one)) == (two, hash(two))
    assert one != AddressRules(["10.0.0.1"])


@given(st.ip_addresses(v=4))
def test_no_form_of_a_refused_ipv4_address_is_allowed(address):
    """Whatever is not public as IPv4 is not reached through IPv6, even where the form itself is granted."""
    number = int(address)
    forms = [
        ipaddress.IPv6Address(0xFFFF_0000_0000 | number),
        ipaddress.IPv6Address((0x64_FF9B << 96) | number),
        ipaddress.IPv6Address((0x2002 << 112) | (number << 80)),
    ]
    rules = AddressRules(["::ffff:0:0/96", "64:ff9b::/96", "2002::/16"])
    assert {_allows(rules, form) for form in forms} == {_allows(AddressRules(), address)}


@given(st.ip_addresses())
def test_what_python_calls_private_is_never_allowed(address):
    if _allows(AddressRules(), address):
        assert address.is_global and not address.is_multicast


def test_system_knows_its_own_name():
    assert set(SystemResolver().resolve("localhost", 80)) & {"127.0.0.1", "::1"}
    assert all(is_address(text) for text in SystemResolver().resolve("localhost", 80))


def _allows(rules, address) -> bool:
    try:
        rules.check(str(address))
    except CapabilityFailure:
        return False
    return True

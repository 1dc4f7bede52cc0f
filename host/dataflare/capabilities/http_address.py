"""The check of addresses to which the host may connect for a plugin."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import Final, Protocol

from dataflare.capabilities.capability_failure import CapabilityFailure

__all__ = ["Address", "AddressRules", "Resolver", "SystemResolver", "is_address"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Written out, since the definition of private addresses in `ipaddress` differs between versions of Python.
# https://www.iana.org/assignments/iana-ipv4-special-registry,
# https://www.iana.org/assignments/iana-ipv6-special-registry
_RANGES: Final[tuple[tuple[_Network, str], ...]] = tuple(
    (ipaddress.ip_network(text), what)
    for what, texts in (
        ("unspecified", ("0.0.0.0/8", "::/128")),
        ("loopback", ("127.0.0.0/8", "::1/128")),
        ("private", ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10")),
        ("shared by a provider's customers", ("100.64.0.0/10",)),
        ("link-local", ("169.254.0.0/16", "fe80::/10")),
        ("multicast", ("224.0.0.0/4", "ff00::/8")),
        ("for documentation", ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20")),
        ("for benchmarks", ("198.18.0.0/15", "2001:2::/48")),
        ("an IPv4 address within an IPv6 address", ("::ffff:0:0/96", "::/96", "64:ff9b::/96", "2002::/16")),
        ("a Teredo address", ("2001::/32",)),
        ("reserved", ("192.0.0.0/24", "192.88.99.0/24", "240.0.0.0/4", "64:ff9b:1::/48", "100::/64", "2001::/23")),
    )
    for text in texts
)
_GLOBAL_IPV6: Final = ipaddress.ip_network("2000::/3")
_LOW_32_BITS: Final = tuple(ipaddress.ip_network(text) for text in ("::ffff:0:0/96", "::/96", "64:ff9b::/96"))
# Metadata services of clouds, whose answers include credentials. Two of the addresses look public, or are within ranges
# that an operator may grant.
_METADATA: Final = frozenset(
    ipaddress.ip_address(text)
    for text in (
        *("169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254"),
        *("100.100.100.200", "168.63.129.16", "192.0.0.192"),
    )
)


class AddressRules:
    """The allowed addresses of one grant: public ones, and those that are granted in addition.

    Immutable; equal if the grants are equal.

    Args:
        granted: Addresses and networks that are allowed although they are not public.
    """

    __slots__ = ("_granted",)

    def __init__(self, granted: Iterable[str] = ()) -> None:
        self._granted: frozenset[_Network] = frozenset(ipaddress.ip_network(text) for text in granted)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AddressRules) and self._granted == other._granted

    def __hash__(self) -> int:
        return hash(self._granted)

    def check(self, text: str) -> Address:
        """Return the address if it is allowed.

        Raises:
            CapabilityFailure: `denied` if it is not allowed, or if the text is not an address.
        """
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            raise CapabilityFailure("denied", f"{text!r} is not an address") from None
        if getattr(address, "scope_id", None) is not None:
            raise CapabilityFailure("denied", f"{text} is bound to a network interface")
        if (what := self._refusal(address)) is not None:
            raise CapabilityFailure(
                "denied", f"the address {address} is {what}, and not granted: name it under the origin's `addresses`"
            )
        return address

    def select(self, host: str, addresses: Iterable[str]) -> list[Address]:
        """Return the allowed addresses of a host, in their order.

        Raises:
            CapabilityFailure: `denied` if none is allowed.
        """
        allowed: list[Address] = []
        refusal: CapabilityFailure | None = None
        for text in addresses:
            try:
                allowed.append(self.check(text))
            except CapabilityFailure as failure:
                refusal = refusal or failure
        if not allowed:
            raise CapabilityFailure("denied", f"{host}: {refusal.error.value if refusal else 'it has no address'}")
        return allowed

    def _refusal(self, address: Address) -> str | None:
        if address in _METADATA:
            return None if self._is_named(address) else "a cloud's metadata service"
        embedded = _embedded(address)
        for inner in embedded:
            if (what := self._refusal(inner)) is not None:
                return f"another form of {inner}, which is {what}"
        if any(address.version == network.version and address in network for network in self._granted):
            return None
        for network, what in _RANGES:
            if address.version == network.version and address in network:
                return what
        return None if address.version == 4 or address in _GLOBAL_IPV6 else "reserved"

    def _is_named(self, address: Address) -> bool:
        return ipaddress.ip_network(address) in self._granted


class Resolver(Protocol):
    """Finds a host's addresses. Any thread may use it."""

    def resolve(self, host: str, port: int) -> list[str]:
        """Return addresses as text, the best first.

        Raises:
            OSError: The host is not known, or no name server answers.
        """


class SystemResolver:
    """The operating system's resolver, with its `hosts` file and search domains."""

    def resolve(self, host: str, port: int) -> list[str]:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_address(text: str) -> bool:
    """Whether a text is an address and not a name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _embedded(address: Address) -> tuple[ipaddress.IPv4Address, ...]:
    """Return the IPv4 addresses to which packets for an IPv6 address may be forwarded."""
    if isinstance(address, ipaddress.IPv4Address):
        return ()
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return address.teredo
    if int(address) > 1 and any(address in network for network in _LOW_32_BITS):
        return (ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF),)
    return ()

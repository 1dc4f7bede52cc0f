"""What the operator of a pipeline allows one plugin."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

from dataflare.errors import ConfigError
from dataflare.interfaces import SWITCHES
from dataflare.limits import refuse_text
from dataflare.request_headers import SAFE_HEADERS, is_reserved_header

__all__ = [
    "ANY_METHODS",
    "Access",
    "DatasetGrants",
    "DirectoryGrant",
    "Grants",
    "HttpGrant",
    "Origin",
    "normal_host",
    "switched",
]

ANY_METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
"""What `methods: any` stands for."""

Access: TypeAlias = Literal["read", "write"]
"""What may be done with a directory or a shared batch; `write` includes reading."""

DatasetGrants: TypeAlias = Mapping[str, frozenset[str] | Literal["any"]]
"""Columns by the name of a dataset (`NAMESPACE.NAME` if it has a namespace); `any` stands for all of them."""

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]{1,128}")
_METHOD = re.compile(r"[A-Z][A-Z-]{0,31}")
_SECRET_TEXT = re.compile(r"([\x20-\x7a|~]*)\{([a-z][a-z0-9_-]{0,63})\}([\x20-\x7a|~]*)")
_ORIGIN = re.compile(r"(https?)://(\[[^\[\]/@?#]*\]|[^\[\]/:@?#]*)(?::([0-9]{1,5}))?", re.ASCII | re.IGNORECASE)
_HOST_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_NUMBER_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORTS = {"http": 80, "https": 443}
_OWN_FIELDS = ("state", "metrics", "clock", "random", "tasks")
_OTHERS = frozenset(SWITCHES) - frozenset(_OWN_FIELDS)
_SEED_LIMIT = 2**64
_MAX_U32 = 2**32 - 1


@dataclass(frozen=True, slots=True, init=False)
class DirectoryGrant:
    """One directory that a plugin may use through `files`.

    Args:
        path: The directory; kept absolute, its symbolic links resolved. It must exist when the plugin is loaded.
        access: Whether files in it may only be read (`"read"`), or also created, replaced and deleted (`"write"`).

    Raises:
        ConfigError: The path cannot be used or resolved, or there is no such access.
    """

    path: Path
    access: Access = "read"

    def __init__(self, *, path: str | os.PathLike[str], access: Access = "read") -> None:
        try:
            if not str(path):
                raise ValueError("the path is empty")
            resolved = Path(path).resolve()
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise ConfigError(f"{path!r} is not a usable path: {error}", where="grants.files") from error
        _check_access(access, "grants.files.access")
        object.__setattr__(self, "path", resolved)
        object.__setattr__(self, "access", access)

    @property
    def writable(self) -> bool:
        """Whether files in it may be made, replaced and deleted."""
        return self.access == "write"


def normal_host(text: str) -> str:
    """Return a host as origins write it: a name in lower case, an IPv4 address, or an IPv6 address in brackets.

    A name is in ASCII (`xn--` for others). What only looks like an address (`127.1`, `0x7f000001`) is refused, since
    systems read it as one.

    Raises:
        ValueError: It is not a host.
    """
    if text.startswith("["):
        if not text.endswith("]") or "%" in text:
            raise ValueError(f"{text!r} is not an IPv6 address")
        return f"[{ipaddress.IPv6Address(text[1:-1])}]"
    host = text.lower()
    # First, since lower() makes a plain k of the Kelvin sign.
    if not text.isascii() or len(host) > 253 or _HOST_NAME.fullmatch(host) is None:
        raise ValueError(f"{text!r} is not a host name in ASCII")
    if _NUMBER_LABEL.fullmatch(host.rpartition(".")[2]) is not None:
        return str(ipaddress.IPv4Address(host))
    return host


@dataclass(frozen=True, slots=True)
class Origin:
    """A scheme, a host as `normal_host` writes it, and a port. Its text has the port where it is not the scheme's."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Origin:
        """Read `https://api.example.com` or `http://10.0.0.7:8080`; nothing may follow the port.

        Raises:
            ValueError: It is not an origin.
        """
        match = _ORIGIN.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not of the form https://host or https://host:port")
        scheme = match[1].lower()
        port = int(match[3]) if match[3] else _PORTS[scheme]
        if not 1 <= port <= 65_535:
            raise ValueError(f"{text!r} has the port {port}, not one of 1 to 65535")
        return cls(scheme, normal_host(match[2]), port)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """Host and port as the header `host` has them."""
        return self.host if self.port == _PORTS[self.scheme] else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpGrant:
    """What a plugin may do at one origin.

    Args:
        methods: Methods, in capitals. `CONNECT` and `TRACE` cannot be granted.
        request_headers: Headers that the plugin may send, in lower case. `"any"` stands for all but the reserved ones
            (`is_reserved_header`), those of `secrets`, and those from which servers take another method, host, path or
            client (`is_override_header`): a header only reaches the granted origin, so this word grants nothing that
            the origin does not check itself.
        secrets: Headers that the host adds to each request, and what they hold: a secret's name, or a text with one
            secret's name in braces, such as `Bearer {api-token}`. The plugin never sees the secret, which is in
            `DATAFLARE_SECRET_API_TOKEN`, or in the host's own store.
        addresses: Addresses or networks (`10.1.0.0/16`) that the host may connect to although they are not public. A
            cloud's metadata address must be listed individually: no network covers it.
        max_request_bytes: The largest body of a request, in bytes, 0 to 2**32 - 1.
        max_response_bytes: The largest body of a response, in bytes, as it comes and decompressed, 0 to 2**32 - 1.
        max_redirects: How many redirects in a row the host follows, each checked like a request, 0 to 20. With 0 the
            plugin gets the redirect itself.
        timeout_s: Wall seconds from the request to the end of its response, redirects included, in (0, 3600].
        requests_per_s: Requests per second on average, in (0, 100000].
        burst: The largest burst of requests, at least 1.

    Raises:
        ConfigError: A value is out of its form or range.
    """

    methods: frozenset[str] = frozenset({"GET", "HEAD"})
    request_headers: frozenset[str] | Literal["any"] = SAFE_HEADERS
    secrets: Mapping[str, str] = field(default_factory=dict)
    addresses: frozenset[str] = frozenset()
    max_request_bytes: int = 2**20
    max_response_bytes: int = 16 * 2**20
    max_redirects: int = 5
    timeout_s: float = 30.0
    requests_per_s: float = 10.0
    burst: int = 20

    def __post_init__(self) -> None:
        where = "grants.http"
        methods = _texts(self.methods, _METHOD, f"{where}.methods", "a method in capitals")
        if not methods or methods & {"CONNECT", "TRACE"}:
            raise ConfigError(
                "CONNECT and TRACE cannot be granted" if methods else "no method is granted", where=f"{where}.methods"
            )
        object.__setattr__(self, "methods", methods)
        if self.request_headers != "any":
            headers = _texts(self.request_headers, _HEADER, f"{where}.request_headers", "a header's name in lower case")
            for name in sorted(filter(is_reserved_header, headers)):
                raise ConfigError(f"{name!r} is the host's own", where=f"{where}.request_headers")
            object.__setattr__(self, "request_headers", headers)
        self._check_secrets(f"{where}.secrets")
        self._check_addresses(f"{where}.addresses")
        for name, low, high in (
            ("max_request_bytes", 0, _MAX_U32),
            ("max_response_bytes", 0, _MAX_U32),
            ("max_redirects", 0, 20),
            ("burst", 1, _MAX_U32),
        ):
            value = getattr(self, name)
            refuse_text(value, f"{where}.{name}")
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ConfigError(f"{value!r} is not a whole number of {low} to {high}", where=f"{where}.{name}")
        for name, most in (("timeout_s", 3600), ("requests_per_s", 100_000)):
            value = getattr(self, name)
            refuse_text(value, f"{where}.{name}")
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
                raise ConfigError(f"{value!r} is not in (0, {most}]", where=f"{where}.{name}")

    @property
    def injected(self) -> Mapping[str, tuple[str, str, str]]:
        """The headers of `secrets`: the text before the secret, the secret's name, and the text after it."""
        return {header: _split_secret(text) for header, text in self.secrets.items()}

    def _check_secrets(self, where: str) -> None:
        if not isinstance(self.secrets, Mapping):
            raise ConfigError(f"{self.secrets!r} does not map headers to secrets", where=where)
        for header, text in self.secrets.items():
            if not isinstance(header, str) or _HEADER.fullmatch(header) is None or is_reserved_header(header):
                raise ConfigError(f"{header!r} is not a header in lower case that can be added", where=where)
            if not isinstance(text, str) or (_NAME.fullmatch(text) is None and _SECRET_TEXT.fullmatch(text) is None):
                # The text is not shown: somebody may have written the secret itself there.
                raise ConfigError(
                    "the value is neither a secret's name nor a text with one name in braces",
                    where=f"{where}.{header}",
                    hint="write `api-token` or `Bearer {api-token}`, and keep the secret itself in the store",
                )
        object.__setattr__(self, "secrets", MappingProxyType(dict(self.secrets)))

    def _check_addresses(self, where: str) -> None:
        networks = set()
        for text in _texts(self.addresses, None, where, "an address"):
            try:
                network = ipaddress.ip_network(text)
            except ValueError as error:
                raise ConfigError(str(error), where=where, hint="write 10.0.0.7, 10.1.0.0/16 or fd00::/64") from error
            if network.prefixlen == 0:
                raise ConfigError(f"{text} is every address", where=where, hint="name those that are meant")
            networks.add(str(network))
        object.__setattr__(self, "addresses", frozenset(networks))


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """What one plugin may use; nothing by default.

    Args:
        files: Directories by the name that the plugin uses for them, `[a-z][a-z0-9_-]{0,63}`. Empty: `files` is not
            granted.
        state: A key-value store of its own.
        metrics: Counters, gauges and histograms.
        clock: The time.
        random: Random bytes.
        random_seed: Derives the random bytes from this seed, 0 to 2**64 - 1, for repeatable runs; needs `random`.
        http: Origins that the host may make requests to, as `str(Origin)` writes them. Empty: `http` is not granted.
        secrets: Names of secrets, `[a-z][a-z0-9_-]{0,63}`, that the plugin may hold itself; those of `http` are not
            among them unless they are named here too.
        plugins: Names of plugins of the pipeline that it may call.
        shared: Names of shared batches, and whether it may only `"read"` one, or `"write"` it, which includes reading.
        tasks: Progress and cancellation.
        others: Short names of other host interfaces that are granted as a whole.
        datasets: The datasets that a source or a destination may read or write, and their columns. `None` allows all.

    Raises:
        ConfigError: A name or a value is out of its form or range.
    """

    files: Mapping[str, DirectoryGrant] = field(default_factory=dict)
    state: bool = False
    metrics: bool = False
    clock: bool = False
    random: bool = False
    random_seed: int | None = None
    http: Mapping[str, HttpGrant] = field(default_factory=dict)
    secrets: frozenset[str] = frozenset()
    plugins: frozenset[str] = frozenset()
    shared: Mapping[str, Access] = field(default_factory=dict)
    tasks: bool = False
    others: frozenset[str] = frozenset()
    datasets: DatasetGrants | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.files, Mapping):
            raise ConfigError(f"{self.files!r} does not map names to directories", where="grants.files")
        for name, grant in self.files.items():
            if not isinstance(name, str) or _NAME.fullmatch(name) is None:
                raise ConfigError(
                    f"{name!r} is not of the form [a-z][a-z0-9_-]{{0,63}}",
                    where="grants.files",
                    hint="the name is what the plugin writes before the first `/` of a path",
                )
            if not isinstance(grant, DirectoryGrant):
                raise ConfigError(f"{grant!r} is not a DirectoryGrant", where=f"grants.files.{name}")
        for flag in _OWN_FIELDS:
            if not isinstance(getattr(self, flag), bool):
                raise ConfigError(f"{getattr(self, flag)!r} is neither true nor false", where=f"grants.{flag}")
        if self.random_seed is not None:
            if isinstance(self.random_seed, bool) or not isinstance(self.random_seed, int):
                raise ConfigError(f"{self.random_seed!r} is not a whole number", where="grants.random_seed")
            if not 0 <= self.random_seed < _SEED_LIMIT:
                raise ConfigError(f"{self.random_seed} is not in 0 to 2**64 - 1", where="grants.random_seed")
            if not self.random:
                raise ConfigError(
                    "a seed has no effect without random", where="grants.random_seed", hint="add random: true"
                )
        self._check_http()
        self._check_shared()
        self._check_datasets()
        form = f"one of {', '.join(sorted(_OTHERS)) or 'those, since this host has none'}"
        object.__setattr__(self, "others", _texts(self.others, None, "grants.others", form))
        for name in sorted(self.others - _OTHERS):
            raise ConfigError(f"{name!r} is not {form}", where="grants.others")
        for name in ("secrets", "plugins"):
            form = "a name of the form [a-z][a-z0-9_-]{0,63}"
            object.__setattr__(self, name, _texts(getattr(self, name), _NAME, f"grants.{name}", form))
        # A copy behind a read-only view: what was checked stays what is used.
        for name in ("files", "http", "shared"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def _check_http(self) -> None:
        if not isinstance(self.http, Mapping):
            raise ConfigError(f"{self.http!r} does not map origins to grants", where="grants.http")
        for text, grant in self.http.items():
            try:
                origin = str(Origin.parse(text))
            except (TypeError, ValueError) as error:
                raise ConfigError(
                    str(error), where="grants.http", hint="name each origin; there is no wildcard"
                ) from error
            if origin != text:
                raise ConfigError(f"{text!r} is not the normal form", where="grants.http", hint=f"write {origin!r}")
            if not isinstance(grant, HttpGrant):
                raise ConfigError(f"{grant!r} is not an HttpGrant", where=f"grants.http.{text}")

    def _check_shared(self) -> None:
        if not isinstance(self.shared, Mapping):
            raise ConfigError(f"{self.shared!r} does not map names to read or write", where="grants.shared")
        _texts(self.shared, _NAME, "grants.shared", "a name of the form [a-z][a-z0-9_-]{0,63}")
        for name, access in self.shared.items():
            _check_access(access, f"grants.shared.{name}")

    def _check_datasets(self) -> None:
        if self.datasets is None:
            return
        if not isinstance(self.datasets, Mapping):
            raise ConfigError(f"{self.datasets!r} does not map datasets to columns", where="grants.datasets")
        checked: dict[str, frozenset[str] | Literal["any"]] = {}
        for name in _texts(self.datasets, None, "grants.datasets", "the name of a dataset"):
            columns, where = self.datasets[name], f"grants.datasets.{name}"
            if not name or not columns:
                raise ConfigError("the name is empty, or no column is granted", where=where)
            checked[name] = "any" if columns == "any" else _texts(columns, None, where, "the name of a column")
        object.__setattr__(self, "datasets", MappingProxyType(checked))

    @property
    def capabilities(self) -> frozenset[str]:
        """The short names of the granted interfaces of `dataflare:host`, such as `files`."""
        return self.others | {name for name in (*_OWN_FIELDS, *_COLLECTIONS) if getattr(self, name)}


_COLLECTIONS = ("files", "http", "secrets", "plugins", "shared")


def switched(names: Iterable[str]) -> dict[str, Any]:
    """Make the arguments of `Grants` for interfaces that are granted as a whole, by short name."""
    wanted = frozenset(names)
    own = {name: True for name in _OWN_FIELDS if name in wanted}
    return {**own, "others": wanted - own.keys()}


def _check_access(access: Any, where: str) -> None:
    if access not in ("read", "write"):
        raise ConfigError(f"{access!r} is neither 'read' nor 'write'", where=where)


def _texts(values: Any, form: re.Pattern[str] | None, where: str, what: str) -> frozenset[str]:
    # A text is a collection of its letters too, which is never what is meant.
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ConfigError(f"{values!r} is not a list", where=where)
    texts = tuple(values)
    for text in texts:
        if not isinstance(text, str) or (form is not None and form.fullmatch(text) is None):
            raise ConfigError(f"{text!r} is not {what}", where=where)
    return frozenset(texts)


def _split_secret(text: str) -> tuple[str, str, str]:
    match = _SECRET_TEXT.fullmatch(text)
    return ("", text, "") if match is None else (match[1], match[2], match[3])

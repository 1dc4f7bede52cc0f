"""Narrows a policy by the grants and limits of a pipeline or a caller, which can never add to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from dataflare.errors import PermissionDenied
from dataflare.grants import DatasetGrants, Grants, HttpGrant
from dataflare.interfaces import SWITCHES
from dataflare.limits import LIMITS, Limits, lower
from dataflare.request_headers import is_override_header

__all__ = ["dataset_excess", "narrowed_grants", "narrowed_limits"]

_CEILINGS: Final = (
    "max_request_bytes",
    "max_response_bytes",
    "max_redirects",
    "timeout_s",
    "requests_per_s",
    "burst",
)


def narrowed_grants(allowed: Grants, wanted: Grants, *, plugin: str, source: str) -> Grants:
    """Return the narrowed grants, if the policy allows all of them.

    Everything that is named (a directory, an origin, a method, a secret) must be allowed. Numbers and request headers
    are reduced to what is allowed, since they have default values that nobody wrote.

    Args:
        allowed: What the policy gives.
        wanted: The grants of the pipeline or the caller.
        plugin: The plugin's name, for the error.
        source: The policy's file, for the error.

    Raises:
        PermissionDenied: The grants exceed the policy; `capability` is the first that does.
    """
    excess = sorted(_excess(allowed, wanted))
    if excess:
        raise PermissionDenied(
            f"these are granted to it beside the policy, which does not allow them: {', '.join(excess)}",
            plugin=plugin,
            capability=excess[0],
            hint=f"add them to the plugin's grants in {source}, or leave them out: a policy can only be narrowed",
        )
    http = {origin: _narrowed_http(allowed.http[origin], each) for origin, each in wanted.http.items()}
    # The policy's seed wins, so that runs that it makes repeatable stay so.
    seed = allowed.random_seed if wanted.random and allowed.random_seed is not None else wanted.random_seed
    datasets = allowed.datasets if wanted.datasets is None else wanted.datasets
    return replace(wanted, http=http, random_seed=seed, datasets=datasets)


def _excess(allowed: Grants, wanted: Grants) -> Iterator[str]:
    for name in SWITCHES:
        if name in wanted.capabilities - allowed.capabilities:
            yield name
    for name, directory in wanted.files.items():
        own = allowed.files.get(name)
        if own is None or not directory.path.is_relative_to(own.path):
            yield f"files:{directory.access}:{name}"
        elif directory.writable and not own.writable:
            yield f"files:write:{name}"
    for origin, http in wanted.http.items():
        yield from _http_excess(origin, allowed.http.get(origin), http)
    yield from (f"secrets:{name}" for name in wanted.secrets - allowed.secrets)
    yield from (f"plugins:{name}" for name in wanted.plugins - allowed.plugins)
    for name, access in wanted.shared.items():
        if name not in allowed.shared or (access == "write" and allowed.shared[name] != "write"):
            yield f"shared:{access}:{name}"
    if allowed.datasets is not None and wanted.datasets is not None:
        yield from dataset_excess(allowed.datasets, wanted.datasets)


def dataset_excess(allowed: DatasetGrants, wanted: DatasetGrants) -> Iterator[str]:
    """Yield what the grants add to the policy: `datasets:NAME`, or `datasets:NAME.COLUMN` for one of its columns."""
    for name, columns in wanted.items():
        own = allowed.get(name)
        if own is None or (columns == "any" and own != "any"):
            yield f"datasets:{name}"
        elif own != "any" and columns != "any":
            yield from (f"datasets:{name}.{column}" for column in columns - own)


def _http_excess(origin: str, allowed: HttpGrant | None, wanted: HttpGrant) -> Iterator[str]:
    methods = frozenset() if allowed is None else allowed.methods
    yield from (f"http:{method}:{origin}" for method in wanted.methods - methods)
    if allowed is None:
        return
    # A secret under another header, or in another text, could reach something that the policy's author did not intend.
    for header, text in wanted.secrets.items():
        if allowed.secrets.get(header) != text:
            yield f"http:{origin} secrets.{header}"
    yield from (f"http:{origin} addresses {address}" for address in wanted.addresses - allowed.addresses)


def _narrowed_http(allowed: HttpGrant, wanted: HttpGrant) -> HttpGrant:
    if allowed.request_headers == "any":
        headers = wanted.request_headers
        if headers != "any":
            # The policy's `any` does not include them.
            headers = frozenset(each for each in headers if not is_override_header(each))
    elif wanted.request_headers == "any":
        headers = allowed.request_headers
    else:
        headers = wanted.request_headers & allowed.request_headers
    ceilings = {name: min(getattr(allowed, name), getattr(wanted, name)) for name in _CEILINGS}
    return replace(wanted, request_headers=headers, **ceilings)


def narrowed_limits(allowed: Limits, wanted: Limits) -> Limits:
    """Take the lower value of each limit; `None` means no limit."""
    lowest: dict[str, Any] = {
        row.field: lower(getattr(allowed, row.field), getattr(wanted, row.field)) for row in LIMITS.values()
    }
    return Limits(**lowest)

"""Bodies of responses, decompressed without ever holding more than their limit."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from dataflare.budgets import current
from dataflare.capabilities.capability_failure import CapabilityFailure

__all__ = ["ENCODINGS", "read_body"]

ENCODINGS = frozenset({"gzip", "x-gzip"})
"""The values of `content-encoding` that `read_body` decodes, in lower case."""

_GZIP = 16 + zlib.MAX_WBITS
# The data after a gzip member is copied each time: with small parts, a body of many empty members costs little.
_PART_BYTES = 16_384


def read_body(chunks: Iterable[bytes], *, limit: int, encoding: str = "") -> bytes:
    """Read a whole body, and decompress it.

    Args:
        chunks: The received parts of the body.
        limit: Maximum bytes, both as received and decompressed.
        encoding: One of `ENCODINGS`; a body with any other value is returned unchanged.

    Raises:
        CapabilityFailure: `too-large` with the limit, as soon as it is exceeded; `connection-failed` if the compressed
            data end too early, `other` if they are not valid.
    """
    body = bytearray()
    received = 0
    gzip = _Gunzip() if encoding in ENCODINGS else None
    budget = current()
    for chunk in chunks:
        received += len(chunk)
        budget.check_time()
        budget.require(len(body) + len(chunk))
        if received > limit:  # even if it decompresses to nothing, such as empty members
            raise CapabilityFailure("too-large", limit)
        if gzip is None:
            body += chunk
        else:
            for start in range(0, len(chunk), _PART_BYTES):
                gzip.add(chunk[start : start + _PART_BYTES], body, limit)
    if gzip is not None and received and not gzip.complete:
        raise CapabilityFailure("connection-failed", "the compressed body ended too early")
    return bytes(body)


class _Gunzip:
    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self.complete = False

    def add(self, chunk: bytes, body: bytearray, limit: int) -> None:
        while chunk:
            if self.complete:
                chunk = chunk.lstrip(b"\0")  # padding between and after members
                if not chunk:
                    return
                self._member, self.complete = zlib.decompressobj(_GZIP), False
            try:
                body += self._member.decompress(chunk, limit - len(body) + 1)
            except zlib.error as error:
                raise CapabilityFailure("other", f"the compressed body is broken: {error}") from error
            if len(body) > limit:
                raise CapabilityFailure("too-large", limit)
            self.complete = self._member.eof
            chunk = self._member.unused_data if self.complete else self._member.unconsumed_tail

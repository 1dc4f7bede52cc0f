from __future__ import annotations

import pytest

HEADER = b"\0asm\x0d\0\x01\0"


def section(number: int, payload: bytes) -> bytes:
    assert len(payload) < 128
    return bytes([number, len(payload)]) + payload


@pytest.fixture
def component() -> bytes:
    """A component of a core module, a custom section and an empty type section."""
    module = b"\0asm\x01\0\0\0" + section(0, b"\x04nameabc")
    return HEADER + section(1, module) + section(0, b"\x09producersnobody") + section(7, b"\0")

"""What tests of handles and of host functions share."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings

from dataflare.engine.abi.types import BorrowT, OwnT, PrimT

SLOW = settings(
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
U32 = PrimT("u32")
TEXT = PrimT("string")
OWN, BORROW = OwnT(0), BorrowT(0)


class Thing:
    """An object behind handles, that counts how often it was let go."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.closed = 0

    def __repr__(self) -> str:
        return f"Thing({self.name})"

    def close_handle(self) -> None:
        self.closed += 1


class Special(Exception):
    pass

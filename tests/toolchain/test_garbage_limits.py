"""Components in JavaScript collect their garbage early."""

from __future__ import annotations

import pytest

from dataflare.toolchain.garbage_limits import LIMITS, collect_early
from dataflare.toolchain.run_tool import BuildFailed
from guest_kit import component


@pytest.mark.guests
def test_built_component_has_the_limits_once() -> None:
    assert component("filter-rows").read_bytes().count(LIMITS) == 1


@pytest.mark.parametrize("data", [b"", LIMITS])
def test_component_with_other_limits_is_refused(data: bytes) -> None:
    with pytest.raises(BuildFailed, match="not in the component"):
        collect_early(data)

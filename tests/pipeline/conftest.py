from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dataflare.pipeline.specification import Specification, parse_specification


@pytest.fixture
def specify(tmp_path: Path) -> Callable[[str], Specification]:
    """Check the nodes of a pipeline in an empty folder; the plugins that it names are there."""

    def make(nodes: str) -> Specification:
        for name in ("source", "transformer", "processor", "validator", "destination", "second", "nothing"):
            (tmp_path / f"{name}.wasm").touch()
        return parse_specification(f"name: test\nnodes:\n{nodes}", file=tmp_path / "pipeline.yaml")

    return make

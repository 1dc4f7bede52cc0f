from __future__ import annotations

from collections.abc import Iterator

import pytest

from dataflare.runtime.host import Host


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with Host(cache_dir=tmp_path_factory.mktemp("cache") / "compiled") as host:
        yield host

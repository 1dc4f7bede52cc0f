"""The folder of the cache of compiled components: which are refused, and how it is named."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from dataflare.engine.cache import Cache, default_folder
from dataflare.engine.engine import Engine
from dataflare.errors import ConfigError


@pytest.mark.parametrize("path", ["", "a\0b", b"bytes", 5])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(ConfigError, match="path"):
        Engine(cache_dir=path)


@pytest.mark.parametrize(("mode", "refused"), [(0o777, True), (0o1777, False), (0o702, True), (0o755, False)])
def test_a_folder_above_that_others_can_write_is_refused(tmp_path: Path, mode: int, refused: bool) -> None:
    above = tmp_path / "above"
    above.mkdir()
    above.chmod(mode)
    if not refused:
        Cache(above / "in" / "compiled")
        return
    with pytest.raises(ConfigError, match=f"is below {above}, which others can write in"):
        Cache(above / "in" / "compiled")


def test_a_folder_above_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.stat

    def foreign(path: Any, **options: Any) -> os.stat_result:
        status = original(path, **options)
        return os.stat_result([*status[:4], 12345, *status[5:]]) if path == tmp_path else status

    monkeypatch.setattr(os, "stat", foreign)
    with pytest.raises(ConfigError, match="belongs to another user, who could exchange it"):
        Cache(tmp_path / "compiled")


def test_a_cache_that_cannot_be_made_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="the cache of compiled components cannot be made") as caught:
        Cache(tmp_path / "file" / "compiled")
    assert "DATAFLARE_CACHE" in caught.value.hint


def test_an_empty_home_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATAFLARE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "")
    home = pwd.getpwuid(os.getuid()).pw_dir
    assert default_folder() == Path(home) / ".cache" / "dataflare" / "compiled"
    monkeypatch.setenv("HOME", "relative")
    with pytest.raises(ConfigError, match="HOME") as caught:
        default_folder()
    assert "DATAFLARE_CACHE" in caught.value.hint

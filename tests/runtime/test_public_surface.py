from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dataflare
from dataflare import errors

SOURCE = Path(dataflare.__file__).read_text()


def names_for_type_checkers() -> dict[str, str]:
    return {
        alias.name: node.module
        for node in ast.walk(ast.parse(SOURCE))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("dataflare.")
        for alias in node.names
    }


def test_all_is_sorted_and_has_each_name_once():
    assert dataflare.__all__ == sorted(set(dataflare.__all__))


def test_every_public_name_can_be_imported_from_where_it_is_defined():
    for name in dataflare.__all__:
        value = getattr(dataflare, name)
        assert value.__module__ == names_for_type_checkers()[name], name


def test_type_checkers_see_the_same_names():
    assert sorted(names_for_type_checkers()) == dataflare.__all__
    assert names_for_type_checkers() == dataflare._HOME_OF


def test_all_errors_are_public():
    assert set(errors.__all__) <= set(dataflare.__all__)


def test_directory_of_the_package_has_every_public_name():
    assert set(dataflare.__all__) <= set(dir(dataflare))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'dataflare' has no attribute 'Hots'"):
        dataflare.Hots  # type: ignore[attr-defined]  # noqa: B018  # the access is what is tested


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, dataflare; print(sorted({'wasmtime', 'pyarrow', 'numpy', 'httpx'} & set(sys.modules)))"
    path = str(Path(dataflare.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": path}
    )
    assert done.stdout.strip() == "[]"


def test_importing_the_host_loads_no_engine_and_no_http_client():
    code = "import sys; from dataflare import Host; print(sorted({'wasmtime', 'httpx'} & set(sys.modules)))"
    path = str(Path(dataflare.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": path}
    )
    assert done.stdout.strip() == "[]"

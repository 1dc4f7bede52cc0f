"""Bindings of WIT packages by others: generated, checked, and used with random values.

Fetch the packages, then give their folders:

    python tests/bindgen/foreign.py wasi-http wasi-keyvalue wasmtime wit-bindgen

Every world below them is generated, for hosts and for plugins, and the types of every package alone. All of it is
checked by mypy, and what is not a stub by pyright and ruff too. Each function of each world is called with random
values, through a component that is written for the world. Worlds that the engine cannot carry, such as those with
`async`, are listed with the reason.

Exit codes: 0 all is well; 1 something failed.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "support"))

from bindings_kit import check_lint, check_pyright, check_types, imported  # noqa: E402  # of tests/support
from dataflare.bindgen.folder import write_folder  # noqa: E402
from dataflare.bindgen.generate import generate, generate_types  # noqa: E402
from dataflare.bindgen.guest import generate_guest  # noqa: E402
from dataflare.errors import ConfigError, DataflareError, NotAComponent  # noqa: E402
from dataflare.runtime.host import Host  # noqa: E402
from dataflare.wit.catalog import Catalog  # noqa: E402
from dataflare.wit.model import WitError  # noqa: E402
from dataflare.wit.resolve import load  # noqa: E402
from round_trips import round_trip  # noqa: E402  # of tests/support

REFUSED = re.compile(
    r"`(async|stream|future|error-context|map)` is not supported|has a fixed length|more than 32"
    r"|expected `/`, found `;`|has no types"
)
"""What the engine cannot carry, as errors say it: one is an import of an interface under another name. The last is of
packages that have functions alone."""


def load_with_features(path: Path) -> Catalog:
    """Read a package with the features that it needs to be whole."""
    features: list[str] = []
    while True:
        try:
            return load(path, features=features)
        except WitError as error:
            needed = re.search(r"its feature `([^`]+)` is off", str(error))
            if needed is None or needed[1] in features:
                raise
            features.append(needed[1])


def catalogs(root: Path) -> Iterator[tuple[Path, Catalog | DataflareError]]:
    """The packages below a folder: a folder of WIT as a whole, or else each of its files."""
    folders = {file.parent for file in root.rglob("*.wit") if "deps" not in file.relative_to(root).parts[:-1]}
    for folder in sorted(folders):
        try:
            yield folder, load_with_features(folder)
            continue
        except DataflareError as error:
            whole = error
        files = sorted(folder.glob("*.wit"))
        if len(files) == 1 or (folder / "deps").is_dir():
            yield folder, whole
            continue
        for file in files:
            try:
                yield file, load_with_features(file)
            except DataflareError as error:
                yield file, error


def check(roots: list[Path], folder: Path, *, examples: int, checkers: bool) -> list[str]:
    """Check all worlds below the roots; says on standard output how far it is.

    Returns:
        What failed, one entry for each failure.
    """
    failures: list[str] = []
    worlds = functions = types = 0
    with Host(cache_dir=folder / "cache") as host:
        for root in roots:
            for where, found in catalogs(root):
                if isinstance(found, DataflareError):
                    told = f"{where}: {found}"
                    (print if REFUSED.search(told) else failures.append)(f"refused: {told.splitlines()[0]}")
                    continue
                try:
                    write_folder(folder / "types" / f"t{types}", generate_types(found, where=str(where)))
                    types += 1
                except ConfigError as error:
                    told = str(error)
                    (print if REFUSED.search(told) else failures.append)(f"refused: {told.splitlines()[0]}")
                for name, _ in found.worlds():
                    package = f"w{worlds}"
                    try:
                        files = generate(found, name)
                        write_folder(folder / "hosts" / package, files)
                    except ConfigError as error:
                        told = f"{where}: {name}: {error}"
                        (print if REFUSED.search(told) else failures.append)(f"refused: {told.splitlines()[0]}")
                        continue
                    worlds += 1
                    try:
                        write_folder(folder / "plugins" / package, generate_guest(found, name))
                    except ConfigError as error:
                        print(f"no stubs: {where}: {name}: {str(error).splitlines()[0]}")
                    try:
                        with imported(files, folder / "imported") as bindings:
                            functions += round_trip(host, bindings, found, name, examples=examples)
                    except NotAComponent as error:
                        # Of the WIT alone this cannot be told: the packages have it, and no component can.
                        empty = "record type must have at least one field" in str(error)
                        (print if empty else failures.append)(f"no component can be of it: {where}: {name}: {error}")
                    except Exception as error:
                        last = traceback.extract_tb(error.__traceback__)[-1]
                        shown = str(error).strip().splitlines() or [""]
                        notes = " ".join(getattr(error, "__notes__", ()))[:300]
                        failures.append(
                            f"{where}: {name} ({package}): {type(error).__name__}: {' / '.join(shown[:3])[:400]}"
                            f" [{Path(last.filename).name}:{last.lineno}] {notes}"
                        )
    print(f"{worlds} worlds, {functions} functions called both ways, types of {types} packages")
    for part in ("hosts", "types") if checkers else ():
        if (folder / part).is_dir():
            failures += check_types(folder / part).splitlines()
            failures += check_lint(folder / part).splitlines()
            failures += check_pyright(folder / part).splitlines()
    for stubs in sorted((folder / "plugins").glob("*")) if checkers else ():
        failures += check_types(stubs, stubs=True).splitlines()
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="folders with WIT, at any depth")
    parser.add_argument("--examples", type=int, default=5, help="how many values each function is called with")
    parser.add_argument("--keep", type=Path, help="where the bindings are written, to look at them")
    parser.add_argument("--no-checkers", action="store_true", help="leave out mypy, pyright and ruff")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        (folder / "imported").mkdir(parents=True, exist_ok=True)
        failures = check(given.folders, folder, examples=given.examples, checkers=not given.no_checkers)
    print(*failures, sep="\n")
    print(f"{len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

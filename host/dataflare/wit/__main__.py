"""`python -m dataflare.wit`: `check` the standard, `parse` it, write its `reference`, `publish` what is new."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dataflare.wit.catalog import Catalog
from dataflare.wit.model import WitError
from dataflare.wit.naming_rules import check_catalog, check_layout
from dataflare.wit.parsed import PARSED_FILE, to_json
from dataflare.wit.published import drift, publish, read_lock
from dataflare.wit.reference_page import reference
from dataflare.wit.resolve import load
from dataflare.wit.standard import standard_folder

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: The arguments after the program's name; `None` for those of this process.

    Returns:
        The exit code: 0 for success, 1 if the WIT is not valid, 2 for wrong arguments.
    """
    parser = argparse.ArgumentParser(prog="python -m dataflare.wit", description="Look after the standard's WIT.")
    parser.add_argument("--folder", type=Path, help="the packages (default: the standard's)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="check rules, published versions and that what is generated is up to date")
    commands.add_parser("parse", help=f"write {PARSED_FILE}, from which the standard is read quickly")
    commands.add_parser("reference", help="print the reference in Markdown")
    commands.add_parser("publish", help="add what is new to published.json")
    options = parser.parse_args(arguments)
    try:
        folder: Path = options.folder or standard_folder()
        catalog = load(folder)
        if options.command == "reference":
            sys.stdout.write(reference(catalog))
        elif options.command == "parse":
            (folder / PARSED_FILE).write_text(to_json(catalog, folder), encoding="utf-8")
        elif options.command == "publish":
            added = publish(catalog, folder / "published.json")
            sys.stdout.write("".join(f"published {name}\n" for name in added) or "nothing is new\n")
        else:
            faults = _check(folder, catalog)
            sys.stderr.write("".join(f"{fault}\n" for fault in faults))
            if faults:
                return 1
            sys.stdout.write(
                f"{len(catalog.packages)} packages: rules kept, versions unchanged, generated files up to date\n"
            )
    except WitError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 1
    return 0


def _check(folder: Path, catalog: Catalog) -> list[str]:
    problems = check_catalog(catalog)
    for file in sorted(folder.rglob("*.wit")):
        problems += check_layout(file.read_text(encoding="utf-8"), str(file))
    faults = [str(problem) for problem in sorted(problems)]
    faults += drift(catalog, read_lock(folder / "published.json"))
    readme = folder / "README.md"
    if not readme.is_file() or readme.read_text(encoding="utf-8") != reference(catalog):
        faults.append(f"{readme} is not up to date: python -m dataflare.wit reference > {readme}")
    parsed = folder / PARSED_FILE
    if not parsed.is_file() or parsed.read_text(encoding="utf-8") != to_json(catalog, folder):
        faults.append(f"{parsed} is not up to date: python -m dataflare.wit parse")
    return faults


if __name__ == "__main__":
    sys.exit(main())

"""Compiles modules in a process of its own: `python python_syntax.py LIST`. It imports nothing of this package.

Python's compiler gives up on some texts in ways that end a process, and warns of others on the terminal. `LIST` is a
JSON object: the paths of modules by what errors call them. What is printed is JSON too: the first error, or null.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

__all__ = ["first_error"]


def first_error(modules: dict[str, str]) -> dict[str, Any] | None:
    """Compile modules; returns name, line, text and what is wrong of the first that is not Python."""
    for name, path in modules.items():
        found: dict[str, Any] = {"name": name, "line": None, "text": ""}
        try:
            compile(Path(path).read_bytes(), name, "exec", dont_inherit=True)
        except SyntaxError as error:
            what = f"{type(error).__name__}: {error.msg}"
            return {**found, "line": error.lineno or 1, "text": (error.text or "").rstrip(), "what": what}
        except (MemoryError, RecursionError):
            return {**found, "what": "an expression is nested too deeply for Python's compiler"}
        except ValueError as error:
            return {**found, "what": str(error)}
    return None


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(first_error(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))

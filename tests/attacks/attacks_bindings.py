"""Attacks on who generates bindings from WIT and components of strangers."""

from __future__ import annotations

import contextlib
import sys

from arena import Arena, Mutation, answers, attack
from dataflare.bindgen.folder import write_folder
from dataflare.bindgen.generate import generate
from dataflare.bindgen.reflected import reflected_catalog
from dataflare.bindgen.source import read_wit
from dataflare.engine.abi.types import ComponentType, FuncT, Interface
from dataflare.errors import DataflareError
from dataflare.wit.model import WitError

_DOCS = '"""; __import__(\'sys\').bindings_were_attacked = True; """'


def _run(files: dict[str, str]) -> bool:
    """Whether code of an attacker ran when the generated modules did."""
    vars(sys).pop("bindings_were_attacked", None)
    for text in files.values():
        try:
            exec(compile(text, "bindings", "exec"), {"__name__": "bindings"})
        except (ImportError, SyntaxError, KeyError):
            continue  # siblings, which are not there: what stands before has run
    return bool(vars(sys).pop("bindings_were_attacked", False))


@attack("files-in")
def code_in_the_documentation_of_wit(arena: Arena) -> None:
    """End the docstring that a comment of the WIT becomes in generated bindings, and continue with code."""
    (arena.folder / "x.wit").write_text(
        f"package a:b; interface i {{\n/// {_DOCS}\nenum e {{\n/// {_DOCS}\nx }} }}\nworld w {{ import i; }}"
    )
    files = generate(read_wit(arena.folder / "x.wit"), "a:b/w")
    assert not _run(files), "code from a comment was run"


@attack("files-in")
def backslash_in_the_documentation_of_wit(arena: Arena) -> None:
    """End a comment of the WIT with a backslash, so that it takes the quotes after it into the docstring."""
    (arena.folder / "x.wit").write_text(
        "package a:b;\n/// \\\ninterface i {\n/// \\\nenum e { x } }\nworld w { import i; }"
    )
    for name, text in generate(read_wit(arena.folder / "x.wit"), "a:b/w").items():
        try:
            compile(text, name, "exec")
        except SyntaxError:
            raise AssertionError(f"{name} is not Python any more") from None


@attack("files-in")
def code_in_a_name_of_a_component(arena: Arena) -> None:
    """Call a function of a component so that its name is code in the bindings that are generated from it."""
    name = "x(self): pass\nimport sys; sys.bindings_were_attacked = True\ndef y"
    shape = ComponentType(exports={"": Interface(funcs={name: FuncT((), None)})})
    with contextlib.suppress(DataflareError):
        files = generate(*reflected_catalog(shape, component="x.wasm", name="x"))
        assert not _run(files), "code from a name was run"


@attack("files-in")
def bindings_written_over_files_of_the_user(arena: Arena) -> None:
    """Have bindings generated into a folder where the user keeps files, which a new set of bindings takes away."""
    folder = arena.folder / "package"
    folder.mkdir()
    (folder / "mine.py").write_text("mine")
    with contextlib.suppress(DataflareError):
        write_folder(folder, {"__init__.py": ""})
    assert (folder / "mine.py").exists(), "the user's file is gone"


@attack("files-in")
def types_that_hold_each_other_without_end(arena: Arena) -> None:
    """Nest 100,000 types, one in the next, until Python reaches its recursion limit."""
    chain = "".join(f"type t{at} = list<t{at - 1}>;" for at in range(1, 100_000))
    file = arena.folder / "x.wit"
    file.write_text(f"package a:b; interface i {{ type t0 = u8; {chain} f: func(x: t99999); }} world w {{ export i; }}")
    arena.raises(WitError, lambda: generate(read_wit(file), "a:b/w"), says="types hold each other")


MUTATIONS = [
    Mutation("dataflare.wit.type_rules:_check_depth", answers(None), ("types_that_hold_each_other_without_end",)),
    Mutation(
        "dataflare.bindgen.text:_escaped",
        str,
        ("code_in_the_documentation_of_wit", "backslash_in_the_documentation_of_wit"),
    ),
    Mutation("dataflare.bindgen.folder:_is_generated", answers(True), ("bindings_written_over_files_of_the_user",)),
]

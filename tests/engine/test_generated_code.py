"""Code that is generated for a component's types can be read where something fails in it."""

from __future__ import annotations

import gc
import linecache
import traceback
from types import SimpleNamespace
from typing import Any

import pytest

from dataflare.engine.abi.codecs import Codecs
from dataflare.engine.abi.types import ListT, PrimT, RecordT, TupleT, VariantT, payload_offset
from dataflare.engine.bridges import wat
from dataflare.engine.flat import movers
from dataflare.engine.flat.handles import Handles

POINT = RecordT((("name", PrimT("string")), ("x", PrimT("s32"))))


def broken_text(*_: Any) -> str:
    raise LookupError("no text")


def test_traceback_shows_the_generated_line_and_a_function_that_names_its_type() -> None:
    load = Codecs([]).decoder(ListT(POINT))
    view = memoryview(b"\0\0\0\0\1\0\0\0" + bytes(16))
    memory = SimpleNamespace(view=view, text=broken_text, part=lambda at, size: view[at : at + size])
    with pytest.raises(LookupError) as caught:
        load(memory, 0)
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert any(name.startswith("_load_list_of_record_") for name in names)


def test_lines_of_generated_code_are_found_while_the_codecs_live() -> None:
    before = {name for name in linecache.cache if name.startswith("<codecs")}
    codecs = Codecs([])
    store = codecs.encoder(POINT)
    (made,) = {name for name in linecache.cache if name.startswith("<codecs")} - before
    assert store.__code__.co_filename == made
    linecache.checkcache()
    assert "m.put_text(" in "".join(linecache.getlines(made))
    assert linecache.getline(made, store.__code__.co_firstlineno).startswith("def _store_record_")
    del codecs, store
    gc.collect()
    assert made not in linecache.cache


def test_the_layout_of_a_variant_is_computed_once_however_many_cases_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[object] = []

    def counted(ty: VariantT) -> int:
        computed.append(ty)
        return payload_offset(ty)

    for module in (movers, wat):
        monkeypatch.setattr(module, "payload_offset", counted)
    ty = VariantT(tuple((f"c{n}", PrimT("string") if n % 2 else TupleT((PrimT("u8"),) * n)) for n in range(1, 300)))
    written = movers.Movers(Handles({}, {}))
    function = movers.CheckedFunction()
    written.pull(ty, "$p")
    written.push(ty, "$p")
    function.store(ty, "$p", 0, [f"$v{n}" for n in range(400)])
    function.load(ty, "$p", 0)
    assert computed == [ty] * 4 and len(function.text()) > 10_000 and written.texts

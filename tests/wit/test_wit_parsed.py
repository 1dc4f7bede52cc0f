from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dataflare.wit import standard as standards
from dataflare.wit.__main__ import main
from dataflare.wit.parsed import PARSED_FILE, read_parsed, to_json
from dataflare.wit.resolve import load
from dataflare.wit.standard import standard, standard_folder


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return shutil.copytree(standard_folder(), tmp_path / "wit")


def test_what_was_parsed_before_is_what_parsing_gives() -> None:
    assert read_parsed(standard_folder()) == load(standard_folder())
    assert standard() is standard()


def test_process_that_loads_plugins_does_not_parse_the_standard() -> None:
    code = (
        "import sys; from dataflare.runtime.type_conformance import standard_signatures; standard_signatures();"
        " from dataflare.security.uses import denial_case;"
        " assert denial_case('dataflare:host/random@1.0.0', 'absent') is None;"
        " print([name for name in sys.modules if name in ('dataflare.wit.parser', 'dataflare.wit.tokens')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("change", ["edited", "added", "renamed", "damaged", "no JSON", "absent"])
def test_text_is_parsed_anew_where_the_parsed_form_does_not_fit(
    copied: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    text, parsed = copied / "host" / "random.wit", copied / PARSED_FILE
    match change:
        case "edited":
            text.write_text(text.read_text().replace("length: u32", "length: u16"))
        case "added":
            (copied / "host" / "new.wit").write_text("package dataflare:host@1.0.0;\n\ninterface new {}\n")
        case "renamed":
            text.rename(copied / "host" / "chance.wit")
        case "damaged":
            parsed.write_bytes(parsed.read_bytes()[:1000])
        case "no JSON":
            parsed.write_text("[]")
        case "absent":
            parsed.unlink()
    assert read_parsed(copied) is None
    monkeypatch.setattr(standards, "standard_folder", lambda: copied)
    assert standards.standard.__wrapped__() == load(copied)


def test_stale_form_is_a_fault_that_names_the_remedy(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parsed = copied / PARSED_FILE
    parsed.write_text(parsed.read_text().replace("sha256:", "sha256:0"))
    assert main(["--folder", str(copied), "check"]) == 1
    assert "parsed.json is not up to date: python -m dataflare.wit parse" in capsys.readouterr().err
    assert main(["--folder", str(copied), "parse"]) == 0
    assert main(["--folder", str(copied), "check"]) == 0


def test_parsed_form_does_not_depend_on_where_the_folder_is(copied: Path) -> None:
    assert to_json(load(copied), copied) == (standard_folder() / PARSED_FILE).read_text()

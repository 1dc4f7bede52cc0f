"""The runner of `.wast` scripts: right scripts pass, and wrong ones fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from wast_run import run

SAMPLE = Path(__file__).parent / "sample.wast"


@pytest.mark.parametrize("flatten", [None, False], ids=["flat", "bridges"])
def test_every_command_of_a_right_script_passes(flatten: bool | None) -> None:
    outcomes = run([SAMPLE], flatten=flatten)
    assert dict(outcomes.counts) == {"passed": 15, "apart": 1, "refused": 1}, outcomes.told
    assert outcomes.flattened == (0 if flatten is False else outcomes.loaded)


@pytest.mark.parametrize(
    "line",
    [
        '(assert_return (invoke "add" (u8.const 1) (u8.const 2)) (u8.const 4))',
        '(assert_return (invoke "text") (str.const "hell"))',
        '(assert_return (invoke "half" (f64.const -0.0)) (f64.const 0.0))',
        '(assert_return (invoke "one-of" (u32.const 1)) (result.ok))',
        '(assert_return (invoke "bad"))',
        '(assert_trap (invoke "text") "it does not")',
        '(assert_invalid (component) "it is valid")',
    ],
)
def test_a_wrong_command_fails(tmp_path: Path, line: str) -> None:
    script = tmp_path / "wrong.wast"
    source = SAMPLE.read_text()
    script.write_text(source[: source.index("(assert_return")] + line)
    outcomes = run([script], flatten=None)
    assert dict(outcomes.counts) == {"passed": 1, "failed": 1}, outcomes.told

from __future__ import annotations

import test_attacks  # noqa: F401  # registers the attacks
from arena import ATTACKS
from security_page import PAGE, generated


def test_page_lists_the_attacks_that_are_tried() -> None:
    text = PAGE.read_text()
    assert text == generated(text), "run: python tests/attacks/security_page.py"
    assert all(f"`{name}`" in text for name in ATTACKS)

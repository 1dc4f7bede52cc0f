"""Guarantees: how often a destination has each row, whatever stops a run and however often it is repeated.

It holds if the plugins in between return the same rows for the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from dataflare.pipeline.outputs import IfExists
from dataflare.pipeline.report import Guarantee
from dataflare.wit_types.datasets import WritingMode

__all__ = ["Promise", "of_destination", "of_file"]


@dataclass(frozen=True, slots=True)
class Promise:
    """A guarantee, and why it holds."""

    guarantee: Guarantee
    why: str


def of_destination(mode: WritingMode, *, keeps_token: bool, has_checkpoints: bool) -> Promise:
    """The guarantee of a plugin or a table.

    Args:
        mode: How it writes.
        keeps_token: Whether it keeps the position of the run in the same transaction as the rows.
        has_checkpoints: Whether the run continues from a position: it keeps a state, and its source has one.
    """
    if mode == "replace":
        return Promise("exactly-once", "a run replaces all rows")
    if mode == "merge":
        return Promise("exactly-once", "the same row twice changes nothing")
    if not has_checkpoints:
        return Promise("at-least-once", "the run keeps no position, so one that is repeated adds all rows again")
    if keeps_token:
        return Promise("exactly-once", "the position is kept in the same transaction as the rows")
    return Promise("at-least-once", "rows after the last checkpoint are added again by a run that is repeated")


def of_file(if_exists: IfExists, *, has_state: bool) -> Promise:
    """The guarantee of a file or a folder of files; `has_state` says whether the run keeps a state."""
    if if_exists != "append":
        return Promise("exactly-once", "the output is that of one run")
    if has_state:
        return Promise("exactly-once", "what a run adds that did not end is taken out again")
    return Promise("at-least-once", "without a state, a run that dies at its very end adds its rows again")

"""Gives back what it is given."""

from __future__ import annotations

from wit_world import exports


class Trips(exports.Trips):
    """The three shapes of bulk data."""

    def echo_words(self, data: list[int]) -> list[int]:
        """Give the words back."""
        return data

    def echo_octets(self, data: bytes) -> bytes:
        """Give the bytes back."""
        return data

    def echo_text(self, data: str) -> str:
        """Give the text back."""
        return data

"""Unit tests, which run natively and without a build: `dataflare test`, or `pytest`."""

from __future__ import annotations

from plugin import SamplePlugin

from dataflare.testing import native


def test_white_space_at_the_ends_goes() -> None:
    with native(SamplePlugin) as plugin:
        assert plugin.process('{"id":1,"name":" Ada "}') == '{"id":1,"name":"Ada"}'


def test_record_without_a_name_is_dropped() -> None:
    with native(SamplePlugin) as plugin:
        assert plugin.process('{"id":2,"name":"  "}') is None

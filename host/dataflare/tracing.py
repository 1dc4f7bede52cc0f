"""Spans of OpenTelemetry, for programs that have set a provider of them; for all others nothing happens."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from dataflare.run_ids import current_ids

__all__ = ["span", "tracer"]

_API: Final = "opentelemetry.trace"


def tracer() -> Any:
    """Find the tracer of this package; `None` if nobody in this process wants spans.

    A program that sets a provider has imported OpenTelemetry's API, so nothing has to be imported to find that out.
    """
    api = sys.modules.get(_API)
    if api is None:
        return None
    provider = api.get_tracer_provider()
    if isinstance(provider, api.ProxyTracerProvider | api.NoOpTracerProvider):
        return None
    return provider.get_tracer("dataflare")


@contextmanager
def span(
    tracer: Any, name: str, attributes: Mapping[str, str | int], *, usual: tuple[type[BaseException], ...] = ()
) -> Iterator[Any]:
    """Make a span of a `with` block; an exception that leaves the block is its status. Without a tracer, do nothing.

    Args:
        tracer: The result of `tracer()`.
        name: The span's name.
        attributes: Its attributes; each name gets `dataflare.` in front. Those of the run that the block belongs to are
            added.
        usual: Exceptions that are not failures.
    """
    if tracer is None:
        yield None
        return
    ids = current_ids.get()
    named = {**({} if ids is None else ids.fields()), **attributes}
    given = {f"dataflare.{key}": value for key, value in named.items()}
    with tracer.start_as_current_span(
        name, attributes=given, record_exception=False, set_status_on_exception=False
    ) as made:
        try:
            yield made
        except usual:
            raise
        except BaseException as error:
            made.set_status(sys.modules[_API].StatusCode.ERROR, type(error).__name__)
            made.record_exception(error)
            raise

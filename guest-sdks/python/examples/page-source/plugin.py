"""A source that reads the pages of a JSON API, in full or from a cursor on."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import source
from wit_world.imports import batches, datasets, http, types
from wit_world.imports.schemas import Field, Schema

from dataflare_plugin.raw import guarded, healthy, parse_object

CONFIG_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "required": ["url", "datasets"],
    "properties": {
        "url": {"description": "What a dataset's name is added to, after a `/`.", "type": "string", "minLength": 1},
        "datasets": {
            "description": "The columns of each dataset, by name: Arrow types.",
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {"type": "object", "additionalProperties": {"type": "string"}},
        },
        "key": {"description": "The column that tells rows apart.", "type": "string", "default": "id"},
        "cursor": {"description": "The column that rows are ordered by.", "type": "string", "default": "updated"},
    },
}
RETRY_MS = 1_000
STATE = ("since", "seen", "page", "last", "at_last")
"""What of a read its state has, beside what it is a read of."""
LONGEST_RETRY_MS = 3_600_000


@dataclass(frozen=True)
class Config:
    """The configuration."""

    url: str
    datasets: dict[str, dict[str, str]]
    key: str
    cursor: str


@dataclass
class Reading:
    """A read: the dataset and its columns, where its pages begin, the next page, and whether it ended.

    Pages begin with rows whose cursor is `since`, of which those with a key in `seen` were read before. `last` and
    `at_last` are the same for the read that comes next.
    """

    dataset: str
    columns: list[str]
    since: Any = None
    seen: list[Any] = field(default_factory=list)
    page: str | None = None
    last: Any = None
    at_last: list[Any] = field(default_factory=list)
    ended: bool = False

    def new(self, rows: list[dict[str, Any]], key: str, cursor: str) -> list[dict[str, Any]]:
        """The rows of a page that were not read before."""
        found = []
        for row in rows:
            # As a text, which a state can have: a number with a point would lose digits as a double.
            at, one = (str(each) if isinstance(each := row.get(name), Decimal) else each for name in (cursor, key))
            if at == self.since and one in self.seen:
                continue
            found.append(row)
            if at != self.last:
                self.last, self.at_last = at, []
            self.at_last.append(one)
        return found


class Plugin:
    """What the instance knows."""

    config: Config
    reading: Reading | None = None
    incremental = False


def parse_config(text: str) -> Config:
    """Read and check the configuration."""
    given = parse_object(text)
    if unknown := given.keys() - CONFIG_SCHEMA["properties"].keys():
        raise Err(types.Error_InvalidConfig(f"unknown keys: {', '.join(sorted(unknown))}"))
    config = Config(given.get("url"), given.get("datasets"), given.get("key", "id"), given.get("cursor", "updated"))
    if not all(isinstance(text, str) and text for text in (config.url, config.key, config.cursor)):
        raise Err(types.Error_InvalidConfig("url, key, cursor: give texts"))
    tables = config.datasets
    if not isinstance(tables, dict) or not tables or not all(isinstance(each, dict) for each in tables.values()):
        raise Err(types.Error_InvalidConfig("datasets: give the columns of each, by name"))
    for name, columns in tables.items():
        if missing := {config.key, config.cursor} - columns.keys():
            raise Err(types.Error_InvalidConfig(f"datasets.{name}: it has no column {min(missing)!r}"))
    return config


def schema_of(columns: dict[str, str]) -> Schema:
    """A dataset's schema, with the roles of its columns."""
    config = Plugin.config
    roles = {config.key: [("dataflare.key", "0")]}
    roles[config.cursor] = [*roles.get(config.cursor, []), ("dataflare.role", "cursor")]
    return Schema([Field(name, kind, True, roles.get(name, [])) for name, kind in columns.items()], [])


def chosen(selections: list[source.Selection]) -> tuple[str, dict[str, str], bool]:
    """The dataset that is selected, its columns, and whether it is read by its cursor."""
    config = Plugin.config
    if len(selections) != 1:
        raise Err(types.Error_InvalidConfig("select one dataset: each has a state of its own"))
    (each,) = selections
    name, mode = each.dataset.name, each.mode
    known = config.datasets.get(name) if not each.dataset.namespace else None
    if known is None:
        raise Err(types.Error_InvalidConfig(f"there is no dataset {name!r}"))
    if unknown := set(each.columns) - known.keys():
        raise Err(types.Error_InvalidConfig(f"dataset {name!r}: there is no column {min(unknown)!r}"))
    if isinstance(mode, datasets.ReadingMode_Changes):
        raise Err(types.Error_InvalidConfig(f"dataset {name!r}: it cannot be read in the mode changes"))
    incremental = isinstance(mode, datasets.ReadingMode_Incremental)
    if incremental and mode.value != config.cursor:
        raise Err(types.Error_InvalidConfig(f"dataset {name!r}: its cursor is {config.cursor!r}"))
    needed = {*each.columns, config.key, config.cursor} if each.columns else known.keys()
    return name, {column: kind for column, kind in known.items() if column in needed}, incremental


def what_is_read(dataset: str, incremental: bool) -> list[Any]:
    """What tells reads apart: the state of one says nothing about another."""
    return [dataset, incremental, Plugin.config.key, Plugin.config.cursor]


def get(path: str, query: dict[str, Any]) -> Any:
    """Ask for a page. Errors that a retry can help with say so."""
    url = f"{Plugin.config.url.rstrip('/')}/{path}?{urlencode(query)}"
    try:
        response = http.send(http.Request("GET", url, [("accept", "application/json")], None, None))
    except Err as exc:
        match exc.value:
            case http.HttpError_RateLimited(value=wait):
                raise Err(types.Error_RateLimited(wait)) from None
            case http.HttpError_Denied(value=why):
                raise Err(types.Error_Denied(f"{url}: {why}")) from None
            case http.HttpError_InvalidRequest(value=why):
                raise Err(types.Error_InvalidConfig(f"url: {url}: {why}")) from None
            case http.HttpError_ConnectionFailed(value=why):
                raise Err(types.Error_Unavailable(f"{url}: {why}")) from None
            case http.HttpError_TimedOut(value=wait):
                raise Err(types.Error_Unavailable(f"{url}: no response within {wait} ms")) from None
            case http.HttpError_TooLarge(value=limit):
                raise Err(types.Error_Denied(f"{url}: the response has more than {limit} bytes, the limit")) from None
        raise Err(types.Error_Other(f"{url}: {exc.value}")) from None
    if response.status == 429 or (response.status == 503 and retry_ms(response.headers)):
        raise Err(types.Error_RateLimited(retry_ms(response.headers) or RETRY_MS))
    if response.status >= 500:
        raise Err(types.Error_Unavailable(f"{url}: status {response.status}"))
    if response.status in (401, 403):
        raise Err(types.Error_Denied(f"{url}: status {response.status}: the credentials are not accepted"))
    if response.status != 200:
        raise Err(types.Error_InvalidConfig(f"url: {url}: status {response.status}"))
    try:
        page = json.loads(response.body, parse_float=Decimal)
        rows, following = page["items"], page.get("next")
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Err(types.Error_InvalidInput(f"{url}: the response is not an object with `items`")) from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Err(types.Error_InvalidInput(f"{url}: `items` is not a list of objects"))
    if not isinstance(following, str | None):
        raise Err(types.Error_InvalidInput(f"{url}: `next` is not a text"))
    return rows, following


def line_of(row: dict[str, Any], columns: dict[str, str]) -> str:
    """The line of JSON of a row. In columns of decimals numbers keep all digits."""
    values = (
        f"{json.dumps(name)}: {json.dumps(row.get(name), default=str if 'decimal' in kind else double)}"
        for name, kind in columns.items()
    )
    return f"{{{', '.join(values)}}}\n"


def double(number: Decimal) -> float:
    """The double next to a number. One beyond their range is an error rather than infinite."""
    if math.isinf(nearest := float(number)):
        raise Err(types.Error_InvalidInput(f"{number} is beyond the range of a double: make its column a decimal"))
    return nearest


def retry_ms(headers: list[tuple[str, str]]) -> int:
    """The milliseconds that the API asks to wait; 0 where it does not say."""
    seconds = dict(headers).get("retry-after", "")
    return min(int(seconds) * 1000, LONGEST_RETRY_MS) if seconds.isdecimal() and len(seconds) < 10 else 0


class Lifecycle(exports.Lifecycle):
    """The plugin's life."""

    def get_metadata(self) -> types.Metadata:
        """What the plugin says of itself."""
        description = "Reads the pages of a JSON API"
        return types.Metadata("page-source", "1.0.0", types.Kind.SOURCE, description, json.dumps(CONFIG_SCHEMA))

    @guarded
    def configure(self, config: str) -> None:
        """Take the configuration."""
        Plugin.config = parse_config(config)

    def initialize(self) -> None:
        """Nothing is to be opened."""

    def shutdown(self) -> None:
        """Nothing is to be closed."""

    def health_check(self) -> types.Health:
        """Whether the API answers is seen by reading."""
        return healthy()


class Source(exports.Source):
    """The API."""

    @guarded
    def discover(self) -> list[datasets.Dataset]:
        """The datasets of the configuration."""
        config = Plugin.config
        modes = datasets.ReadingModes.FULL | datasets.ReadingModes.INCREMENTAL
        return [
            datasets.Dataset(
                datasets.DatasetName("", name), "", schema_of(columns), [config.key], [config.cursor], modes
            )
            for name, columns in config.datasets.items()
        ]

    @guarded
    def split(self, selections: list[source.Selection], state: bytes | None, at_most: int) -> source.Division:
        """Pages come one after the other."""
        raise Err(types.Error_Unsupported("pages cannot be split"))

    def estimate(
        self, selections: list[source.Selection], part: bytes | None, state: bytes | None
    ) -> source.EstimatedRows | None:
        """How many rows there are is not known."""
        return None

    @guarded
    def open(self, selections: list[source.Selection], part: bytes | None, state: bytes | None) -> list[Schema]:
        """Begin, or go on from a state."""
        name, columns, incremental = chosen(selections)
        reading = Reading(name, list(columns))
        if part is not None:
            raise Err(types.Error_InvalidState("this source has no parts"))
        if state is not None:
            try:
                known = json.loads(state)
                for each in STATE:
                    setattr(reading, each, known[each])
                own = known["of"] == what_is_read(name, incremental)
            except (ValueError, TypeError, KeyError):
                own = False
            if not own:
                raise Err(
                    types.Error_InvalidState(
                        f"the state is not of dataset {name!r}, read in this mode, with this key and cursor"
                    )
                )
            # A full read has ended where no page follows; an incremental one asks what is new.
            reading.ended = reading.page is None and not incremental
        Plugin.incremental = incremental
        Plugin.reading = reading
        return [schema_of(columns)]

    @guarded
    def read(self, max_rows: int) -> source.Progress:
        """Ask for the next page."""
        reading, config = Plugin.reading, Plugin.config
        if reading is None:
            raise Err(types.Error_Unsupported("no read is under way: `open` comes first"))
        if reading.ended:
            return source.Progress_Ended()
        query: dict[str, Any] = {"limit": max_rows}
        if reading.page is not None:
            query["page"] = reading.page
        if Plugin.incremental and reading.since is not None:
            query["since"] = reading.since
        rows, following = get(reading.dataset, query)
        if len(rows) > max_rows:
            raise Err(
                types.Error_InvalidInput(
                    f"dataset {reading.dataset!r}: a page of {len(rows)} rows, of at most {max_rows}"
                )
            )
        rows = reading.new(rows, config.key, config.cursor) if Plugin.incremental else rows
        columns = config.datasets[reading.dataset]
        lines = "".join(line_of(row, {name: columns[name] for name in reading.columns}) for row in rows)
        batch = batches.from_json_lines(lines, schema_of({name: columns[name] for name in reading.columns}))
        reading.page, reading.ended = following, following is None
        if reading.ended:
            # Only at the end: the pages before it belong to the `since` that the first one was asked with.
            reading.since, reading.seen = reading.last, list(reading.at_last)
        state = {each: getattr(reading, each) for each in STATE}
        state["of"] = what_is_read(reading.dataset, Plugin.incremental)
        return source.Progress_Rows(source.Chunk(0, batch, json.dumps(state).encode()))

    def acknowledge(self, state: bytes) -> None:
        """The API keeps its rows."""

    def close(self) -> None:
        """End the read."""
        Plugin.reading = None

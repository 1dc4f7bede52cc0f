"""Grants in pipelines, policies and manifests: a key for each interface that is granted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self, TypeAlias

from pydantic import AfterValidator, Discriminator, Field, StringConstraints, Tag, create_model, model_validator
from pydantic_core import PydanticCustomError

from dataflare.documents.models import FilePath, Frozen, FrozenSet, Name, Names, StrictModel
from dataflare.documents.quantities import Duration, Size, parse_duration, parse_size, write_duration, write_size
from dataflare.errors import ConfigError
from dataflare.grants import ANY_METHODS, Access, DirectoryGrant, Grants, HttpGrant, Origin, switched
from dataflare.interfaces import INTERFACES, SWITCHES
from dataflare.request_headers import SAFE_HEADERS

__all__ = ["AsksModel", "DirectoryModel", "GrantsModel", "HttpModel", "OriginText"]

_DEFAULT: Final = HttpGrant()
_HTTP_KEYS: Final = {"max_request_bytes": "max_request", "max_response_bytes": "max_response", "timeout_s": "timeout"}


def _origin(text: str) -> str:
    normal = str(Origin.parse(text))
    if normal != text:
        raise ValueError(f"write {normal!r}")
    return text


OriginText = Annotated[str, AfterValidator(_origin)]
"""An origin in its normal form, so that no two keys mean the same origin."""

_Word = Annotated[Literal["any"], Tag("|any")]
_BY_WORD: Final = Discriminator(lambda value: "|any" if value == "any" else "|named")
_Method = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z-]{0,31}$")]
_Methods = Annotated[Annotated[FrozenSet[_Method], Field(min_length=1), Tag("|named")] | _Word, _BY_WORD]
_Headers = Annotated[Annotated[FrozenSet[str], Tag("|named")] | _Word, _BY_WORD]
_DatasetText = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
_Columns = Annotated[Annotated[FrozenSet[_DatasetText], Field(min_length=1), Tag("|named")] | _Word, _BY_WORD]
_METHODS_TEXT: Final = "Methods, in capitals, or the word `any`."
_ACCESS_TEXT: Final = "`write` includes reading."


class DirectoryModel(StrictModel):
    """A directory, and what may be done in it."""

    hints: ClassVar[Mapping[str, str]] = {"writable": "write `access: write`", "mode": "write `access: write`"}

    path: Annotated[FilePath, Field(description="The directory, relative to this file.")]
    access: Access = Field(default="read", description=_ACCESS_TEXT)


class HttpModel(StrictModel):
    """What may be done at one origin. Secrets are named; the host adds their values, unseen by the plugin."""

    hints: ClassVar[Mapping[str, str]] = {
        field: f"write `{key}`, its value with a unit" for field, key in _HTTP_KEYS.items()
    }

    methods: _Methods = Field(description=_METHODS_TEXT)
    request_headers: _Headers | None = Field(
        default=None,
        description="Headers that may be sent, or the word `any`; by default, headers that do not identify the sender.",
    )
    secrets: Frozen[str, str] = Field(
        default_factory=dict,
        description="Headers that the host adds: a secret's name, or a text with one in braces: `Bearer {api-token}`.",
    )
    addresses: FrozenSet[str] = Field(default=frozenset(), description="Addresses or networks that need not be public.")
    max_request: Size = Field(
        default=write_size(_DEFAULT.max_request_bytes), description="The largest body of a request."
    )
    max_response: Size = Field(
        default=write_size(_DEFAULT.max_response_bytes),
        description="The largest body of a response, as it comes and decompressed.",
    )
    max_redirects: int = Field(
        default=_DEFAULT.max_redirects, description="Redirects in a row that the host follows, 0 to 20."
    )
    timeout: Duration = Field(
        default=write_duration(_DEFAULT.timeout_s),
        description="From the request to the end of its response, redirects included; at most 1h.",
    )
    requests_per_s: float = Field(
        default=_DEFAULT.requests_per_s, description="Requests per second on average, at most 100,000."
    )
    burst: int = Field(default=_DEFAULT.burst, description="The largest burst of requests.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        try:
            self.grant()
        except ConfigError as error:
            key, _, rest = error.where.removeprefix("grants.http.").partition(".")
            why = error.message.removeprefix(f"{error.where}: ")
            context = {"why": f"{rest}: {why}" if rest else why, "key": _HTTP_KEYS.get(key, key), "hint": error.hint}
            raise PydanticCustomError("grant", "{why}", context) from None
        return self

    def grant(self) -> HttpGrant:
        """Convert to a grant."""
        return HttpGrant(
            methods=ANY_METHODS if self.methods == "any" else self.methods,
            request_headers=SAFE_HEADERS if self.request_headers is None else self.request_headers,
            secrets=self.secrets,
            addresses=self.addresses,
            max_request_bytes=parse_size(self.max_request),
            max_response_bytes=parse_size(self.max_response),
            max_redirects=self.max_redirects,
            timeout_s=parse_duration(self.timeout),
            requests_per_s=self.requests_per_s,
            burst=self.burst,
        )


_PLACES: Final = {
    "limits": "`limits` belongs beside this mapping, not in it",
    "interfaces": "each interface has a key of its own, such as `clock: true`",
    "directories": "write `files`",
}


class _GrantKeys(StrictModel):
    """What a plugin may use; nothing, unless it is said."""

    hints: ClassVar[Mapping[str, str]] = _PLACES

    files: Frozen[Name, DirectoryModel] = Field(
        default_factory=dict, description="Directories, by the name that the plugin uses for them."
    )
    http: Frozen[OriginText, HttpModel] = Field(
        default_factory=dict, description="What may be done at each origin, such as `https://api.example.com`."
    )
    secrets: Names = Field(default=frozenset(), description="Secrets that the plugin may hold itself.")
    plugins: Names = Field(default=frozenset(), description="Nodes that the plugin may call.")
    shared: Frozen[Name, Access] = Field(
        default_factory=dict, description="Access by the name of the shared batch; `write` includes reading."
    )
    datasets: Frozen[_DatasetText, _Columns] | None = Field(
        default=None,
        description="Datasets that it may read or write (`NAMESPACE.NAME` with a namespace): their columns, or the "
        "word `any`. Without it, all.",
    )
    random_seed: Annotated[int, Field(ge=0, lt=2**64)] | None = Field(
        default=None, description="Derives the random bytes from this seed, for repeatable runs."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.random_seed is not None and not self.switches & {"random"}:
            context = {"key": "random_seed", "hint": "add random: true"}
            raise PydanticCustomError("grant", "a seed has no effect without random", context)
        return self

    @property
    def switches(self) -> frozenset[str]:
        """Return the short names of the interfaces that are granted as a whole."""
        return frozenset(name for name in SWITCHES if getattr(self, name))

    def grants(self, resolve: Callable[[str], Path]) -> Grants:
        """Make the grants.

        Args:
            resolve: Converts a path of this document to an absolute one.

        Raises:
            ConfigError: A directory has no usable path.
        """
        return Grants(
            files={
                name: DirectoryGrant(path=resolve(each.path), access=each.access) for name, each in self.files.items()
            },
            http={origin: each.grant() for origin, each in self.http.items()},
            secrets=self.secrets,
            plugins=self.plugins,
            shared=self.shared,
            random_seed=self.random_seed,
            datasets=self.datasets,
            **switched(self.switches),
        )

    def merged(self, over: GrantsModel) -> GrantsModel:
        """Merge with another; if both name the same directory, origin, shared batch or dataset, that of `over` wins."""
        both = [each.datasets for each in (self, over) if each.datasets is not None]
        datasets = {name: columns for each in both for name, columns in each.items()} if both else None
        seed = self.random_seed if over.random_seed is None else over.random_seed
        return GrantsModel(
            files={**self.files, **over.files},
            http={**self.http, **over.http},
            secrets=self.secrets | over.secrets,
            plugins=self.plugins | over.plugins,
            shared={**self.shared, **over.shared},
            random_seed=seed,
            datasets=datasets,
            **dict.fromkeys(self.switches | over.switches, True),
        )


class _AskedDirectory(StrictModel):
    """What a plugin needs to do in a directory; where it is, the operator says."""

    hints: ClassVar[Mapping[str, str]] = {"path": "leave it out: the operator decides where a directory is"}

    access: Access = Field(default="read", description=_ACCESS_TEXT)


class _AskedOrigin(StrictModel):
    """What a plugin needs to do at an origin."""

    methods: _Methods = Field(description=_METHODS_TEXT)

    @property
    def allowed(self) -> frozenset[str]:
        """Return the methods."""
        return ANY_METHODS if self.methods == "any" else self.methods


def _switches() -> dict[str, Any]:
    """Return the keys of interfaces that are granted as a whole."""
    return {name: (bool, Field(default=False, description=INTERFACES[name].says)) for name in SWITCHES}


_Directories = Frozen[Name, _AskedDirectory]
_Origins = Frozen[OriginText, _AskedOrigin]
_Shared = Frozen[Name, Access]


class _AskKeys(StrictModel):
    """What a plugin asks for; nothing, unless it is said. `any` asks for an interface, and leaves open what of it."""

    hints: ClassVar[Mapping[str, str]] = _PLACES

    files: Annotated[Annotated[_Directories, Tag("|named")] | _Word, _BY_WORD] = Field(
        default_factory=dict, description="Directories by the plugin's name for them, or the word `any`."
    )
    http: Annotated[Annotated[_Origins, Tag("|named")] | _Word, _BY_WORD] = Field(
        default_factory=dict, description="What it does at each origin, or the word `any`."
    )
    secrets: Annotated[Annotated[Names, Tag("|named")] | _Word, _BY_WORD] = Field(
        default=frozenset(), description="Secrets to hold itself, or the word `any`."
    )
    plugins: Annotated[Annotated[Names, Tag("|named")] | _Word, _BY_WORD] = Field(
        default=frozenset(), description="Plugins of the pipeline to call, or the word `any`."
    )
    shared: Annotated[Annotated[_Shared, Tag("|named")] | _Word, _BY_WORD] = Field(
        default_factory=dict, description="Access by the name of the shared batch, or the word `any`."
    )
    datasets: Frozen[_DatasetText, _Columns] | None = Field(
        default=None,
        description="Datasets that a source or a destination needs (`NAMESPACE.NAME` with a namespace): their columns, "
        "or the word `any`. Without it, those that it is given.",
    )

    @property
    def switches(self) -> frozenset[str]:
        """Return the short names of the interfaces that are asked for as a whole."""
        return frozenset(name for name in SWITCHES if getattr(self, name))

    def also(self, interfaces: Iterable[str]) -> AsksModel:
        """Ask for further interfaces, by short name; requests for interfaces that are already asked for stay
        unchanged."""
        more = {name: True if name in SWITCHES else "any" for name in interfaces if not getattr(self, name)}
        return self.model_copy(update=more)


if TYPE_CHECKING:
    GrantsModel: TypeAlias = _GrantKeys
    AsksModel: TypeAlias = _AskKeys
else:
    # Each interface that is granted as a whole gets a key automatically.
    GrantsModel = create_model(
        "GrantsModel",
        __base__=_GrantKeys,
        __doc__=_GrantKeys.__doc__,
        **_switches(),
    )
    AsksModel = create_model(
        "AsksModel",
        __base__=_AskKeys,
        __doc__=_AskKeys.__doc__,
        **_switches(),
    )

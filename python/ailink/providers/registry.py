"""The provider registry: rows from `catalog/*.toml`, checked strictly.

A row that is wrong stops the start with its file, key and reason: a provider half understood would send
requests to the wrong path or a credential in the wrong header.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta
from msgspec.structs import fields as fields_of

from ailink.providers import rules, wording
from ailink.providers.rules import Parameters
from ailink.providers.vocabulary import (
    PATH_CHARACTERS,
    SETTINGS,
    SUFFIX,
    AuthScheme,
    Cloud,
    Dialect,
    ErrorClass,
    Operation,
    Setting,
    StreamUsage,
)
from ailink.providers.wording import Requests

PLACEHOLDERS: Final = frozenset({*SETTINGS, "mock"})
"""What a base URL may name in braces: a setting of the deployment, the address of the in-process mock."""

PATH_PLACEHOLDERS: Final = frozenset({*SETTINGS, "model"})
"""What the path of an operation may name in braces."""

_BRACED: Final = re.compile(r"\{([^{}]*)\}")
_LABEL: Final = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_HOST: Final = re.compile(rf"(?:{_LABEL}\.)*(?=[0-9_-]*[a-z]){_LABEL}\.?", re.IGNORECASE)

_Id = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
_Suffix = Annotated[str, Meta(pattern=SUFFIX)]
_EnvName = Annotated[str, Meta(pattern=r"^[A-Z][A-Z0-9_]*$")]
_HeaderName = Annotated[str, Meta(pattern=r"^[a-z0-9!#$%&'*+.^_`|~-]+$")]
_Status = Annotated[int, Meta(ge=400, le=599)]
_Words = Annotated[str, Meta(min_length=4, max_length=200)]
_HeaderValue = Annotated[str, Meta(pattern=r"^[\x20-\x7e]*$")]


class CatalogError(Exception):
    """A row of the catalogue is wrong. `file` and `key` say where."""

    def __init__(self, file: str, key: str, reason: str) -> None:
        self.file = file
        self.key = key
        self.reason = reason
        super().__init__(": ".join(part for part in ("provider catalogue", file, key, reason) if part))


class Auth(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the credential is presented. `name`: header or query parameter, or the AWS service that is signed
    for, or whose bearer tokens are made. `optional`: works without one. `identity`: the cloud whose
    identities are taken in place of a key.
    """

    scheme: AuthScheme
    name: _HeaderName = "authorization"
    optional: bool = False
    identity: Cloud | None = None


BatchShape = Literal["openai", "anthropic", "vertex", "bedrock"]
"""How a provider takes many requests at once."""


class BatchRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where batches are made and files kept: a path behind the base URL, or an address of its own."""

    shape: BatchShape
    jobs: Annotated[str, Meta(pattern=r"^(/|https://)")]
    files: Annotated[str, Meta(pattern=r"^(/|https://)")] = "/"
    prefix: str = "/v1"
    """What the paths that lines name begin with."""


class ProviderRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One provider. The upstream URL of a request is `base_url` + the suffix of its operation."""

    id: _Id
    title: Annotated[str, Meta(min_length=1)]
    base_url: str | None = None
    """None: each deployment must give its own. May hold placeholders."""
    dialect: Dialect
    operations: Annotated[dict[Operation, _Suffix], Meta(min_length=1)]
    auth: Auth
    aliases: tuple[_Id, ...] = ()
    """Other names it goes by in configuration files, LiteLLM's model prefixes among them."""
    env: tuple[_EnvName, ...] = ()
    """Environment variables that hold its API key, tried in this order when the configuration gives none."""
    stream_usage: StreamUsage
    pool_idle_ms: Annotated[int, Meta(ge=0, le=600_000)]
    """How long an idle upstream connection is kept; below the provider's own keep-alive."""
    price_family: str | None = None
    """Its name in the price catalogue; None: its models have no list price."""
    headers: dict[_HeaderName, _HeaderValue] = {}
    """Sent upstream unless the caller sent the header."""
    parameters: Parameters = {}
    """What is to be done about single parameters, by operation."""
    requests: Requests = {}
    """Operations that are asked for in words of the provider's own."""
    settings: dict[Setting, str] = {}
    """Values of placeholders that a deployment does not give."""
    model_in: Literal["body", "path"] = "body"
    """`path`: the path names the model, and bodies that name it are refused by the provider."""
    stream_in: Literal["body", "path"] = "body"
    """`path`: the path says whether a stream is wanted, and bodies that say it are refused. Streams in
    frames of Amazon's are unwrapped then."""
    errors: dict[ErrorClass, tuple[_Status | _Words, ...]] = {}
    """Refusals that are of another class than their status says: by status, or by words in the body."""
    rate_limit_headers: dict[_HeaderName, _HeaderName] = {}
    """Headers of answers that tell what is left of a minute's quota, each with the one that tells the quota;
    empty: OpenAI's and Anthropic's.
    """
    batches: BatchRow | None = None
    """None: it takes none."""
    free: bool = False
    """Self-hosted: a model without a price of its own costs nothing, instead of being of unknown cost."""

    def placeholders(self) -> frozenset[str]:
        """What the base URL and the paths name in braces."""
        return placeholders(self.base_url or "") | self.path_placeholders()

    def path_placeholders(self) -> frozenset[str]:
        """What the paths name in braces, but for what each request fills in."""
        return frozenset(
            name
            for operation, path in self.operations.items()
            for name in placeholders(path) - self.in_path(operation)
        )

    def in_path(self, operation: Operation) -> frozenset[str]:
        """What the path of an operation names in braces that each request fills in."""
        request = self.requests.get(operation)
        return frozenset() if request is None else request.in_path()


class Registry:
    """The rows by id and alias; immutable."""

    def __init__(self, rows: Iterable[ProviderRow]) -> None:
        self._rows = {row.id: row for row in rows}
        self._aliases = {alias: row.id for row in self._rows.values() for alias in row.aliases}

    @classmethod
    def builtin(cls) -> "Registry":
        """The shipped catalogue. Raises CatalogError."""
        return cls.from_directory(Path(__file__).parent / "catalog")

    @classmethod
    def from_directory(cls, directory: Path) -> "Registry":
        """All `*.toml` of a directory. Raises CatalogError."""
        taken: dict[str, str] = {}
        rows = []
        for file in sorted(directory.glob("*.toml")):
            row = read_row(file.read_bytes(), file.name)
            for name in (row.id, *row.aliases):
                if name in taken:
                    key = "id" if name == row.id else "aliases"
                    raise CatalogError(file.name, key, f"`{name}` is taken by {taken[name]}")
                taken[name] = file.name
            rows.append(row)
        return cls(rows)

    def get(self, name: str) -> ProviderRow | None:
        """The row of an id or alias."""
        return self._rows.get(self._aliases.get(name, name))

    def names(self) -> tuple[str, ...]:
        """All ids and aliases, for hints."""
        return (*self._rows, *self._aliases)

    def __iter__(self) -> Iterator[ProviderRow]:
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)


def read_row(text: bytes, file: str) -> ProviderRow:
    """One TOML file → its row. Raises CatalogError with the file, the key and the reason."""
    try:
        raw = tomllib.loads(text.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CatalogError(file, "", f"not valid TOML: {error}") from None
    try:
        row = msgspec.convert(raw, ProviderRow)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at ")
        # `$.auth.scheme`, or `key` in `$.operations` for a key that is wrong itself.
        key = place.rstrip("`").rpartition("`")[2].removeprefix("$").removeprefix(".")
        raise CatalogError(file, key, reason) from None
    if row.id != file.removesuffix(".toml"):
        raise CatalogError(file, "id", f"`{row.id}` must be the file's name")
    if row.base_url is not None and (fault := base_url_fault(row.base_url)) is not None:
        raise CatalogError(file, "base_url", fault)
    of_aws, schemes = row.auth.identity == "aws", ("sigv4", "bearer")
    if (row.auth.scheme == "sigv4" and not of_aws) or (of_aws and row.auth.scheme not in schemes):
        raise CatalogError(
            file, "auth.identity", "`aws` goes with scheme `sigv4` or `bearer`, and `sigv4` with it"
        )
    if row.auth.scheme == "none" and (row.env or not row.auth.optional):
        raise CatalogError(file, "auth", "scheme `none` goes with `optional = true` and no `env`")
    said = [what.lower() if isinstance(what, str) else what for told in row.errors.values() for what in told]
    if twice := [what for what in said if said.count(what) > 1]:
        raise CatalogError(file, "errors", f"`{twice[0]}` stands there twice")
    for operation, path in row.operations.items():
        if (fault := path_fault(path, row.in_path(operation))) is not None:
            raise CatalogError(file, f"operations.{operation}", fault)
    if unused := sorted(row.settings.keys() - row.placeholders()):
        raise CatalogError(
            file, f"settings.{unused[0]}", "neither the base URL nor a path names it in braces"
        )
    fault = rules.fault(row.parameters, frozenset(row.operations), row.stream_usage == "inject")
    if fault is not None:
        raise CatalogError(file, "parameters", fault)
    if (fault := wording.fault(row.requests, row.operations, row.parameters)) is not None:
        raise CatalogError(file, "requests", fault)
    if row.requests and row.auth.scheme == "sigv4":
        raise CatalogError(file, "requests", "what is signed is asked for in the caller's words")
    return row


def placeholders(text: str) -> frozenset[str]:
    """What a URL or path names in braces."""
    return frozenset(_BRACED.findall(text))


def path_fault(path: str, filled: frozenset[str] = frozenset()) -> str | None:
    """Why `path` cannot be the path of an operation, or None. `filled`: what each request fills in."""
    unknown = sorted(placeholders(path) - PATH_PLACEHOLDERS - filled)
    if unknown:
        return f"unknown placeholder {{{unknown[0]}}}; known are {_listed(PATH_PLACEHOLDERS)}"
    if re.search(r"[{}]", _BRACED.sub("", path)):
        return "braces do not match"
    return None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in sorted(names))


def plain(row: ProviderRow) -> dict[str, object]:
    """A row as plain data, without what it leaves to defaults."""

    def told(value: object) -> object:
        if isinstance(value, msgspec.Struct):
            fields = {
                field.encode_name: (getattr(value, field.name), field.default) for field in fields_of(value)
            }
            return {
                name: told(found)
                for name, (found, default) in fields.items()
                if found != default and found != {}
            }
        return {key: told(inner) for key, inner in value.items()} if isinstance(value, dict) else value

    found = told(row)
    return found if isinstance(found, dict) else {}


def base_url_fault(url: str) -> str | None:
    """Why `url` cannot be a base URL, or None."""
    unknown = sorted(placeholders(url) - PLACEHOLDERS)
    if unknown:
        return f"unknown placeholder {{{unknown[0]}}}; known are {_listed(PLACEHOLDERS)}"
    if re.search(r"[{}]", _BRACED.sub("", url)):
        return "braces do not match"
    rest = url.removeprefix("{mock}")
    if rest == url:
        scheme, found, rest = url.partition("://")
        if not found or scheme not in {"http", "https"}:
            return "must start with http:// or https://"
        if not rest or rest[0] in "/:?#":
            return "has no host"
        if "@" in rest.split("/", 1)[0]:
            return "must not hold a user or password"
    if not re.fullmatch(rf"(?:{PATH_CHARACTERS}|[\[\]{{}}])*", rest):
        return "must not hold a query, a fragment, blanks or other characters that no path has"
    if url.endswith("/"):
        return "must not end in a slash"
    return None if url.startswith("{mock}") else _authority_fault(_BRACED.sub("x", url))


def _authority_fault(url: str) -> str | None:
    """Why nothing can be connected to: no port, no host (RFC 1123; the last label has letters)."""
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError as error:
        return str(error)
    if port == 0:
        return "port 0 cannot be connected to"
    try:
        ip_address(host)
    except ValueError:
        if len(host) > 253 or not _HOST.fullmatch(host):
            return f"`{host}` is not a host name"
    return None

"""What a single value cannot show: names that must exist, cycles, secrets too weak, an unsafe listener.

Runs over whatever the reader could make of the file, so that one round of corrections is enough.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from ipaddress import ip_address, ip_network
from itertools import count
from pathlib import Path as FilePath
from typing import Final

import msgspec

from ailink.config import limits, pass_through, store_checks
from ailink.config.alerts import faults as alert_faults
from ailink.config.auto import auto_faults
from ailink.config.behind import plain_names
from ailink.config.cache_checks import cache_faults
from ailink.config.circles import cycles
from ailink.config.deployments import PlacementError, dialect_of, given, place, provider_row
from ailink.config.guardrail_checks import faults as guardrail_faults
from ailink.config.policy_checks import faults as policy_faults
from ailink.config.price_checks import file_faults, price_faults
from ailink.config.problems import Path, Place, Problem, did_you_mean, render_path
from ailink.config.process import faults as observe_faults
from ailink.config.routing import ModelRouting
from ailink.config.routing_checks import condition_faults, config_faults, group_faults, mirror_faults
from ailink.config.schema import Config, Deployment, Model, Strict
from ailink.config.units import Duration, Size
from ailink.config.weakness import is_key, weakness
from ailink.config.wildcard_checks import name_faults, replacement_faults, wildcard_faults
from ailink.providers import Registry
from ailink.providers.registry import base_url_fault, path_fault
from ailink.providers.vocabulary import DIALECT_OPERATIONS

_HOP_HEADERS: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "keep-alive"}
)
_FALLBACKS: Final = (
    "fallbacks",
    "context_window_fallbacks",
    "content_policy_fallbacks",
    "rate_limit_fallbacks",
    "cost_fallbacks",
)


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What the checks need to know besides the configuration."""

    registry: Registry
    env: Mapping[str, str]
    locate: Callable[[Path], Place]
    faulty: Set[Path] = frozenset()
    """Where the reader found problems."""
    dropped: Set[Path] = frozenset()
    """The list items it left out."""
    names: Set[str] = frozenset()
    """Every model name and alias the file mentions, faulty ones too."""
    converted: bool = False
    """The file is another gateway's, which starts without upstream keys and lets fallbacks form circles."""
    directory: FilePath | None = None
    """Where the file is; without one, the files that it names are not looked at."""


def check(config: Config, context: Context) -> list[Problem]:
    """Every problem of `config`, in the order of its sections."""
    return _Checks(config, context).run()


def is_loopback(host: str) -> bool:
    """Whether a bind to `host` can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class _Checks:
    def __init__(self, config: Config, context: Context) -> None:
        self.config = config
        self.context = context
        self.problems: list[Problem] = []
        self.broken: set[str] = set()
        """Providers of the file that have problems: not reported again for each deployment."""

    def run(self) -> list[Problem]:
        self._server()
        self._secrets()
        self._database()
        self._providers()
        self._passed_through()
        files = zip(self._kept(("prices",)), self.config.prices, strict=False)
        self._faults(file_faults(files))
        self._models()
        self._fallbacks()
        self._routing()
        self._limits()
        self._guardrails()
        for path, message in policy_faults(self.config, self._kept):
            self._report(path, message)
        return self.problems

    def _guardrails(self) -> None:
        for path, message in guardrail_faults(self.config, self._kept, self.context.directory):
            self._report(path, message)

    def _report(self, path: Path, message: str, *, note: bool = False) -> None:
        if path in self.context.faulty:
            return  # what the reader found there comes first
        self.problems.append(
            Problem(
                place=self.context.locate(path),
                path=render_path(path),
                message=message,
                severity="note" if note else "error",
            )
        )

    def _faults(self, found: Iterable[tuple[Path, str]]) -> None:
        for path, message in found:
            self._report(path, message)

    def _kept(self, path: Path) -> Iterator[int]:
        """The indices in the file of the list items that the reader kept."""
        return (index for index in count() if (*path, index) not in self.context.dropped)

    def _deployments(self) -> Iterator[tuple[Path, Model, Path, Deployment]]:
        for index, model in zip(self._kept(("models",)), self.config.models, strict=False):
            path: Path = ("models", index)
            places = self._kept((*path, "deployments"))
            for place_index, deployment in zip(places, model.deployments, strict=False):
                yield path, model, (*path, "deployments", place_index), deployment

    def _server(self) -> None:
        server = self.config.server
        self._positive(server.limits, ("server", "limits"))
        self._positive(server.drain, ("server", "drain"), zero={"delay"})
        self._positive(server.ledger, ("server", "ledger"))
        self._positive(self.config.cache, ("cache",), zero={"stale", "errors_ttl", "replay_pace"})
        self._faults(cache_faults(self.config))
        self._positive(server, ("server",))
        if server.port is None and server.uds is None:
            self._report(("server", "port"), "no listener: give `port` or `uds`")
        for index, network in zip(
            self._kept(("server", "trusted_proxies")), server.trusted_proxies, strict=False
        ):
            try:
                ip_network(network)
            except ValueError as error:
                self._report(("server", "trusted_proxies", index), f"not a network: {error}")
        if server.tls is not None:
            for name in ("cert_file", "key_file"):
                self._readable(("server", "tls", name), getattr(server.tls, name))
        elif server.port is not None and not is_loopback(server.host):
            self._exposed(server.host)

    def _exposed(self, host: str) -> None:
        if self.config.master_key is None:
            self._report(
                ("server", "host"),
                f"{host} can be reached from other machines, and there is neither `server.tls` nor a "
                "`master_key` of your own; set one of them (without a file: AILINK_MASTER_KEY) or bind to "
                "127.0.0.1",
            )
        else:
            self._report(
                ("server", "host"),
                f"{host} can be reached from other machines and without `server.tls` keys travel in clear "
                "text; leave it so only behind a proxy that ends TLS",
                note=True,
            )

    def _readable(self, path: Path, file: str) -> None:
        try:
            with FilePath(file).open("rb") as handle:
                handle.read(1)
        except OSError as error:
            self._report(path, f"cannot read {file}: {error.strerror}")

    def _positive(self, section: Strict, path: Path, zero: Set[str] = frozenset()) -> None:
        for name in section.__struct_fields__:
            value = getattr(section, name)
            if isinstance(value, Duration | Size) and value == 0 and name not in zero:
                self._report((*path, name), "must be more than 0")

    def _secrets(self) -> None:
        config = self.config
        if config.master_key is not None and (reason := weakness(config.master_key)) is not None:
            self._report(("master_key",), f"this master key {reason}")
        if config.encryption_key is not None and not is_key(config.encryption_key.reveal()):
            text = "must be 32 random bytes in base64 or hexadecimal (`openssl rand -base64 32`)"
            self._report(("encryption_key",), text)
        if config.master_key is not None and config.master_key == config.encryption_key:
            text = "must differ from `master_key`: that one is sent by clients, this one never leaves"
            self._report(("encryption_key",), text)

    def _database(self) -> None:
        for path, text in store_checks.problems(self.config):
            self._report(path, text)

    def _providers(self) -> None:
        for name, provider in self.config.providers.items():
            path: Path = ("providers", name)
            self._headers(provider.headers, (*path, "headers"))
            self._positive(provider, path)
            try:
                given(provider, "")
                row = provider_row(name, self.config, self.context.registry)
                if (
                    provider.base_url
                    and (reason := base_url_fault(provider.base_url.rstrip("/"))) is not None
                ):
                    raise PlacementError("base_url", reason)
            except PlacementError as fault:
                self.broken.add(name)
                self._report((*path, fault.key), fault.message)
                continue
            for operation, suffix in (provider.operations or {}).items():
                if (reason := path_fault(suffix)) is not None:
                    self._report((*path, "operations", operation), reason)
                home = next((name for name, own in DIALECT_OPERATIONS.items() if operation in own), "openai")
                if home != row.dialect:
                    text = f"`{operation}` is not part of the dialect `{row.dialect}`"
                    self._report((*path, "operations", operation), text)
            if (
                provider.dialect
                and provider.operations is None
                and dialect_of(provider.dialect) != self._shipped(name)
            ):
                self._report(
                    (*path, "dialect"), "another dialect than the catalogue's needs `operations` too"
                )

    def _passed_through(self) -> None:
        for path, message in pass_through.faults(self.config, self.context.registry, self.context.env):
            if str(path[1]) not in self.broken:
                self._report(path, message)

    def _shipped(self, name: str) -> str | None:
        row = self.context.registry.get(name)
        provider = self.config.providers[name]
        return row.dialect if row is not None else provider.dialect and dialect_of(provider.dialect)

    def _models(self) -> None:
        taken: dict[str, Path] = {}
        for index, model in zip(self._kept(("models",)), self.config.models, strict=False):
            path: Path = ("models", index)
            self._faults(name_faults(model, path))
            self._claim(model.name, (*path, "name"), taken)
            for alias_index, alias in zip(self._kept((*path, "aliases")), model.aliases, strict=False):
                self._claim(alias, (*path, "aliases", alias_index), taken)
            if model.auto is not None and model.deployments:
                self._report((*path, "auto"), "a model that stands for others has no `deployments`")
            if not model.deployments and model.auto is None and not self._faulty((*path, "deployments")):
                self._report((*path, "deployments"), f"the model `{model.name}` has no deployment")
            self._positive(model.timeouts, (*path, "timeouts"))
            self._faults(price_faults(model.price, (*path, "price")))
        ids: dict[str, Path] = {}
        for _, model, path, deployment in self._deployments():
            self._deployment(deployment, path)
            self._faults(wildcard_faults(model, deployment, path))
            if deployment.id is not None:
                self._claim(deployment.id, (*path, "id"), ids)

    def _claim(self, name: str, path: Path, taken: dict[str, Path]) -> None:
        if name in taken:
            first = self.context.locate(taken[name])
            self._report(path, f"`{name}` is taken already by {render_path(taken[name])} ({first})")
        else:
            taken[name] = path

    def _faulty(self, path: Path) -> bool:
        return any(faulty[: len(path)] == path for faulty in self.context.faulty)

    def _limits(self) -> None:
        models = {name for model in self.config.models for name in (model.name, *model.aliases)}
        for path, message in limits.faults(
            self.config.limits, self.config.budgets, models | self.context.names
        ):
            self._report(path, message)
        for path, message in (*alert_faults(self.config.alerts), *observe_faults(self.config.observe)):
            self._report(path, message)

    def _deployment(self, deployment: Deployment, path: Path) -> None:
        self._headers(deployment.headers, (*path, "headers"))
        self._positive(deployment.timeouts, (*path, "timeouts"))
        self._faults(price_faults(deployment.price, (*path, "price")))
        if self._broken(deployment.provider):
            return
        try:
            found = place(deployment, self.config, self.context.registry, self.context.env)
        except PlacementError as fault:
            self._report((*path, fault.key), fault.message)
            return
        if found.missing is not None and not self._faulty((*path, "api_key")):
            self._report((*path, "api_key"), found.missing, note=self.context.converted)

    def _broken(self, provider: str) -> bool:
        row = self.context.registry.get(provider)
        names = {provider} if row is None else {provider, row.id, *row.aliases}
        return bool(names & self.broken) or any(self._faulty(("providers", name)) for name in names)

    def _headers(self, headers: Mapping[str, str], path: Path) -> None:
        for name, value in headers.items():
            if name.lower() in _HOP_HEADERS or name.lower().startswith("x-ailink-"):
                self._report((*path, name), "this header belongs to the gateway")
            elif not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
                self._report((*path, name), "not a header name")
            elif not value.isascii() or not value.isprintable():
                self._report((*path, name), "a header's value must be printable ASCII")

    def _fallbacks(self) -> None:
        known = self._nameable()
        canonical = {
            name: model.name for model in self.config.models for name in (model.name, *model.aliases)
        }
        self._known(("routing", "default_fallbacks"), self.config.routing.default_fallbacks, known)
        for index, model in zip(self._kept(("models",)), self.config.models, strict=False):
            self._faults(replacement_faults(model, ("models", index), known))
        for kind in _FALLBACKS:
            edges: dict[str, list[tuple[str, Path]]] = {}
            for index, model in zip(self._kept(("models",)), self.config.models, strict=False):
                path: Path = ("models", index, kind)
                for here, name in self._known(path, getattr(model, kind), known - {model.name}):
                    if name in canonical:
                        edges.setdefault(model.name, []).append((canonical[name], here))
            for chain, path in [] if self.context.converted else cycles(edges):
                self._report(path, f"the fallbacks form a circle: {' → '.join(chain)}")

    def _nameable(self) -> Set[str]:
        """What models may name in their own place."""
        mentioned = {name for name in self.context.names if "*" not in name}
        return mentioned | plain_names(self.config)

    def _known(self, path: Path, names: tuple[str, ...], known: Set[str]) -> list[tuple[Path, str]]:
        """The names that are models', with their places; the others are reported."""
        found = []
        for index, name in zip(self._kept(path), names, strict=False):
            if name in known:
                found.append(((*path, index), name))
            else:
                self._report((*path, index), f"unknown model `{name}`{did_you_mean(name, known)}")
        return found

    def _autos(self) -> None:
        known = self._nameable()
        autos = {model.name for model in self.config.models if model.auto is not None}
        for index, model in zip(self._kept(("models",)), self.config.models, strict=False):
            if model.auto is not None:
                path: Path = ("models", index, "auto")
                self._faults(auto_faults(model.name, model.auto, path, known, autos))

    def _routing(self) -> None:
        sections: list[tuple[Path, ModelRouting]] = [(("routing",), self.config.routing)]
        for index, model in zip(self._kept(("models",)), self.config.models, strict=False):
            sections.append((("models", index, "routing"), model.routing))
            self._faults(group_faults(("models", index), model, self.config.routing))
        for path, section in sections:
            breaker = section.breaker
            self._positive(breaker, (*path, "breaker"), zero={"open", "slow_start"})
            if breaker.open is not None and breaker.open_max is not None and breaker.open > breaker.open_max:
                self._report((*path, "breaker", "open_max"), "is shorter than `open`")
            self._positive(section.overload, (*path, "overload"))
            known = self._nameable()
            self._faults(condition_faults(path, section, known))
            self._faults(mirror_faults(path, section, self.config.models, known))
        self._autos()
        for here, message in config_faults(("routing",), self.config.routing):
            self._report(here, message)

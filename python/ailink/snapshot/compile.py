"""Configuration + provider rows + prices → the snapshot and the secrets that go with it. Pure: no I/O.

The configuration has passed `config/checks.py`; what can still be wrong here (a credential that the store
does not have) is a CompileError.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from itertools import count
from typing import Final

import msgspec

from ailink.config import check_identities, pass_through
from ailink.config.auto import Auto, steps
from ailink.config.batch_sites import BatchSite, batch_site
from ailink.config.behind import behind
from ailink.config.deployments import MOCK_URL, PLUGIN_URL, Credential, Placed, place, provider_row
from ailink.config.identity import Identity
from ailink.config.schema import Config, Deployment, Model
from ailink.config.zones import ZoneError
from ailink.pricing import Catalogue
from ailink.pricing import Model as Facts
from ailink.providers import Registry, service
from ailink.providers.discovery import Found
from ailink.routers.shelf import Trained
from ailink.snapshot import caching, capabilities, prices, probes, row_words
from ailink.snapshot import model as wire
from ailink.snapshot.groups import serves, serving
from ailink.snapshot.guardrails import chosen
from ailink.snapshot.limits import compile_subjects
from ailink.snapshot.pass_through import passage, passes
from ailink.snapshot.policies import Versioned, compile_policies
from ailink.snapshot.routing import boundaries, compile_routing, elsewhere, settled, tier, timeouts
from ailink.snapshot.wildcards import Place, Sources, known
from ailink.store.credentials import slot

ALWAYS: Final = '"true"'
"""A condition that holds always, as JSON of an expression."""


class CompileError(Exception):
    """The configuration names something that is not there."""


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """What a configuration is compiled with."""

    registry: Registry
    catalogue: Catalogue
    overlays: tuple[Catalogue, ...] = ()
    """The configuration's own price files, which stand over the catalogue."""
    env: Mapping[str, str]
    mock_url: str = MOCK_URL
    plugin_socket: str = ""
    """Where providers written in Python are reached."""
    routers: Mapping[str, Trained] = msgspec.field(default_factory=dict)
    """What is in force of trained routers, by name."""
    groups: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Groups of deployments that were switched to, by model."""
    stored: Collection[str] | None = None
    """Names of the credentials in the store; None: not known, so not checked."""
    policies: tuple[Versioned, ...] = ()
    """Those of the store."""
    discovered: Mapping[str, tuple[Found, ...]] = msgspec.field(default_factory=dict)
    """What servers that are asked have answered, by the id of the wildcard's deployment."""
    today: str = ""
    """YYYY-MM-DD, UTC."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A server that is asked what it serves, under the id of the deployment; `every` in milliseconds."""

    id: str
    base_url: str
    headers: dict[str, str]
    every: int


class Compiled(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration, its snapshot, the secrets of its credential ids, names of stored ones."""

    config: Config
    snapshot: wire.Snapshot
    secrets: dict[str, bytes]
    stored: frozenset[str]
    identities: dict[str, Identity]
    """Credential ids whose tokens are to be fetched and kept fresh."""
    policies: tuple[Versioned, ...] = ()
    groups: Mapping[str, str] = {}
    """Groups of deployments that were switched to, by model."""
    subjects: list[wire.SubjectRow] = []
    """What the file limits."""
    asked: tuple[Asked, ...] = ()
    """Servers whose models are asked for."""
    sites: Mapping[str, BatchSite] = {}
    """Where batches go, by deployment."""


def compile_snapshot(config: Config, inputs: Inputs, created: int) -> Compiled:
    """The snapshot with version 0; the publisher numbers it. `created`: what models say, seconds since 1970.

    Raises CompileError.
    """
    config = msgspec.structs.replace(config, models=(*config.models, *behind(config)))
    compiler = _Compiler(config, inputs, created)
    models = [compiler.model(model) for model in config.models if not model.is_wildcard]
    wildcards = [compiler.wildcard(model) for model in config.models if model.is_wildcard]
    passed = pass_through.models(config, inputs.registry)
    wildcards += [passes(compiler.wildcard(model)) for model in passed.values()]
    try:
        policies = compile_policies(config, inputs.policies, inputs.plugin_socket)
    except ZoneError as error:
        raise CompileError(str(error)) from error
    snapshot = wire.Snapshot(
        schema=wire.SCHEMA,
        version=0,
        settings=wire.Settings(
            keepalive_comment_ms=int(config.server.keepalive_comment or 0),
            restamp_model=config.compat.restamp_model,
            assumed_output=config.budgets.assumed_output,
            budget_status=config.budgets.exceeded_status,
            explain_header=config.routing.explain.header,
            explain_keep=config.routing.explain.keep,
            explain_percent=config.routing.explain.percent,
            block_status=config.compat.guardrail_status,
        ),
        cache=caching.store(config, inputs.env),
        configs={name: str(text) for name, text in config.routing.configs.items()},
        aliases={alias: model.name for model in config.models for alias in model.aliases},
        deployments=compiler.deployments,
        models=models,
        wildcards=wildcards,
        pass_through=[
            passage(name, wildcard, inputs.registry)
            for name, wildcard in zip(passed, wildcards[len(wildcards) - len(passed) :], strict=True)
        ],
        guardrails=policies.guardrails,
        boundaries=boundaries(config),
        policies=policies.policies,
    )
    return Compiled(
        config=config,
        snapshot=snapshot,
        secrets=compiler.secrets | caching.secrets(config),
        stored=frozenset(compiler.stored),
        identities=compiler.identities
        | caching.identities(config)
        | check_identities.identities(config.guardrails),
        subjects=compile_subjects(config),
        asked=tuple(compiler.asked),
        policies=inputs.policies,
        groups=inputs.groups,
        sites=compiler.sites,
    )


def needs_mock(config: Config, inputs: Inputs) -> bool:
    """Whether a deployment goes to the in-process mock provider."""
    return any(
        place(deployment, config, inputs.registry, inputs.env).base_url.startswith(MOCK_URL)
        for model in config.models
        for deployment in model.deployments
    )


class _Compiler:
    def __init__(self, config: Config, inputs: Inputs, created: int) -> None:
        self._config = config
        self._inputs = inputs
        self._created = created
        self._ids: set[str] = {d.id for m in config.models for d in m.deployments if d.id is not None}
        self._aliases = {alias: model.name for model in config.models for alias in model.aliases}
        self.deployments: list[wire.Deployment] = []
        self.secrets: dict[str, bytes] = {}
        self.stored: set[str] = set()
        self.identities: dict[str, Identity] = {}
        self.asked: list[Asked] = []
        self.sites: dict[str, BatchSite] = {}
        self._facts: list[Facts] = []
        """What the catalogue says about the deployments of the model at hand."""

    def model(self, model: Model) -> wire.Model:
        first = len(self.deployments)
        fallbacks = model.fallbacks or self._config.routing.default_fallbacks
        self._facts = []
        group = serving(model, self._inputs.groups)
        # All of them, so that the ids of those without one of their own stay what they are.
        made = [(deployment, self._deployment(model, deployment)) for deployment in model.deployments]
        self.deployments += [one for deployment, one in made if serves(deployment, group)]
        info = prices.info(self._facts)
        routing = compile_routing(model, self._config, self._names)
        if model.replacement is not None and info is not None and (info.ends or "9") < self._inputs.today:
            instead = wire.Redirect(when=ALWAYS, then=self._names([model.replacement])[0])
            routing = msgspec.structs.replace(routing, conditions=[instead])
        return wire.Model(
            name=model.name,
            deployments=list(range(first, len(self.deployments))),
            fallbacks=[name for name in self._names(fallbacks) if name != model.name],
            routing=routing,
            cache=caching.policy(model, self._config),
            caches=caching.by_endpoint(model, self._config),
            auto=None if model.auto is None else self._auto(model.auto),
            guardrails=chosen(model, self._config),
            owned_by=model.owned_by or (self.deployments[first].provider if model.deployments else "ailink"),
            created=self._created,
            mode=model.mode,
            info=info,
        )

    def wildcard(self, model: Model) -> wire.Wildcard:
        """Its deployments are its own, not the snapshot's: those are made of them when somebody asks."""
        before, self.deployments = self.deployments, []
        compiled = self.model(model)
        own, self.deployments = self.deployments, before
        group = serving(model, self._inputs.groups)
        given = [deployment for deployment in model.deployments if serves(deployment, group)]
        places = [
            Place(
                deployment=deployment,
                family=provider_row(source.provider, self._config, self._inputs.registry).price_family,
                own_price=(source.price or model.price) is not None,
                found=self._inputs.discovered.get(deployment.id) if source.discover else None,
            )
            for deployment, source in zip(own, given, strict=True)
        ]
        self.asked += [
            self._asked(deployment, source)
            for deployment, source in zip(own, given, strict=True)
            if source.discover
        ]
        catalogues = (*self._inputs.overlays, self._inputs.catalogue)
        sources = Sources(catalogues=catalogues, today=self._inputs.today)
        return wire.Wildcard(
            model=compiled,
            deployments=own,
            open=[index for index, place in enumerate(places) if place.found is None],
            known=known(places, sources, model.mode),
        )

    def _asked(self, deployment: wire.Deployment, source: Deployment) -> Asked:
        secret = self.secrets.get(deployment.credential or "", b"").decode()
        before = {"bearer": "Bearer ", "token": "Token "}.get(deployment.auth.scheme)
        key = {deployment.auth.name: secret} if before is None else {"authorization": before + secret}
        return Asked(
            id=deployment.id,
            base_url=deployment.base_url,
            headers=deployment.headers | (key if secret and deployment.auth.scheme != "none" else {}),
            every=int(source.discover_every),
        )

    def _auto(self, auto: Auto) -> wire.Auto:
        trained = self._inputs.routers.get(auto.router or "", Trained())
        return wire.Auto(
            models=self._names(auto.models),
            thresholds=list(steps(auto)),
            incumbent=trained.incumbent,
            candidate=trained.candidate,
            percent=trained.percent,
            record=auto.record,
        )

    def _names(self, names: Iterable[str]) -> list[str]:
        """Aliases to the names of their models, each once."""
        return list(dict.fromkeys(self._aliases.get(name, name) for name in names))

    def _deployment(self, model: Model, deployment: Deployment) -> wire.Deployment:
        inputs = self._inputs
        name = deployment.model or ("*" if model.is_wildcard else model.name)
        placed = place(deployment, self._config, inputs.registry, inputs.env, inputs.mock_url, model=name)
        row = placed.row
        identity = deployment.id or self._identity(model, deployment, name)
        credential = None if placed.credential is None else self._credential(placed.credential, identity)
        price, version = self._price(model, deployment, placed, name)
        site = batch_site(deployment, row, placed.base_url, placed.settings)
        if site is not None:
            self.sites[identity] = msgspec.structs.replace(site, deployment=identity, model=name)
        facts = self._known(row.price_family, name)
        return wire.Deployment(
            id=identity,
            provider=row.id,
            dialect=row.dialect,
            model=name,
            base_url=_reached(placed.base_url, inputs.plugin_socket),
            operations=placed.operations,
            rules=row_words.rules(row, deployment.service_tier),
            requests=row_words.requests(row, deployment.voices),
            auth=row_words.auth(placed),
            credential=credential,
            credentials=self._others(placed.credential, credential),
            headers={**row.headers, **{key.lower(): value for key, value in deployment.headers.items()}},
            weight=deployment.weight,
            tier=tier(model, self._config, deployment),
            tags=list(deployment.tags),
            rpm=deployment.rpm,
            tpm=deployment.tpm,
            price=price,
            price_version=version,
            stream_usage=row.stream_usage,
            timeouts=timeouts(model, deployment),
            pool_idle_ms=row.pool_idle_ms,
            max_connections=deployment.max_connections,
            max_output=deployment.max_output or (facts and facts.max_output) or 0,
            context_window=deployment.context_window or (facts and facts.context_window) or 0,
            cannot=capabilities.certain(deployment),
            doubtful=capabilities.doubtful(deployment, facts),
            elsewhere=elsewhere(model, self._config, deployment),
            service_tier=deployment.service_tier or service.USUAL,
            region=deployment.region or "",
            keeps_nothing=deployment.zero_data_retention,
            spills=deployment.provisioned or deployment.service_tier is not None,
            check=probes.check(settled(model, self._config, "health_check"), placed, name),
            engine=probes.poll(model, self._config),
            prompt_caching=model.prompt_caching,
            model_in_path=row.model_in == "path",
            stream_in_path=row.stream_in == "path",
            public_only=deployment.public_only,
            errors=row_words.errors(row),
            rate_limit_headers=list(row.rate_limit_headers.items()),
        )

    def _identity(self, model: Model, deployment: Deployment, name: str) -> str:
        """Stable over restarts, and over changes of weight, price, timeouts, keys or the order in the file.

        Deployments that differ in nothing but their key are told apart by their order.
        """
        parts = (
            model.name,
            deployment.provider,
            name,
            deployment.base_url,
            deployment.region,
            deployment.credential,
            *(setting for setting in (deployment.account, deployment.project) if setting is not None),
        )
        candidates = (
            hashlib.sha256(msgspec.json.encode([*parts, twin])).hexdigest()[:16] for twin in count()
        )
        identity = next(candidate for candidate in candidates if candidate not in self._ids)
        self._ids.add(identity)
        return identity

    def _credential(self, credential: Credential, identity: str) -> str:
        """The slot in the data plane. A deployment's own key goes by the deployment's id."""
        if credential.stored is not None:
            if self._inputs.stored is not None and credential.stored not in self._inputs.stored:
                raise CompileError(f"the store has no credential named `{credential.stored}`")
            self.stored.add(credential.stored)
            return slot(credential.stored)
        name = credential.id or f"deployment:{identity}"
        if credential.secret is not None:
            self.secrets[name] = credential.secret.reveal().encode()
        if credential.identity is not None:
            self.identities[name] = credential.identity
        return name

    def _others(self, given: Credential | None, name: str | None) -> list[str]:
        """The slots of further keys, beside that of the first."""
        others = () if given is None else given.others
        slots = {f"{name}:{number}": key.reveal().encode() for number, key in enumerate(others, 2)}
        self.secrets |= slots
        return list(slots)

    def _known(self, family: str | None, name: str) -> Facts | None:
        return None if family is None else self._inputs.catalogue.model(family, name)

    def _price(
        self, model: Model, deployment: Deployment, placed: Placed, name: str
    ) -> tuple[wire.Price | None, str]:
        """(price, where it is from): the deployment's, the model's, or the catalogue's."""
        family = placed.row.price_family
        known, version = None, ""
        for catalogue in () if family is None else (*self._inputs.overlays, self._inputs.catalogue):
            known, version = catalogue.model(family or "", name), catalogue.version
            if known is not None:
                break
        if known is not None:
            self._facts.append(known)
        own = deployment.price or model.price
        if own is not None:
            return prices.own(own), "config"
        found = known.price if known is not None else None
        if found is None:
            return (prices.free(), "free") if placed.row.free else (None, "")
        return prices.listed(found), version


def _reached(base_url: str, plugin_socket: str) -> str:
    """The base URL as the data plane knows it: `unix:SOCKET:/NAME` for a provider written in Python."""
    name = base_url.removeprefix(f"{PLUGIN_URL}/")
    return base_url if name == base_url else f"unix:{plugin_socket}:/{name}"

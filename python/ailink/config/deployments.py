"""What a deployment of the file comes to: its provider's row, its URL, and where its credential is from.

Used by the checks, which report what is wrong, and by the compiler, which relies on them.
A shared key goes only to the origin it was given for: a deployment that moves to another host by `base_url`
must bring its own key.
"""

from collections.abc import Mapping
from typing import NamedTuple, get_args
from urllib.parse import quote, urlsplit

import msgspec

from ailink.config.identity import AwsIdentity, GoogleIdentity, Identity, identity_fault
from ailink.config.problems import did_you_mean
from ailink.config.schema import Config, Deployment, Provider
from ailink.config.secret import NO_CREDENTIAL, Secret
from ailink.providers import Auth, Dialect, Operation, ProviderRow, Registry, service
from ailink.providers.registry import base_url_fault, placeholders
from ailink.providers.vocabulary import SETTINGS, Cloud

MOCK_URL = "http://127.0.0.1:0"
PLUGIN_URL = "http://plugin.invalid"
"""Stands for the socket of providers written in Python; the data plane gets `unix:` and its path."""
"""Stands for the in-process mock while it has no port yet."""


class PlacementError(Exception):
    """Why a deployment or provider cannot work; `key` is the key of its section to look at."""

    def __init__(self, key: str, message: str) -> None:
        self.key = key
        self.message = message
        super().__init__(f"{key}: {message}")


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """Where a key comes from: the file or the environment gave it, or `stored` names it in the store."""

    id: str
    """What the data plane knows it by; says nothing about the value. Empty: the deployment's own."""
    secret: Secret | None = None
    others: tuple[Secret, ...] = ()
    """Further keys, used in turn with `secret`."""
    stored: str | None = None
    identity: Identity | None = None
    """A cloud's, whose tokens the gateway fetches itself."""


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment with its provider filled in."""

    row: ProviderRow
    base_url: str
    operations: dict[Operation, str]
    """Paths behind the base URL, without placeholders."""
    region: str | None
    """What requests are signed for."""
    credential: Credential | None
    """None: no credential is sent."""
    missing: str | None = None
    """Why a credential that the provider needs is not there."""
    settings: dict[str, str] = {}
    """What placeholders were filled with."""


def dialect_of(name: str) -> Dialect:
    """The configuration's word for a dialect → the data plane's."""
    return next((dialect for dialect in get_args(Dialect) if name.startswith(dialect)), "openai")


def own_provider(name: str, config: Config, registry: Registry) -> tuple[str, Provider | None]:
    """(canonical name, the file's own entry). Entries and uses may say the id or an alias."""
    row = registry.get(name)
    names = [name] if row is None else [name, row.id, *row.aliases]
    canonical = name if row is None else row.id
    return canonical, next((config.providers[n] for n in names if n in config.providers), None)


def provider_row(name: str, config: Config, registry: Registry) -> ProviderRow:
    """The catalogue's row with the file's entry merged over it. Raises PlacementError."""
    canonical, own = own_provider(name, config, registry)
    base = registry.get(name)
    if own is None:
        if base is None:
            known = (*config.providers, *registry.names())
            raise PlacementError("provider", f"unknown provider `{name}`{did_you_mean(name, known)}")
        return base
    if base is None:
        base = _template(canonical, own, registry)
    changes: dict[str, object] = {
        "title": own.title,
        "dialect": dialect_of(own.dialect) if own.dialect else None,
        "base_url": own.base_url,
        "operations": own.operations,
        # Paths of one's own are asked for as OpenAI's are.
        "requests": {
            operation: request
            for operation, request in base.requests.items()
            if own.operations is None or own.operations.get(operation) == base.operations[operation]
        },
        "auth": Auth(scheme=own.auth.scheme, name=own.auth.name.lower(), optional=True) if own.auth else None,
        "stream_usage": own.stream_usage,
        "pool_idle_ms": None if own.pool_idle is None else int(own.pool_idle),
        "price_family": own.price_family,
        "headers": {**base.headers, **{key.lower(): value for key, value in own.headers.items()}},
    }
    return msgspec.structs.replace(
        base, **{key: value for key, value in changes.items() if value is not None}
    )


def _template(name: str, own: Provider, registry: Registry) -> ProviderRow:
    """A provider that the catalogue does not know starts from a generic row of its dialect."""
    if own.plugin is not None:
        return ProviderRow(
            id=name,
            title=name,
            base_url=f"{PLUGIN_URL}/{name}",
            dialect="openai",
            operations={"chat": "/chat/completions", "embeddings": "/embeddings"},
            auth=Auth(scheme="none", optional=True),
            stream_usage="none",
            pool_idle_ms=4_000,
        )
    if own.dialect is None:
        raise PlacementError("dialect", f"provider `{name}` is not in the catalogue, so it needs `dialect`")
    if own.base_url is None:
        raise PlacementError("base_url", f"provider `{name}` is not in the catalogue, so it needs `base_url`")
    dialect = dialect_of(own.dialect)
    generic = registry.get("openai_compatible" if dialect == "openai" else dialect)
    if generic is None:
        raise PlacementError(
            "dialect", f"the catalogue has no row to start a provider of dialect `{dialect}` from"
        )
    auth = msgspec.structs.replace(generic.auth, optional=True)
    return msgspec.structs.replace(
        generic,
        id=name,
        title=name,
        aliases=(),
        env=(),
        auth=auth,
        price_family=None,
        pool_idle_ms=4_000,
    )


def place(
    deployment: Deployment,
    config: Config,
    registry: Registry,
    env: Mapping[str, str],
    mock_url: str = MOCK_URL,
    model: str = "",
) -> Placed:
    """Fills in what the deployment leaves to its provider. `model`: the name it has without one of its own.

    Raises PlacementError.
    """
    row = provider_row(deployment.provider, config, registry)
    values = _settings(deployment, row, env)
    shared_url = (
        None if row.base_url is None else _fill(row.base_url, values, mock_url, deployment.base_url is None)
    )
    if deployment.base_url is not None:
        url = _fill(deployment.base_url, values, mock_url) or ""
    elif shared_url is None:
        raise PlacementError("base_url", f"provider `{deployment.provider}` has no default `base_url`")
    else:
        url = shared_url
    named = row.placeholders() | placeholders(deployment.base_url or "")
    if row.auth.identity == "aws":
        named |= {"region"}
        if row.auth.scheme == "sigv4" and "region" not in values:
            raise PlacementError("region", "is missing: give `region` here, or set AWS_REGION")
    for name in SETTINGS:
        given_for_nothing = getattr(deployment, name) is not None and name not in named
        if given_for_nothing and not (name == "region" and _goes_by_region(config)):
            raise PlacementError(name, f"provider `{deployment.provider}` has no use for it")
    builtin = registry.get(deployment.provider)
    home = None
    if builtin is not None and builtin.base_url is not None:
        home = _fill(builtin.base_url, values, mock_url, needed=False)
    if deployment.service_tier is not None and not service.members(row, deployment.service_tier):
        raise PlacementError("service_tier", f"provider `{deployment.provider}` has no service tiers")
    if deployment.voices and not any("voice" in request.fields for request in row.requests.values()):
        raise PlacementError("voices", f"provider `{deployment.provider}` takes names of voices as they are")
    credential, missing = _credential(deployment, config, registry, row, env, Urls(url, shared_url, home))
    credential = _bearer(credential, row, values.get("region"))
    operations = _paths(row, values | {"model": deployment.model or model})
    return Placed(
        row=row,
        base_url=url,
        operations=operations,
        region=values.get("region"),
        credential=credential,
        missing=missing,
        settings=values,
    )


def _goes_by_region(config: Config) -> bool:
    """Whether routing asks where a deployment is."""
    bound = any(boundary.regions for boundary in config.routing.boundaries)
    return bound or bool(config.routing.regions) or any(model.routing.regions for model in config.models)


def _settings(deployment: Deployment, row: ProviderRow, env: Mapping[str, str]) -> dict[str, str]:
    """The values of placeholders: the deployment's, else the row's; AWS's region may be the environment's."""
    own: dict[str, str] = {
        name: value for name in SETTINGS if (value := getattr(deployment, name)) is not None
    }
    places = (env.get("AWS_REGION"), env.get("AWS_DEFAULT_REGION")) if row.auth.identity == "aws" else ()
    region = next(({"region": place} for place in places if place), {})
    return region | {str(name): value for name, value in row.settings.items()} | own


def _fill(template: str, values: Mapping[str, str], mock_url: str, needed: bool = True) -> str | None:
    """The base URL without placeholders and without a slash at its end; None where it lacks a setting that is
    not `needed`. Raises PlacementError.
    """
    template = template.rstrip("/")
    if (reason := base_url_fault(template)) is not None:
        raise PlacementError("base_url", reason)
    url = template.replace("{mock}", mock_url)
    for name in sorted(placeholders(url)):
        if name not in values:
            if not needed:
                return None
            raise PlacementError(name, f"`{name}` is missing: it is part of {template}")
        url = url.replace(f"{{{name}}}", values[name])
    return url


def _paths(row: ProviderRow, values: Mapping[str, str]) -> dict[Operation, str]:
    """The paths of a row without placeholders. Raises PlacementError."""
    paths: dict[Operation, str] = {}
    for operation, template in row.operations.items():
        path = template
        for name in sorted(placeholders(template) - row.in_path(operation)):
            if name not in values:
                raise PlacementError(name, f"`{name}` is missing: it is part of {template}")
            path = path.replace(f"{{{name}}}", quote(values[name], safe=""))
        paths[operation] = path
    return paths


class Urls(NamedTuple):
    """Base URLs of a deployment: the one in use, its provider entry's, the catalogue's."""

    used: str
    shared: str | None
    home: str | None


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname, default if parts.port is None else parts.port


def _credential(
    deployment: Deployment,
    config: Config,
    registry: Registry,
    row: ProviderRow,
    env: Mapping[str, str],
    urls: Urls,
) -> tuple[Credential | None, str | None]:
    """(credential, why one is missing). Order: deployment, provider entry, environment."""
    own_key = given(deployment, "")
    if own_key is not None:
        if own_key.chosen is not None and row.auth.scheme == "none":
            for name in ("api_keys", "api_key"):
                if getattr(deployment, name):
                    how = "leave it out, or say with `auth` in `providers` how it is sent"
                    raise PlacementError(name, f"provider `{deployment.provider}` takes no keys: {how}")
        return _fitting(own_key.chosen, row), None
    if row.auth.scheme == "none":
        return None, None
    canonical, own = own_provider(deployment.provider, config, registry)
    shared = given(own, f"provider:{canonical}") if own is not None else None
    if shared is not None:
        if urls.shared is not None and _origin(urls.shared) == _origin(urls.used):
            return _fitting(shared.chosen, row), None
        if not row.auth.optional:
            return None, f"the key of provider `{canonical}` is not sent to another host; give `api_key` here"
    builtin = registry.get(deployment.provider)
    if builtin is not None and urls.home is not None:
        at_home = _origin(urls.home) == _origin(urls.used)
        for variable in builtin.env if at_home else ():
            if env.get(variable, "").strip():
                secret = Secret.parse(env[variable])
                return Credential(id=f"env:{variable}", secret=secret), None
        if at_home and row.auth.identity in ("aws", "google"):
            return Credential(id=f"identity:{canonical}", identity=_default_identity(row.auth.identity)), None
    if row.auth.optional:
        return None, None
    advice = f"give `api_key` here or in `providers.{canonical}`"
    return None, f"no API key: {advice}" + (f", or set {row.env[0]}" if row.env else "")


def _bearer(credential: Credential | None, row: ProviderRow, region: str | None) -> Credential | None:
    """The credential; AWS's identity says what its bearer token is for, where no signature is taken.

    Raises PlacementError.
    """
    aws = None if credential is None or credential.identity is None else credential.identity.aws
    if credential is None or aws is None or row.auth.scheme != "bearer":
        return credential
    if aws.bearer is None:
        if region is None:
            raise PlacementError("region", "is missing: give `region` here, or set AWS_REGION")
        aws = msgspec.structs.replace(aws, bearer=f"{row.auth.name}/{region}")
    # Each region has a token of its own.
    name = f"{credential.id}:{aws.bearer}" if credential.id else ""
    return msgspec.structs.replace(credential, id=name, identity=Identity(aws=aws))


def _default_identity(cloud: Cloud) -> Identity:
    """Whom the platform says we are."""
    return Identity(aws=AwsIdentity()) if cloud == "aws" else Identity(google=GoogleIdentity())


def _fitting(credential: Credential | None, row: ProviderRow) -> Credential | None:
    """The credential, unless it is an identity that the provider has no use for. Raises PlacementError."""
    if credential is not None and credential.identity is not None:
        cloud = row.auth.identity
        if cloud is None or getattr(credential.identity, cloud) is None:
            takes = f"takes identities of `{cloud}`" if cloud else "takes no identities"
            raise PlacementError("identity", f"provider `{row.id}` {takes}")
    return credential


class Given(msgspec.Struct, frozen=True):
    """A section that speaks about its key; `chosen` is None where it says `none`."""

    chosen: Credential | None


def _pool(section: Deployment) -> Credential:
    """The first of several keys; the others go with it. Raises PlacementError."""
    if section.api_key is not None or section.credential is not None or section.identity is not None:
        raise PlacementError("api_keys", "give one of them: `api_keys`, `api_key`, `credential`, `identity`")
    values = [key.reveal() for key in section.api_keys]
    for place, value in enumerate(values):
        if not value or value == NO_CREDENTIAL or not value.isascii() or not value.isprintable():
            raise PlacementError(f"api_keys[{place}]", "must be a key in printable ASCII")
        if value in values[:place]:
            raise PlacementError(f"api_keys[{place}]", "is there twice")
    first, *others = section.api_keys
    return Credential(id="", secret=first, others=tuple(others))


def given(section: Deployment | Provider, name: str) -> Given | None:
    """What a section says about its key, under the id `name`; None: nothing. Raises PlacementError."""
    if section.api_key is not None and section.credential is not None:
        raise PlacementError("credential", "give `api_key` or `credential`, not both")
    if isinstance(section, Deployment) and section.api_keys:
        return Given(_pool(section))
    if section.identity is not None:
        if section.api_key is not None or section.credential is not None:
            raise PlacementError("identity", "give `identity` or a key, not both")
        if (fault := identity_fault(section.identity)) is not None:
            raise PlacementError(".".join(filter(None, ("identity", fault[0]))), fault[1])
        return Given(Credential(id=f"identity:{name}" if name else "", identity=section.identity))
    if section.credential is not None:
        return Given(Credential(id=f"store:{section.credential}", stored=section.credential))
    if section.api_key is None:
        return None
    if not section.api_key:
        raise PlacementError("api_key", "is empty; `none` says that no key is needed")
    key = section.api_key.reveal()
    if key == NO_CREDENTIAL:
        return Given(None)
    if not key.isascii() or not key.isprintable():
        raise PlacementError("api_key", "must be printable ASCII, because it travels in a header")
    return Given(Credential(id=name, secret=section.api_key))

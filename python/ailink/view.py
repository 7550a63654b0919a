"""What is being served, as the management endpoints show it."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ailink.admin.served import RefreshError, ServedDeployment, ServedModel, ServedProvider
from ailink.config import watch
from ailink.config.batch_sites import BatchSite
from ailink.config.deployments import own_provider, provider_row
from ailink.config.schema import Config
from ailink.providers import Registry
from ailink.snapshot.model import Deployment, Guardrail, ModelInfo
from ailink.snapshot.policies import OWN, Versioned
from ailink.snapshot.publish import Publisher
from ailink.store.config_objects import ObjectChange
from ailink.store.policies import PolicyRecord


class View:
    """The configuration in force as the management endpoints show it: `admin.served.ConfigView`."""

    def __init__(self, publisher: Publisher, reloader: watch.Reloader, registry: Registry) -> None:
        self._publisher = publisher
        self._registry = registry
        self._reloader = reloader

    def models(self) -> Sequence[ServedModel]:
        snapshot = self._publisher.current.snapshot
        aliases: dict[str, list[str]] = {}
        for alias, name in snapshot.aliases.items():
            aliases.setdefault(name, []).append(alias)
        own = [(model, snapshot.deployments) for model in snapshot.models]
        behind = [(wildcard.model, wildcard.deployments) for wildcard in snapshot.wildcards]
        return [
            ServedModel(
                name=model.name,
                mode=model.mode,
                owned_by=model.owned_by,
                created=model.created,
                aliases=tuple(aliases.get(model.name, ())),
                fallbacks=tuple(model.fallbacks),
                deployments=tuple(
                    _deployment(deployments[index], snapshot.settings.assumed_output)
                    for index in model.deployments
                ),
                **_known(model.info),
            )
            for model, deployments in own + behind
        ]

    def providers(self) -> Sequence[ServedProvider]:
        current = self._publisher.current
        used = current.snapshot.places()
        names = {own_provider(name, current.config, self._registry)[0] for name in current.config.providers}
        return [self._provider(name) for name in sorted(names | {place.provider for place in used})]

    def _provider(self, name: str) -> ServedProvider:
        current = self._publisher.current
        row = provider_row(name, current.config, self._registry)
        _, own = own_provider(name, current.config, self._registry)
        _, in_file = own_provider(name, self.file(), self._registry)
        here = [place for place in current.snapshot.places() if place.provider == name]
        keys = own is not None and any((own.api_key, own.credential, own.identity))
        return ServedProvider(
            name=name,
            title=row.title,
            dialect=row.dialect,
            base_url=row.base_url,
            in_file=in_file is not None,
            has_key=keys or any(place.credential is not None for place in here),
        )

    def batch_site(self, deployment: str) -> BatchSite | None:
        return self._publisher.current.sites.get(deployment)

    def guardrails(self) -> Sequence[tuple[Guardrail, list[str]]]:
        snapshot = self._publisher.current.snapshot
        models = [*snapshot.models, *(wildcard.model for wildcard in snapshot.wildcards)]
        return [
            (rule, [model.name for model in models if number in model.guardrails])
            for number, rule in enumerate(snapshot.guardrails)
            if not rule.name.startswith(OWN)
        ]

    def file(self) -> Config:
        return self._reloader.current.config

    def merged(self) -> Config:
        return self._publisher.current.config

    def stored_policies(self) -> Sequence[Versioned]:
        return self._publisher.current.policies

    def groups(self) -> Mapping[str, str]:
        return self._publisher.current.groups

    async def refresh(
        self,
        policies: Sequence[PolicyRecord] | None = None,
        objects: ObjectChange | None = None,
        groups: Mapping[str, str] | None = None,
    ) -> None:
        try:
            await self._reloader.refresh(policies, objects, groups)
        except watch.ApplyError as error:
            raise RefreshError(str(error), error.path) from error

    def credentials_in_use(self) -> Collection[str]:
        return self._publisher.current.stored

    def status(self) -> Mapping[str, Any]:
        return self._reloader.status.plain()


def _known(info: ModelInfo | None) -> dict[str, Any]:
    if info is None:
        return {}
    return {
        "context_window": info.context_window,
        "max_output": info.max_output,
        "takes": tuple(info.takes),
        "gives": tuple(info.gives),
        "can": tuple(info.can),
        "ends": info.ends,
    }


def _deployment(deployment: Deployment, assumed: int) -> ServedDeployment:
    rates = deployment.price.rates if deployment.price else None
    return ServedDeployment(
        id=deployment.id,
        provider=deployment.provider,
        dialect=deployment.dialect,
        model=deployment.model,
        base_url=deployment.base_url,
        weight=deployment.weight,
        input_price=rates.input if rates else None,
        output_price=rates.output if rates else None,
        cache_read_price=rates.cache_read if rates else None,
        cache_write_price=rates.cache_write if rates else None,
        price_version=deployment.price_version,
        assumed_output=min(assumed, deployment.max_output or assumed),
    )

"""What is being served, as the management endpoints show it."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ailink.admin.served import RefreshError, ServedDeployment, ServedModel
from ailink.config import watch
from ailink.config.schema import Config
from ailink.snapshot.model import Deployment, Guardrail, ModelInfo
from ailink.snapshot.policies import OWN, Versioned
from ailink.snapshot.publish import Publisher
from ailink.store.config_objects import ObjectChange
from ailink.store.policies import PolicyRecord


class View:
    """The configuration in force as the management endpoints show it: `admin.served.ConfigView`."""

    def __init__(self, publisher: Publisher, reloader: watch.Reloader) -> None:
        self._publisher = publisher
        self._reloader = reloader

    def models(self) -> Sequence[ServedModel]:
        snapshot = self._publisher.current.snapshot
        aliases: dict[str, list[str]] = {}
        for alias, name in snapshot.aliases.items():
            aliases.setdefault(name, []).append(alias)
        return [
            ServedModel(
                name=model.name,
                mode=model.mode,
                owned_by=model.owned_by,
                created=model.created,
                aliases=tuple(aliases.get(model.name, ())),
                fallbacks=tuple(model.fallbacks),
                deployments=tuple(
                    _deployment(snapshot.deployments[index], snapshot.settings.assumed_output)
                    for index in model.deployments
                ),
                **_known(model.info),
            )
            for model in snapshot.models
        ]

    def guardrails(self) -> Sequence[tuple[Guardrail, list[str]]]:
        snapshot = self._publisher.current.snapshot
        return [
            (rule, [model.name for model in snapshot.models if number in model.guardrails])
            for number, rule in enumerate(snapshot.guardrails)
            if not rule.name.startswith(OWN)
        ]

    def file(self) -> Config:
        return self._reloader.current.config

    def stored_policies(self) -> Sequence[Versioned]:
        return self._publisher.current.policies

    async def refresh(
        self,
        policies: Sequence[PolicyRecord] | None = None,
        objects: ObjectChange | None = None,
    ) -> None:
        try:
            await self._reloader.refresh(policies, objects)
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

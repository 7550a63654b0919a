"""Providers whose own paths are served: `/openai/v1/files` is `/v1/files` at OpenAI."""

from collections.abc import Iterator, Mapping

from ailink.config.deployments import Placed, PlacementError, own_provider, place
from ailink.config.problems import Path
from ailink.config.schema import Config, Deployment, Model
from ailink.providers import Registry

PREFIX = "pass_through"


def models(config: Config, registry: Registry) -> dict[str, Model]:
    """By the provider's canonical name: what its requests are billed to, whatever they name."""
    names = [
        own_provider(name, config, registry)[0] for name, own in config.providers.items() if own.pass_through
    ]
    return {
        name: Model(
            name=f"{PREFIX}/{name}/*",
            deployments=(Deployment(id=f"{PREFIX}.{name}", provider=name, model="*"),),
            # What was asked once may have had its effect.
            retries=0,
            owned_by=name,
            mode=PREFIX,
        )
        for name in sorted(names)
    }


def faults(config: Config, registry: Registry, env: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    """Providers that cannot be asked by their own paths, with the reason."""
    for given in [name for name, own in config.providers.items() if own.pass_through]:
        path: Path = ("providers", given, "pass_through")
        name = own_provider(given, config, registry)[0]
        try:
            placed = place(Deployment(provider=name, model="*"), config, registry, env)
        except PlacementError as fault:
            yield path, f"{fault.key}: {fault.message}"
            continue
        if (reason := _unfit(placed)) is not None:
            yield path, reason
        elif placed.missing is not None:
            yield path, placed.missing


def _unfit(placed: Placed) -> str | None:
    if placed.row.auth.scheme == "sigv4" or placed.row.dialect == "bedrock":
        return "requests to AWS are signed; ask by `/bedrock/` or a model of the configuration"
    if placed.row.base_url is not None and placed.base_url.startswith("http://plugin.invalid"):
        return "a provider written in Python has no paths of its own"
    return None

"""Providers whose own paths are served, as the data plane takes them."""

from urllib.parse import urlsplit

import msgspec

from ailink.config.pass_through import PREFIX
from ailink.providers import Registry
from ailink.snapshot import model as wire


def passes(wildcard: wire.Wildcard) -> wire.Wildcard:
    """A wildcard whose requests go to the provider's own paths: as they are, once, to nobody else."""
    model = wildcard.model
    routing = msgspec.structs.replace(
        model.routing,
        conditions=[],
        mirror=None,
        hedge=None,
        max_cost_pico=None,
        context_window_fallbacks=[],
        content_policy_fallbacks=[],
        rate_limit_fallbacks=[],
        cost_fallbacks=[],
    )
    return msgspec.structs.replace(
        wildcard,
        model=msgspec.structs.replace(
            model,
            routing=routing,
            fallbacks=[],
            cache=msgspec.structs.replace(model.cache, mode="off", semantic="off"),
        ),
        deployments=[
            msgspec.structs.replace(
                deployment,
                operations={"pass_through": "/"},
                rules={},
                requests={},
                prompt_caching=False,
                model_in_path=False,
                stream_in_path=False,
            )
            for deployment in wildcard.deployments
        ],
        known=[msgspec.structs.replace(known, listed=False, mode=PREFIX) for known in wildcard.known],
    )


def passage(name: str, wildcard: wire.Wildcard, registry: Registry) -> wire.PassThrough:
    """Where the requests to a provider go. `name`: its canonical one; its row's others lead there, too."""
    row = registry.get(name)
    (deployment,) = wildcard.deployments
    path = urlsplit(deployment.base_url).path.strip("/")
    return wire.PassThrough(
        names=list(dict.fromkeys((name, *(() if row is None else row.aliases)))),
        head=wildcard.model.name.removesuffix("*"),
        prefix=f"{path}/" if path else "",
        dialect=deployment.dialect,
    )

"""A caller who does not wait for the answer."""

import httpx
from tests.harness.config import Section
from tests.harness.gateway import Gateway
from tests.harness.provider import MockProvider
from tests.harness.raw import RawConnection, request
from tests.harness.until import until


def leave(
    gateway: Gateway, provider: MockProvider, path: str, body: Section, headers: dict[str, str]
) -> None:
    """Asks, and goes as soon as the provider is asked: no time-out, which a busy machine may not keep."""
    mark = provider.mark()
    with RawConnection(gateway.port) as caller:
        # The bytes that httpx sends for the same body.
        sent = httpx.Request("POST", gateway.url, json=body).content
        caller.send(request("POST", path, sent, **headers))
        until(lambda: provider.requests(mark), "the provider is asked")

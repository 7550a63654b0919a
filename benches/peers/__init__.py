"""Other gateways, installed from their registries, started and loaded like AILink in the same rounds."""

from benches.gateway.system import System
from benches.peers.litellm import LiteLLM
from benches.peers.portkey import Portkey

# Measured by their makers only: not packaged for PyPI or npm, so they do not take part here.
PUBLISHED_ONLY = {
    "Bifrost": "645 µs CPU per request derived from its makers' figures; they exclude the provider call",
    "agentgateway": "1.6 × its own plain forwarding, on cloud machines of its makers",
}


def systems() -> list[System]:
    """The peers that can be had here."""
    return [LiteLLM(lean=True), LiteLLM(lean=False), Portkey()]

"""Providers written in Python. `docs/plugins.md` has an example."""

from ailink.plugins.provider import Provider, ProviderError

__all__ = ["Provider", "ProviderError"]

"""Providers and strategies written in Python. `docs/plugins.md` has examples."""

from ailink.plugins.provider import Provider, ProviderError
from ailink.plugins.strategy import Place, Strategy

__all__ = ["Place", "Provider", "ProviderError", "Strategy"]

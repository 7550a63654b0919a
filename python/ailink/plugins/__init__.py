"""Providers, strategies and guardrails written in Python. `docs/plugins.md` has examples."""

from ailink.plugins.guardrail import Context, Guardrail, Verdict
from ailink.plugins.provider import Provider, ProviderError
from ailink.plugins.strategy import Place, Strategy

__all__ = ["Context", "Guardrail", "Place", "Provider", "ProviderError", "Strategy", "Verdict"]

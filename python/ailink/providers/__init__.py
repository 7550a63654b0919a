"""Providers as data: one TOML row each, checked at start; the configuration file's own merge over them."""

from ailink.providers.registry import Auth, CatalogError, ProviderRow, Registry
from ailink.providers.vocabulary import OPERATIONS, AuthScheme, Dialect, Operation, StreamUsage

__all__ = [
    "OPERATIONS",
    "Auth",
    "AuthScheme",
    "CatalogError",
    "Dialect",
    "Operation",
    "ProviderRow",
    "Registry",
    "StreamUsage",
]

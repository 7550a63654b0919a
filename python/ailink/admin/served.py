"""What the running configuration serves, as the management endpoints show it. Whoever publishes snapshots
provides it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from ailink.config.batch_sites import BatchSite
from ailink.config.schema import Config
from ailink.snapshot.model import Guardrail
from ailink.snapshot.policies import Versioned
from ailink.store.config_objects import ObjectChange
from ailink.store.policies import PolicyRecord


class RefreshError(Exception):
    """What was changed cannot be put in force; nothing has changed. `path`: where in it."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class ServedDeployment(msgspec.Struct, frozen=True, kw_only=True):
    """One place where a model is had. Prices are pico-USD per 1,000,000 tokens; None: not known."""

    id: str
    provider: str
    dialect: str
    model: str
    base_url: str
    weight: int = 1
    input_price: int | None = None
    output_price: int | None = None
    cache_read_price: int | None = None
    cache_write_price: int | None = None
    price_version: str = ""
    assumed_output: int = 0
    """Output tokens set aside for a request without a maximum."""


class ServedModel(msgspec.Struct, frozen=True, kw_only=True):
    """One name that clients may ask for."""

    name: str
    mode: str
    owned_by: str
    created: int
    aliases: tuple[str, ...] = ()
    fallbacks: tuple[str, ...] = ()
    deployments: tuple[ServedDeployment, ...] = ()
    context_window: int | None = None
    max_output: int | None = None
    takes: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()
    can: tuple[str, ...] = ()
    ends: str | None = None
    """Day its provider ends it, YYYY-MM-DD."""


class ServedProvider(msgspec.Struct, frozen=True, kw_only=True):
    """A provider in use: named by the configuration, or by a deployment. `base_url`: None where deployments
    have their own.
    """

    name: str
    title: str
    dialect: str
    base_url: str | None
    in_file: bool
    has_key: bool


class ConfigView(Protocol):
    """The configuration in force; nothing it tells is secret."""

    def models(self) -> Sequence[ServedModel]:
        """In the order of the file."""

    def providers(self) -> Sequence[ServedProvider]:
        """By name."""

    def batch_site(self, deployment: str) -> BatchSite | None:
        """Where the batches of a deployment go; None: nowhere."""

    def guardrails(self) -> Sequence[tuple[Guardrail, list[str]]]:
        """In the order of the file, each with the names of the models it holds for."""

    def file(self) -> Config:
        """The file itself."""

    def merged(self) -> Config:
        """The file with the models and providers of the API beside it, as it is in force."""

    def stored_policies(self) -> Sequence[Versioned]:
        """The policies of the store that are in force."""

    def groups(self) -> Mapping[str, str]:
        """Groups of deployments that were switched to, by model, as they are in force."""

    async def refresh(
        self,
        policies: Sequence[PolicyRecord] | None = None,
        objects: ObjectChange | None = None,
        groups: Mapping[str, str] | None = None,
    ) -> None:
        """Puts the file, these policies, these models and providers and these groups in force; None: those of
        the store. Raises RefreshError.
        """

    def credentials_in_use(self) -> Collection[str]:
        """Names of the stored credentials that deployments in force use."""

    def status(self) -> Mapping[str, Any]:
        """Version, source, errors of the last reload: JSON-ready, as in `/health/ready`."""

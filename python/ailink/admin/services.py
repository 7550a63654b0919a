"""Everything the handlers work with, put together in one place."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ailink.admin.changes import Changes
from ailink.admin.credentials import CredentialService
from ailink.admin.documents import Reader
from ailink.admin.key_access import RouteTable
from ailink.admin.key_digests import KeyDigests
from ailink.admin.keys import KeyService
from ailink.admin.models import ModelService
from ailink.admin.plane import Endpoint, Plane
from ailink.admin.plane_sync import PlaneSync
from ailink.admin.policies import PolicyService
from ailink.admin.served import ConfigView
from ailink.admin.stored_responses import StoredResponses
from ailink.admin.switching import Switching
from ailink.admin.vault import VaultService
from ailink.approvals.decisions import Decisions
from ailink.approvals.desk import Desk
from ailink.approvals.notices import notices
from ailink.batches.files import FileService
from ailink.batches.service import BatchService
from ailink.batches.vault import FileVault
from ailink.ledger.reader import LedgerReader, LedgerSource
from ailink.observe.alerts import AlertSender
from ailink.observe.metrics import ShellMetrics
from ailink.observe.redaction import Redactor
from ailink.secrets.keyring import Keyring
from ailink.store.database import Database


def wall_clock_us() -> int:
    """µs since 1970."""
    return time.time_ns() // 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOptions:
    """What the services are made of. `endpoints`, `operations` and `outcomes` come from `_core`, under these
    names.
    """

    database: Database
    keyring: Keyring
    plane: Plane
    config: ConfigView
    master_key: str | None
    endpoints: Iterable[tuple[str, str, str, str]]
    operations: Sequence[str]
    outcomes: Sequence[str]
    redactor: Redactor
    version: str
    # Whether the public listener is bound to loopback, where /metrics needs no key.
    loopback: bool
    # Slot id → how the cloud identity behind it is doing.
    identities: Callable[[], Mapping[str, object]] = dict
    now_us: Callable[[], int] = wall_clock_us
    # This node's number among several.
    node: int = 0
    # The ledger of all nodes, where there is one.
    ledger: LedgerSource | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What every handler is given."""

    database: Database
    keyring: Keyring
    plane: Plane
    config: ConfigView
    changes: Changes
    keys: KeyService
    credentials: CredentialService
    policies: PolicyService
    models: ModelService
    switching: Switching
    vault: VaultService
    documents: Reader
    stored: StoredResponses
    ledger: LedgerReader
    metrics: ShellMetrics
    alerts: AlertSender
    desk: Desk
    decisions: Decisions
    endpoints: tuple[Endpoint, ...]
    # Names of the codes in the ledger: the index is the code.
    operations: tuple[str, ...]
    outcomes: tuple[str, ...]
    version: str
    identities: Callable[[], Mapping[str, object]]
    files: FileService
    batches: BatchService
    started_us: int
    metrics_public: bool


def build(options: ServiceOptions) -> Services:
    """Puts the services together; does no I/O."""
    endpoints = tuple(Endpoint(*row) for row in options.endpoints)
    digests = KeyDigests(options.keyring.pepper)
    routes = RouteTable(endpoints)
    changes = Changes(options.database, PlaneSync(options.plane, routes, options.now_us), options.now_us)
    alerts, metrics = AlertSender(options.database, options.now_us), ShellMetrics(options.version)
    desk = Desk(options.database, options.keyring, options.plane, options.now_us, notices(alerts))
    desk.count = metrics.approval
    if options.master_key:
        options.redactor.add(options.master_key)
    vault = FileVault(options.database, options.keyring, options.now_us)
    files = FileService(options.database, vault, lambda: options.config.file().batches, options.now_us)
    master = digests.of_key(options.master_key) if options.master_key else None
    return Services(
        database=options.database,
        keyring=options.keyring,
        plane=options.plane,
        config=options.config,
        changes=changes,
        keys=KeyService(
            changes,
            options.plane,
            routes,
            digests,
            master,
            options.keyring,
        ),
        credentials=CredentialService(
            options.database, options.keyring, options.plane, options.config, options.redactor, options.now_us
        ),
        policies=PolicyService(options.database, options.config, options.now_us),
        models=ModelService(changes, options.keyring, options.config),
        switching=Switching(options.database, options.config, options.now_us),
        documents=Reader(),
        stored=StoredResponses(options.database, options.keyring),
        vault=VaultService(options.database, options.keyring, options.plane, options.now_us),
        ledger=LedgerReader(options.ledger or options.plane),
        metrics=metrics,
        alerts=alerts,
        desk=desk,
        decisions=Decisions(desk),
        endpoints=endpoints,
        operations=tuple(options.operations),
        outcomes=tuple(options.outcomes),
        version=options.version,
        identities=options.identities,
        files=files,
        batches=BatchService(
            files, options.plane, options.config, master, (options.ledger or options.plane, options.node)
        ),
        started_us=options.now_us(),
        metrics_public=options.loopback,
    )

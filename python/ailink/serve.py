"""The process: what is started in which order, what the signals do, how it ends.

Snapshot, secrets and virtual keys go to the data plane *before* it accepts: connections may wait already.
"""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from ailink import __version__, _core, coordination, store
from ailink.admin import services as shell_services
from ailink.admin.follower import Follower
from ailink.admin.stored_config import StoredConfig
from ailink.admin.upkeep import Upkeep
from ailink.approvals.desk import Desk
from ailink.batches.follower import Follower as BatchFollower
from ailink.config import inherited, loader, watch
from ailink.config.checks import is_loopback
from ailink.config.data_dir import DataDir, DataDirError
from ailink.config.loader import Loaded, Overrides
from ailink.config.policy_text import PolicyFault
from ailink.config.problems import ConfigError
from ailink.config.schema import Config, routers_of
from ailink.config.secrets import secrets_in
from ailink.config.stored import StoredFault
from ailink.identities import Refresher
from ailink.ledger import shared
from ailink.ledger import verdicts as ledger_verdicts
from ailink.ledger.reader import LedgerReader, LedgerSource
from ailink.ledger.retention import Retention
from ailink.observe import logging as log_lines
from ailink.observe.alerts import AlertSender
from ailink.observe.events import EventReader
from ailink.observe.redaction import Redactor
from ailink.observe.tracing import Exporter
from ailink.plugins.host import PluginHost
from ailink.plugins.runner import PluginError
from ailink.plugins.weighing import Weighing
from ailink.providers import CatalogError, Registry
from ailink.secrets.envelope import EnvelopeError
from ailink.secrets.keyring import KeyringError, open_keyring
from ailink.shell.app import create_app
from ailink.shell.server import ServerError, ShellServer
from ailink.snapshot import compile as compiler
from ailink.snapshot import endings
from ailink.snapshot.discoverer import Discoverer
from ailink.snapshot.inputs import gather
from ailink.snapshot.machine import available_memory, raise_descriptor_limit
from ailink.snapshot.options import Process, compile_options
from ailink.snapshot.publish import Publisher, PublishError
from ailink.snapshot.stored_policies import policies_in_force
from ailink.store import migrate, policies
from ailink.store.config_objects import ObjectChange
from ailink.store.database import Database, DatabaseError
from ailink.store.migrate import MigrationError
from ailink.store.policies import PolicyRecord
from ailink.view import View

log = logging.getLogger(__name__)

SWITCH_INTERVAL: Final = 0.0005
SHELL_STOP_SECONDS: Final = 5.0
FORCED_STOP_SECONDS: Final = 2.0


class StartError(Exception):
    """The gateway cannot start; the text is for the operator."""


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to say when the gateway is ready."""

    config: Config
    source: str
    port: int
    """0: no TCP listener."""
    seconds: float


class ServeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line decides. `file` None: the embedded default, relative to `directory`."""

    file: Path | None
    directory: Path
    overrides: Overrides
    started: Callable[[Started], None]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended: with an exit code, or with sockets for the process that follows."""

    code: int = 0
    kept: tuple[int, ...] | None = None


def serve(options: ServeOptions) -> int:
    """Runs the gateway until it is told to stop; the exit code. Raises ConfigError and StartError."""
    began = time.monotonic()
    sys.setswitchinterval(SWITCH_INTERVAL)
    fds = inherited.take(os.environ)
    try:
        registry = Registry.builtin()
    except CatalogError as error:
        raise StartError(str(error)) from error
    outcome = uvloop.run(Gateway(options, registry, fds, began).run())
    if outcome.kept is not None:
        inherited.hand_over(sys.executable, [sys.executable, *sys.orig_argv[1:]], outcome.kept, os.environ)
    return outcome.code


class Gateway:
    """One run of the process. Make it outside the event loop, `run` it once."""

    def __init__(self, options: ServeOptions, registry: Registry, fds: tuple[int, ...], began: float) -> None:
        self._options = options
        self._registry = registry
        self._fds = fds
        self._began = began
        self._redactor = Redactor()
        self._ends = AsyncExitStack()
        self._stop = asyncio.Event()
        self._forced = asyncio.Event()
        self._signal = 0
        self._code = 0
        self._restart = False
        self._ready = False
        self._mock: _core.Mock | None = None
        self._mock_url = ""
        self._weighing: Weighing | None = None
        self._traces: Exporter | None = None
        self._loaded: Loaded
        self._serving: Loaded
        self._admin_key: str
        self._plane: _core.Plane
        self._database: Database
        self._publisher: Publisher
        self._models: StoredConfig
        self._reloader: watch.Reloader
        self._shell: ShellServer
        self._background: asyncio.Task[None]
        self._identities: Refresher
        self._discoverer: Discoverer
        self._plugins: PluginHost
        self._alerts: AlertSender
        self._desk: Desk

    async def run(self) -> Outcome:
        """Start, wait, end. Raises ConfigError and StartError; nothing is left running then."""
        self._loaded = self._load()
        self._logging(self._loaded.config)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        loop.add_signal_handler(signal.SIGUSR2, self._on_restart)
        async with self._ends:
            await self._start()
            watching = asyncio.create_task(self._reloader.watch(self._stop))
            guarding = asyncio.create_task(self._guard_shell())
            await self._stop.wait()
            outcome = await self._drain()
            guarding.cancel()
            await watching
        log.info("stopped" if outcome.kept is None else "starting anew")
        return outcome

    # ── start ────────────────────────────────────────────────────────────────────────────────────────────

    def _load(self) -> Loaded:
        env, overrides = dict(os.environ), self._options.overrides
        if self._options.file is None:
            return loader.embedded(self._options.directory, self._registry, env, overrides)
        return loader.load(self._options.file, self._registry, env, overrides)

    def _logging(self, config: Config) -> None:
        for secret in secrets_in(config):
            self._redactor.add(secret.reveal())
        log_lines.configure(config.observe.log_format, config.observe.log_level, self._redactor)

    async def _start(self) -> None:
        config = self._loaded.config
        raise_descriptor_limit()
        try:
            data = DataDir(Path(config.data_dir))
            self._ends.callback(data.close)
            self._admin_key = config.master_key.reveal() if config.master_key else data.admin_key()
            self._database = await self._open_database(config, data)
            encryption_key = config.encryption_key.reveal() if config.encryption_key else None
            keyring = await open_keyring(self._database, encryption_key=encryption_key, data_dir=data.path)
        except (DataDirError, DatabaseError, MigrationError, KeyringError, ValueError) as error:
            raise StartError(str(error)) from error
        socket = data.shell_socket()
        process = Process(
            shell_socket=str(socket), pepper=keyring.pepper, fds=self._fds, memory_bytes=available_memory()
        )
        self._plugins = PluginHost(socket.with_name("plug.sock"))
        self._ends.push_async_callback(self._plugins.stop)
        self._plane = self._new_plane(config, process)
        self._publisher = Publisher(self._plane)
        self._models = StoredConfig(self._database, keyring, self._registry)
        self._reloader = watch.Reloader(self._load, self._apply, self._report)
        self._identities = Refresher(self._push_tokens, self._redactor.clean, self._redactor.add)
        self._ends.push_async_callback(self._identities.stop)
        self._discoverer = Discoverer(self._on_discovery)
        services = shell_services.build(
            shell_services.ServiceOptions(
                database=self._database,
                keyring=keyring,
                plane=self._plane,
                config=View(self._publisher, self._reloader, self._registry),
                master_key=self._admin_key,
                endpoints=_core.endpoints(),
                operations=_core.operations(),
                outcomes=_core.outcomes(),
                redactor=self._redactor,
                version=__version__,
                identities=self._identities.status,
                node=config.server.node,
                ledger=await self._share(config),
                loopback=config.server.port is None or is_loopback(config.server.host),
            )
        )
        self._alerts, self._desk = services.alerts, services.desk
        await self._start_shell(services, socket)
        follower = Follower(services)
        await self._fill(services, follower)
        await self._look_after(services)
        follower.start()
        self._ends.push_async_callback(follower.stop)
        self._desk.start()
        self._ends.push_async_callback(self._desk.stop)
        upkeep = Upkeep(services, self._routing_of)
        upkeep.start()
        self._ends.push_async_callback(upkeep.stop)
        self._ends.push_async_callback(self._alerts.stop)
        events = EventReader(self._plane, services.metrics, [upkeep.listen, self._alerts.hear])
        events.start()
        self._ends.callback(events.stop)
        self._accept()

    async def _open_database(self, config: Config, data: DataDir) -> Database:
        database = await store.open(config.database_url, data.path)
        self._ends.push_async_callback(database.close)
        await migrate.apply(database)
        return database

    def _new_plane(self, config: Config, process: Process) -> _core.Plane:
        try:
            plane = _core.Plane(msgspec.msgpack.encode(compile_options(config, process)))
        except (OSError, ValueError, RuntimeError) as error:
            raise StartError(f"the data plane does not start: {error}") from error
        self._ends.push_async_callback(asyncio.to_thread, plane.stop)
        return plane

    async def _start_shell(self, services: shell_services.Services, socket: Path) -> None:
        shell = ShellServer()
        try:
            await shell.start(create_app(services), socket)
        except (OSError, ServerError) as error:
            raise StartError(f"the shell cannot listen on {socket}: {error}") from error
        self._ends.push_async_callback(services.documents.stop)
        self._ends.push_async_callback(shell.stop, SHELL_STOP_SECONDS)
        self._shell = shell

    async def _fill(self, services: shell_services.Services, follower: Follower) -> None:
        """Gives the data plane all it needs before the first request."""
        try:
            await self._reloader.start(self._loaded)
            await follower.begin()
            self._plane.push_credentials(await services.credentials.load())
            subjects = await services.changes.sync.load_subjects(self._database)
            await asyncio.to_thread(self._plane.apply_subjects, subjects, msgspec.msgpack.encode([]))
            async for rows in services.keys.load():
                # In a thread: the plane writes the names of new keys to its ledger first.
                await asyncio.to_thread(self._plane.upsert_keys, rows)
        except (watch.ApplyError, EnvelopeError, DatabaseError) as error:
            raise StartError(str(error)) from error

    async def _look_after(self, services: shell_services.Services) -> None:
        """Begins with batches, with what deployments are weighed and checked by, and with asking servers what
        they have.
        """
        batches = BatchFollower(services.batches)
        batches.start()
        self._ends.push_async_callback(batches.stop)
        self._weighing = Weighing(
            self._plane,
            self._plugins.find,
            lambda: self._publisher.current.snapshot.deployments,
            services.metrics.strategy,
        )
        self._weighing.use(self._serving.config)
        self._ends.push_async_callback(self._weighing.stop)
        self._trace(services)
        coordination.share_checks(self._loaded.config, self._plane, self._has_checks, self._ends)
        coordination.share_routing(self._loaded.config, self._plane, self._ends)
        self._ends.push_async_callback(self._discoverer.stop)
        await self._discoverer.start()

    def _trace(self, services: shell_services.Services) -> None:
        """Begins to tell a collector of requests, if there is one."""
        # A node tells of its own requests, whoever else has a ledger.
        ledger = LedgerReader(self._plane)
        self._traces = Exporter(
            self._plane,
            lambda ids: ledger_verdicts.of_requests(ledger, ids),
            services.metrics.spans,
            {"service.version": __version__, "ailink.node": self._loaded.config.server.node},
        )
        self._traces.use(self._serving.config.observe.otlp)
        self._ends.push_async_callback(self._traces.stop)

    async def _share(self, config: Config) -> LedgerSource | None:
        """Begins to work with other nodes, if there are any; the ledger of all of them."""
        try:
            coordination.share_limits(config, self._plane, self._ends)
            ledger = await shared.open_ledger(self._plane, self._database, config.server.node, self._ends)
        except (ValueError, RuntimeError) as error:
            raise StartError(str(error)) from None
        if (keep := config.server.ledger.keep) is not None:
            shipper = None if ledger is None else ledger.shipper
            retention = Retention(self._plane, self._database, shipper, int(keep) * 1_000)
            retention.start()
            self._ends.push_async_callback(retention.stop)
        return ledger

    def _accept(self) -> None:
        try:
            port = self._plane.start()
        except (OSError, ValueError, RuntimeError) as error:
            raise StartError(str(error)) from error
        self._ready = True
        self._report(self._reloader.status)
        seconds = time.monotonic() - self._began
        config, source = self._loaded.config, self._loaded.source
        self._options.started(Started(config=config, source=source, port=port, seconds=seconds))

    # ── configuration in force ───────────────────────────────────────────────────────────────────────────

    async def _apply(
        self,
        loaded: Loaded,
        stored_policies: Sequence[PolicyRecord] | None = None,
        objects: ObjectChange | None = None,
        groups: Mapping[str, str] | None = None,
    ) -> int:
        """Compiles and publishes; policies, models, providers of the API, and groups that were switched to,
        are those of the database unless others are given.

        Raises ApplyError.
        """
        try:
            records = stored_policies
            if records is None:
                records = await policies.everything(self._database)
            config = await self._models.beside(loaded.config, objects)
            found, socket = self._discoverer.found(), self._plugins.socket
            inputs = await gather(config, self._registry, self._database, socket, groups, found)
            in_force = policies_in_force(records, config, leave_out=stored_policies is None)
            inputs = msgspec.structs.replace(inputs, policies=in_force)
            if await asyncio.to_thread(compiler.needs_mock, config, inputs):
                inputs = msgspec.structs.replace(inputs, mock_url=await self._start_mock())
            created = loaded.modified or int(time.time())
            compiled = await asyncio.to_thread(compiler.compile_snapshot, config, inputs, created)
            async with self._plugins.using(config, loaded.file):
                version = await self._publisher.publish(compiled)
        except StoredFault as error:
            raise watch.ApplyError(str(error), error.path) from error
        except (compiler.CompileError, PublishError, DatabaseError, PluginError) as error:
            raise watch.ApplyError(str(error)) from error
        except (PolicyFault, EnvelopeError) as error:
            raise watch.ApplyError(str(error)) from error
        loaded = msgspec.structs.replace(loaded, config=config)
        self._serving = loaded
        await self._identities.use(compiled.identities)
        self._discoverer.use(compiled.asked)
        self._alerts.configure(loaded.config.alerts)
        self._desk.rules = loaded.config.approvals
        if self._weighing is not None:
            self._weighing.use(config)
        if self._traces is not None:
            self._traces.use(config.observe.otlp)
        for secret in compiled.secrets.values():
            self._redactor.add(secret.decode())
        self._logging(loaded.config)
        for text in endings.warnings(compiled.snapshot, datetime.now(UTC).date()):
            log.warning("%s", text)
        return version

    def _has_checks(self) -> bool:
        snapshot = self._publisher.current.snapshot
        behind = (deployment for wildcard in snapshot.wildcards for deployment in wildcard.deployments)
        return any(one.check is not None for one in (*snapshot.deployments, *behind))

    def _routing_of(self) -> tuple[Path, dict[str, str]]:
        """Where routers are, and which model uses which."""
        return Path(self._serving.config.data_dir), routers_of(self._serving.config)

    def _push_tokens(self, tokens: dict[str, bytes]) -> None:
        self._plane.push_credentials(msgspec.msgpack.encode(tokens))

    async def _start_mock(self) -> str:
        """The address of the in-process mock provider, which is started when a model first asks for it."""
        if self._mock is None:
            self._mock = _core.Mock("{}")
            self._ends.push_async_callback(asyncio.to_thread, self._mock.stop)
            self._mock_url = f"http://127.0.0.1:{await asyncio.to_thread(self._mock.start)}"
        return self._mock_url

    async def _on_discovery(self) -> None:
        """A server serves other models than before."""
        try:
            await self._reloader.refresh()
        except watch.ApplyError as error:
            log.error("what was discovered is not in force: %s", error)

    def _report(self, status: watch.Status) -> None:
        """What `/health/ready` says from now on."""
        self._plane.set_status(self._ready, msgspec.json.encode({"config": status}))

    # ── signals ──────────────────────────────────────────────────────────────────────────────────────────

    def _on_stop(self, number: int) -> None:
        if self._stop.is_set():
            self._forced.set()
        self._signal = number
        self._stop.set()

    def _on_hangup(self) -> None:
        if self._ready and not self._stop.is_set():
            self._background = asyncio.create_task(self._reload())

    def _on_restart(self) -> None:
        if self._ready and not self._stop.is_set():
            self._background = asyncio.create_task(self._prepare_restart())

    async def _reload(self) -> None:
        await self._reloader.reload()
        if self._loaded.config.server.tls is not None:
            try:
                await asyncio.to_thread(self._plane.reload_tls)
                log.info("certificates were read again")
            except ValueError as error:
                log.error("the former certificates stay in use: %s", error)

    async def _prepare_restart(self) -> None:
        """A process that could not start again does not stop."""
        try:
            await asyncio.to_thread(self._load)
        except ConfigError as error:
            log.error("no restart, because the configuration has problems: %s", error)
            return
        self._restart = True
        self._stop.set()

    # ── end ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _guard_shell(self) -> None:
        """Without the shell there is no management: a supervisor should start the process anew."""
        try:
            await self._shell.wait()
        except ServerError as error:
            log.error("%s; the gateway drains and stops", error)
            self._code = 1
            self._stop.set()

    async def _drain(self) -> Outcome:
        """Lets requests finish. Before that the sockets are kept for a successor, if there is to be one."""
        kept = inherited.keep(self._plane.listen_fds()) if self._restart else None
        log.info("draining" if kept is None else "draining for a restart; new connections wait")
        drained = asyncio.create_task(asyncio.to_thread(self._plane.drain))
        forced = asyncio.create_task(self._forced.wait())
        await asyncio.wait({drained, forced}, return_when=asyncio.FIRST_COMPLETED)
        if not drained.done():
            await self._abort()
        forced.cancel()
        await drained
        if kept is None:
            self._remove_uds()
        return Outcome(code=self._code, kept=kept)

    def _remove_uds(self) -> None:
        """An inherited socket is its giver's to remove."""
        uds = self._loaded.config.server.uds
        if uds is not None and not self._fds:
            Path(uds).unlink(missing_ok=True)

    async def _abort(self) -> None:
        """The second signal: requests are cut. Does not return: the drain may still hold its thread."""
        log.warning("stopping at once")
        stopping = asyncio.create_task(asyncio.to_thread(self._plane.stop))
        await asyncio.wait({stopping}, timeout=FORCED_STOP_SECONDS)
        logging.shutdown()
        os._exit(128 + self._signal)

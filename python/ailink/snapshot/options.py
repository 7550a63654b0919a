"""What the data plane is started with: the part of the configuration that a reload does not change."""

import ssl
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

import msgspec

from ailink.config.checks import is_loopback
from ailink.config.schema import Config
from ailink.snapshot import model as wire

DRAIN_DELAY_MS: Final = 10_000
MEMORY_SHARE: Final = 4
"""Request bodies may take this part of the memory the process may use."""


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """What the start of the process contributes to PlaneOptions."""

    shell_socket: str
    pepper: bytes
    fds: tuple[int, ...]
    memory_bytes: int
    """What the process may use; see `available_memory`."""


def compile_options(config: Config, process: Process) -> wire.PlaneOptions:
    """What the data plane is started with."""
    server, limits = config.server, config.server.limits
    delay = server.drain.delay
    if delay is None:
        local = server.port is None or is_loopback(server.host)
        delay_ms = 0 if local else DRAIN_DELAY_MS
    else:
        delay_ms = int(delay)
    in_flight = limits.body_bytes_in_flight
    return wire.PlaneOptions(
        threads=server.threads,
        node=server.node,
        runtime=server.runtime,
        data_dir=config.data_dir,
        shell_socket=process.shell_socket,
        pepper=process.pepper,
        listen=wire.Listen(
            host="" if server.port is None else server.host,
            port=server.port or 0,
            uds=server.uds,
            fds=list(process.fds),
        ),
        tls=wire.Tls(cert_file=server.tls.cert_file, key_file=server.tls.key_file) if server.tls else None,
        limits=wire.Limits(
            header_bytes=int(limits.header_bytes),
            header_count=limits.header_count,
            header_timeout_ms=int(limits.header_timeout),
            body_bytes=int(limits.body_bytes),
            body_idle_ms=int(limits.body_idle),
            keepalive_idle_ms=int(limits.keepalive_idle),
            write_stall_ms=int(limits.write_stall),
            connections=limits.connections,
            requests_in_flight=limits.requests_in_flight,
            body_bytes_in_flight=process.memory_bytes // MEMORY_SHARE
            if in_flight is None
            else int(in_flight),
            h2_streams=limits.h2_streams,
            shell_in_flight=limits.shell_in_flight,
            session_idle_ms=int(limits.session_idle),
            session_message_bytes=int(limits.session_message),
        ),
        drain=wire.Drain(delay_ms=delay_ms, timeout_ms=int(server.drain.timeout)),
        trusted_proxies=list(server.trusted_proxies),
        ledger=wire.Ledger(
            segment_slots=server.ledger.segment_slots,
            max_bytes=int(server.ledger.max_bytes),
            flush_ms=int(server.ledger.flush),
        ),
        shared_limits=config.redis_url is not None,
        shared_store=config.database_url.startswith("postgres"),
        repeats=_repeats(config),
    )


def _repeats(config: Config) -> wire.Repeats | None:
    if config.redis_url is None:
        return None
    address, _, query = config.redis_url.reveal().partition("?")
    return wire.Repeats(
        url=address,
        authority=_authority(query) if address.startswith("rediss") else None,
        timeout_ms=int(config.coordination.timeout),
    )


def _authority(query: str) -> str | None:
    """Whom the coordinator's own connection trusts: what its address names, or this machine does."""
    named = parse_qs(query).get("ssl_ca_certs", [])
    for path in [*named, ssl.get_default_verify_paths().cafile]:
        with suppress(OSError, UnicodeDecodeError):
            if path is not None:
                return Path(path).read_text(encoding="utf-8")
    return None

"""What the kernel knows of TCP connections, and upstreams that are hard to talk to."""

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

ESTABLISHED, SYN_SENT = 1, 2

# linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY = 4, 20
NLM_F_REQUEST_DUMP, NLMSG_DONE = 0x301, 3
HEADER = struct.Struct("=IHHII")
REQUEST = struct.Struct("=BBBBI48x")
MESSAGE = struct.Struct("=BBBB2s2s44xIIIII")


class Tcp(NamedTuple):
    """One end of a connection."""

    local_port: int
    remote_port: int
    state: int
    unsent: int
    """Bytes in the send queue."""


def connections_to(port: int, *states: int) -> list[Tcp]:
    """Ends of IPv4 connections to a port, in one of these states.

    Asked over netlink (sock_diag(7)): /proc/net/tcp would list every TIME_WAIT of the machine as well, which
    takes longer than what is measured with this.
    """
    mask = sum(1 << state for state in states)
    body = REQUEST.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 0, mask)
    found: list[Tcp] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as kernel:
        kernel.send(
            HEADER.pack(HEADER.size + len(body), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, 1, 0) + body
        )
        while True:
            answer = kernel.recv(1 << 18)
            while answer:
                length, kind, *_ = HEADER.unpack_from(answer)
                if kind == NLMSG_DONE:
                    return found
                assert kind == SOCK_DIAG_BY_FAMILY, f"netlink answered {kind}: {answer[:64].hex()}"
                _, state, _, _, local, remote, _, _, unsent, _, _ = MESSAGE.unpack_from(answer, HEADER.size)
                if int.from_bytes(remote) == port:
                    found.append(Tcp(int.from_bytes(local), port, state, unsent))
                answer = answer[(length + 3) & ~3 :]


@contextmanager
def unreachable() -> Iterator[int]:
    """A port whose backlog is full: the kernel drops what tries to connect, as a black hole does."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        full = False
        while not full:
            filler = stack.enter_context(socket.socket())
            filler.settimeout(0.3)
            try:
                filler.connect(("127.0.0.1", port))
            except TimeoutError:
                filler.close()
                full = True
        yield port


@contextmanager
def deaf() -> Iterator[int]:
    """A port that takes connections and never reads from them."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)
        yield listener.getsockname()[1]

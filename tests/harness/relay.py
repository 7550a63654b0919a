"""A TCP relay that can stop being a network: everything swallowed, or everything refused."""

import contextlib
import selectors
import socket
import threading
import time
from typing import Literal, Self

from tests.harness.process import free_port

Mode = Literal["pass", "hole", "refuse"]


class Relay:
    """Carries connections to `port` of loopback from `self.port`.

    `set("hole")`: bytes vanish in both directions and new connections hang, as behind a dead switch.
    `set("refuse")`: connections are reset, new ones closed at once. `set("pass")`: new connections work;
    those that were swallowed stay dead. `delay_s`: what everything waits that is carried, one after another.
    """

    def __init__(self, port: int) -> None:
        self.target = port
        self.port = free_port()
        self.delay_s = 0.0
        self._mode: Mode = "pass"
        self._lock = threading.Lock()
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._swallowed: set[socket.socket] = set()
        self._over = False
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=256)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def set(self, mode: Mode) -> None:
        with self._lock:
            self._mode = mode
            if mode == "hole":
                # What is open now never speaks again, even when the network is back.
                self._swallowed |= set(self._pairs)
            elif mode == "refuse":
                for one in list(self._pairs):
                    self._drop(one)

    def _run(self) -> None:
        while not self._over:
            for key, _ in self._selector.select(0.05):
                one = key.fileobj
                assert isinstance(one, socket.socket)
                with self._lock:
                    if one is self._listener:
                        self._accept()
                    elif one in self._pairs:
                        self._carry(one)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        if self._mode == "refuse":
            client.close()
            return
        server = socket.socket()
        if self._mode == "pass":
            try:
                server.connect(("127.0.0.1", self.target))
            except OSError:
                client.close()
                server.close()
                return
        self._pairs |= {client: server, server: client}
        if self._mode == "hole":
            self._swallowed |= {client, server}
            self._selector.register(client, selectors.EVENT_READ)
            return
        for one in (client, server):
            self._selector.register(one, selectors.EVENT_READ)

    def _carry(self, one: socket.socket) -> None:
        if self.delay_s:
            time.sleep(self.delay_s)
        try:
            data = one.recv(65_536)
            if data and one not in self._swallowed:
                self._pairs[one].sendall(data)
        except OSError:
            data = b""
        if not data:
            self._drop(one)

    def _drop(self, one: socket.socket) -> None:
        for end in (one, self._pairs.pop(one, None)):
            if end is None:
                continue
            self._pairs.pop(end, None)
            self._swallowed.discard(end)
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(end)
            end.close()

    def close(self) -> None:
        self._over = True
        self._thread.join()
        with self._lock:
            for one in list(self._pairs):
                self._drop(one)
        self._listener.close()
        self._selector.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

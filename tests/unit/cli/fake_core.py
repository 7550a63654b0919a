"""A stand-in for `ailink._core`, just enough to run the process around it.

It accepts connections, answers every request with what it was told, and writes each call to a journal.
"""

import json
import os
import socket
import threading
import time
from pathlib import Path

import msgspec

from ailink._core import aead_open as aead_open
from ailink._core import aead_seal as aead_seal
from ailink.snapshot import model as wire

__version__ = "0.1.0"


def note(event, **fields):
    journal = os.environ.get("FAKE_JOURNAL")
    if journal:
        with Path(journal).open("a") as file:
            file.write(json.dumps({"event": event, "pid": os.getpid(), **fields}) + "\n")


def build_profile():
    return "debug"


def stages():
    return [("identify", "rust/core/src/stage/identify.rs"), ("relay", "rust/core/src/stage/relay.rs")]


def endpoints():
    return [
        ("POST", "/v1/chat/completions", "plane", "chat"),
        ("POST", "/key/generate", "shell", "none"),
        ("GET", "/health/live", "plane", "none"),
    ]


def operations():
    return ["chat"]


def outcomes():
    return ["ok"]


def key_digest(pepper, key):
    assert len(pepper) == 32
    return (key * 32).encode()[:32]


def token_digest(pepper, sha256_hex):
    return bytes.fromhex(sha256_hex)


def mock_main(args):
    note("mock_main", args=args)
    return 7


class Mock:
    def __init__(self, options_json):
        json.loads(options_json)

    def start(self):
        note("mock.start")
        return 4321

    def stop(self):
        note("mock.stop")


class Plane:
    def __init__(self, options):
        self._options = msgspec.msgpack.decode(options, type=wire.PlaneOptions)
        self._event_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stopped = threading.Event()
        self._state = {"version": 0, "keys": 0, "ready": False, "details": None, "secrets": {}}
        self._sockets = []
        note("options", options=msgspec.to_builtins(self._options))

    def publish(self, snapshot):
        decoded = msgspec.msgpack.decode(snapshot, type=wire.Snapshot)
        if any(model.name == "refused-by-plane" for model in decoded.models):
            raise ValueError("the plane does not like this")
        self._state["version"] = decoded.version
        self._state["models"] = [model.name for model in decoded.models]
        self._state["urls"] = [deployment.base_url for deployment in decoded.deployments]
        note("publish", version=decoded.version)
        return decoded.version

    def push_credentials(self, rows):
        names = msgspec.msgpack.decode(rows, type=dict[str, bytes])
        self._state["secrets"] |= {name: len(value) for name, value in names.items()}
        note("push_credentials", names=sorted(names))

    def upsert_keys(self, rows):
        decoded = msgspec.msgpack.decode(rows, type=list[wire.KeyRow])
        self._state["keys"] += len(decoded)
        note("upsert_keys", roles=[row.role for row in decoded])
        return len(decoded)

    def apply_subjects(self, upserts, removals):
        return len(msgspec.msgpack.decode(upserts, type=list[wire.SubjectRow]))

    def remove_keys(self, digests):
        return len(digests)

    def set_status(self, ready, details):
        self._state |= {"ready": ready, "details": json.loads(details)}
        note("set_status", ready=ready)

    def start(self):
        listen = self._options.listen
        if listen.fds:
            self._sockets = [socket.socket(fileno=os.dup(fd)) for fd in listen.fds]
        else:
            made = socket.socket()
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((listen.host, listen.port))
            made.listen(512)
            self._sockets = [made]
        for each in self._sockets:
            threading.Thread(target=self._serve, args=(each,), daemon=True).start()
        port = self._sockets[0].getsockname()[1]
        note("start", port=port, fds=listen.fds)
        return port

    def _serve(self, listener):
        listener.settimeout(0.02)
        while not self._stopped.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                connection.recv(65536)
                body = json.dumps({"pid": os.getpid(), **self._state}).encode()
                head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
                connection.sendall(head.encode() + body)

    def take_key_uses(self):
        return []

    def spend(self, key_ids):
        return [0] * len(key_ids)

    def metrics(self):
        return b""

    def event_fd(self):
        return self._event_fd

    def take_events(self):
        return msgspec.msgpack.encode([])

    def reload_tls(self):
        note("reload_tls")

    def listen_fds(self):
        return [each.fileno() for each in self._sockets]

    def drain(self):
        note("drain")
        self._stopped.wait(float(os.environ.get("FAKE_DRAIN_SECONDS", "0")))
        self._close()
        note("drained")

    def stop(self):
        note("stop")
        self._stopped.set()
        self._close()

    def _close(self):
        self._stopped.set()
        time.sleep(0.05)
        for each in self._sockets:
            each.close()
        self._sockets = []


def condition_fault(text):
    return None


def config_fault(text):
    return None

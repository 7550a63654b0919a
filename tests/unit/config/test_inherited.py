"""Sockets handed from process to process."""

import os
import socket
import subprocess
import sys

from ailink.config import inherited


def test_nothing_is_taken_that_is_not_ours():
    for env in (
        {},
        {"LISTEN_FDS": "2"},
        {"LISTEN_FDS": "2", "LISTEN_PID": "1"},
        {"LISTEN_FDS": "x", "LISTEN_PID": str(os.getpid())},
    ):
        assert inherited.take(env) == ()
        assert env == {}


def test_kept_sockets_outlive_the_originals():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = listener.getsockname()
        (kept,) = inherited.keep([listener.fileno()])
    try:
        assert kept >= inherited.FIRST + 1
        assert not os.get_inheritable(kept)
        socket.create_connection(address).close()
    finally:
        os.close(kept)


HAND_OVER = """
import os, socket, sys
from ailink.config import inherited
listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print([l.getsockname()[1] for l in listeners], os.getpid(), flush=True)
kept = inherited.keep([l.fileno() for l in listeners])
for listener in listeners: listener.close()
inherited.hand_over(sys.executable, [sys.executable, "-c", sys.argv[1]], kept, os.environ)
"""
TAKE = """
import os, socket
from ailink.config import inherited
fds = inherited.take(os.environ)
assert "LISTEN_FDS" not in os.environ
assert not any(os.get_inheritable(fd) for fd in fds)
print([socket.socket(fileno=fd).getsockname()[1] for fd in fds], os.getpid())
"""


def test_a_process_hands_its_sockets_to_its_successor():
    done = subprocess.run([sys.executable, "-c", HAND_OVER, TAKE], check=True, capture_output=True, text=True)
    before, after = done.stdout.splitlines()
    assert before == after

"""A gateway whose listening socket belongs to someone else, as systemd's socket activation has it."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from tests.harness import Child, Gateway
from tests.harness.process import ROOT

# Becomes the gateway. What sd_listen_fds(3) looks for names the process that reads it, so it is set in there.
_BECOME = """
import os, sys
os.dup2(int(sys.argv[1]), 3, inheritable=True)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class _Activated(Child):
    """A child that is started with a socket."""

    def __init__(self, child: Child, listener: socket.socket) -> None:
        super().__init__(child.name, child.arguments, child.directory, child.env)
        self._listener = listener

    def start(self) -> Self:
        assert not self.running, f"{self.name} runs already"
        fd = self._listener.fileno()
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AILINK_")}
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BECOME, str(fd), *self.arguments],
                cwd=self.directory,
                env=clean | self.env | {"PYTHONPATH": os.pathsep.join([str(ROOT / "python"), str(ROOT)])},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(fd,),
            )
        return self


def activated(directory: Path, config: dict[str, Any], listener: socket.socket) -> Gateway:
    """A gateway that gets `listener` at every start. The socket stays open, with its backlog, while none
    runs.
    """
    gateway = Gateway(directory, config, port=listener.getsockname()[1])
    gateway.child = _Activated(gateway.child, listener)
    return gateway

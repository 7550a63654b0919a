"""Listening sockets handed to the process at its start: by systemd, or by the process it replaces.

Protocol: sd_listen_fds(3). Descriptors 3 … 3+LISTEN_FDS-1 are ours if LISTEN_PID is our process id, which
`exec` keeps.
"""

import fcntl
import os
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Final

FIRST: Final = 3
_NAMES: Final = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")


def take(env: MutableMapping[str, str]) -> tuple[int, ...]:
    """The inherited sockets. They will not be inherited any further, nor will the variables in `env`."""
    count, pid, _ = (env.pop(name, "") for name in _NAMES)
    if not count.isdecimal() or pid != str(os.getpid()):
        return ()
    descriptors = tuple(range(FIRST, FIRST + int(count)))
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return descriptors


def keep(descriptors: Sequence[int]) -> tuple[int, ...]:
    """Duplicates that stay open, with their backlog, when the originals are closed; out of `take`'s range."""
    above = FIRST + len(descriptors)
    return tuple(fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, above) for descriptor in descriptors)


def hand_over(program: str, arguments: Sequence[str], kept: Sequence[int], env: Mapping[str, str]) -> None:
    """Replaces the process by `program`, which finds the sockets with `take`. Does not return."""
    for target, descriptor in enumerate(kept, FIRST):
        os.dup2(descriptor, target, inheritable=True)
    os.execve(program, list(arguments), {**env, "LISTEN_FDS": str(len(kept)), "LISTEN_PID": str(os.getpid())})

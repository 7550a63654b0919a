"""What the machine gives the process: memory, file descriptors."""

import os
import resource
from pathlib import Path
from typing import Final

_CGROUP_ROOT: Final = Path("/sys/fs/cgroup")
_UNLIMITED: Final = 2**60
"""Version 1 of cgroups writes "no limit" as a number near 2⁶³."""


def available_memory(cgroup_root: Path = _CGROUP_ROOT, membership: Path = Path("/proc/self/cgroup")) -> int:
    """Bytes the process may use: physical memory, or less where its control group or a parent says so."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            limits += _limits(cgroup_root, path, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits(cgroup_root / "memory", path, "memory.limit_in_bytes")
    return min(limits)


def _limits(root: Path, path: str, name: str) -> list[int]:
    """The limits along the path. In a container the path may be the host's, and the root is the own group."""
    group = root / path.lstrip("/")
    found = []
    for directory in (group, *group.parents):
        if not directory.is_relative_to(root):
            break
        try:
            text = (directory / name).read_text().strip()
        except OSError:
            continue
        if text.isdecimal() and int(text) < _UNLIMITED:
            found.append(int(text))
    return found


def raise_descriptor_limit() -> int:
    """Sets the soft limit of open files to the hard one, and returns it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard

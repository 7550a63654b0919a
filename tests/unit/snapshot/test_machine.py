"""Memory limits of control groups, both versions."""

import os

import pytest

from ailink.snapshot.machine import available_memory, raise_descriptor_limit

PHYSICAL = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def groups(tmp_path):
    """Writes limits below a root; reads what they come to."""

    def groups(membership, **limits):
        root, own = tmp_path / "cgroup", tmp_path / "membership"
        for name, text in limits.items():
            file = root / name.replace("__", "/").replace("_max", ".max").replace("_limit", ".limit_in_bytes")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{text}\n")
        own.write_text(membership)
        return available_memory(root, own)

    return groups


def test_no_groups(tmp_path):
    assert available_memory(tmp_path, tmp_path / "none") == PHYSICAL


def test_version_two(groups):
    assert groups("0::/a/b\n", a__b__memory_max="max", a__memory_max=1000, memory_max="max") == 1000


def test_version_one(groups):
    assert (
        groups("5:cpu,memory:/x\n4:pids:/\n", memory__x__memory_limit=2000, memory__memory_limit=2**63 - 4096)
        == 2000
    )


def test_in_a_container_the_path_is_the_hosts(groups):
    assert groups("0::/kubepods/pod1/c\n", memory_max=3000) == 3000


def test_more_than_there_is(groups):
    assert groups("0::/\n", memory_max=2**59) == PHYSICAL


def test_descriptors():
    assert raise_descriptor_limit() > 0

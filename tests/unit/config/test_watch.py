"""Reloading: what is taken, what is refused, and how changes are noticed."""

import asyncio

import pytest

from ailink.config import loader
from ailink.config.watch import ApplyError, Reloader, restart_required

MOCK = "models: [{{name: {0}, deployments: [{{provider: mock}}]}}]\n"


class Gateway:
    """What the reloader talks to."""

    def __init__(self, file, registry):
        self.file, self.registry = file, registry
        self.applied, self.reported, self.env = [], [], {}
        self.reloader = Reloader(self.load, self.apply, self.reported.append)

    def load(self):
        return loader.load(self.file, self.registry, self.env)

    async def apply(self, loaded):
        if any(model.name == "refused" for model in loaded.config.models):
            raise ApplyError("the plane does not like it")
        self.applied.append(loaded.config)
        return len(self.applied)

    async def until(self, condition):
        for _ in range(400):
            if condition():
                return
            await asyncio.sleep(0.02)
        raise AssertionError(self.reported)


@pytest.fixture
async def gateway(write, registry):
    gateway = Gateway(write(MOCK.format("a")), registry)
    await gateway.reloader.start(gateway.load())
    return gateway


async def test_a_valid_change_is_taken_and_nothing_else(gateway, write):
    assert not (await gateway.reloader.reload() and len(gateway.applied) > 1)
    write(MOCK.format("b"))
    assert await gateway.reloader.reload()
    assert gateway.applied[-1].models[0].name == "b"
    assert gateway.reloader.status.version == 2
    assert gateway.reloader.status.errors == []


async def test_an_invalid_change_leaves_the_old_and_is_told(gateway, write, caplog):
    write("modles: []\n")
    assert not await gateway.reloader.reload()
    assert not await gateway.reloader.reload()
    status = gateway.reloader.status
    assert status.version == 1
    assert "did you mean `models`?" in status.errors[0]
    assert len([record for record in caplog.records if "not taken" in record.message]) == 1
    write(MOCK.format("refused"))
    assert not await gateway.reloader.reload()
    assert gateway.reloader.status.errors == ["the plane does not like it"]
    write(MOCK.format("a"))
    assert await gateway.reloader.reload()
    assert gateway.reloader.status.errors == []
    assert len(gateway.applied) == 1


async def test_what_waits_for_a_restart_is_named(gateway, write):
    write("server: {port: 1, keepalive_comment: 5s}\ndata_dir: other\n" + MOCK.format("a"))
    assert await gateway.reloader.reload()
    assert gateway.reloader.status.restart_required == ["data_dir", "server.port"]
    assert restart_required(gateway.applied[0], gateway.applied[0]) == []


async def test_every_way_to_change_a_file_is_noticed(gateway, write, tmp_path):
    stop = asyncio.Event()
    watching = asyncio.create_task(gateway.reloader.watch(stop))
    file = gateway.file

    def serves(name):
        return lambda: gateway.applied[-1].models[0].name == name

    # Before the watch began.
    write(MOCK.format("early"))
    await gateway.until(serves("early"))
    # In place.
    write(MOCK.format("inplace"))
    await gateway.until(serves("inplace"))
    # As editors do.
    write(MOCK.format("renamed"), "new").rename(file)
    await gateway.until(serves("renamed"))
    # Removed and written again.
    file.unlink()
    await gateway.until(lambda: gateway.reloader.status.errors)
    write(MOCK.format("again"))
    await gateway.until(serves("again"))
    # As Kubernetes does: the file is a link through a link to a directory.
    for version in ("k1", "k2"):
        write(MOCK.format(version), f"..{version}/ailink.yaml")
        (tmp_path / "..tmp").symlink_to(f"..{version}")
        (tmp_path / "..tmp").rename(tmp_path / "..data")
        if not file.is_symlink():
            file.unlink()
            file.symlink_to("..data/ailink.yaml")
        await gateway.until(serves(version))
    stop.set()
    await asyncio.wait_for(watching, 5)


async def test_includes_are_watched_too(write, registry):
    write(MOCK.format("a"), "elsewhere/one.yaml")
    gateway = Gateway(write("include: [elsewhere/one.yaml]\n"), registry)
    await gateway.reloader.start(gateway.load())
    stop = asyncio.Event()
    watching = asyncio.create_task(gateway.reloader.watch(stop))
    write(MOCK.format("b"), "elsewhere/one.yaml")
    await gateway.until(lambda: gateway.applied[-1].models[0].name == "b")
    write(MOCK.format("c"), "third/two.yaml")
    write("include: [third/two.yaml]\n")
    await gateway.until(lambda: gateway.applied[-1].models[0].name == "c")
    write(MOCK.format("d"), "third/two.yaml")
    await gateway.until(lambda: gateway.applied[-1].models[0].name == "d")
    stop.set()
    await asyncio.wait_for(watching, 5)


async def test_without_a_file_there_is_nothing_to_watch(registry, tmp_path):
    reported = []

    async def apply(loaded):
        return 1

    reloader = Reloader(lambda: loader.embedded(tmp_path, registry, {}), apply, reported.append)
    with pytest.raises(RuntimeError):
        _ = reloader.status
    await reloader.start(loader.embedded(tmp_path, registry, {}))
    await asyncio.wait_for(reloader.watch(asyncio.Event()), 5)
    assert await reloader.reload()
    assert reloader.status.source == "embedded"

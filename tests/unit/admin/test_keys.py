"""The key service: what it promises the database and the data plane, also when one of them fails."""

import asyncio
import hashlib
from typing import Any

import msgspec
import pytest
from tests.unit.admin.gateway import MASTER, MASTER_KEY, START_US, Gateway

from ailink import _core
from ailink.admin.call import Caller
from ailink.admin.errors import ApiError
from ailink.admin.key_fields import GenerateKey, KeyChanges
from ailink.admin.keys import KeyService
from ailink.admin.lineage import World
from ailink.admin.plane import KeyRow
from ailink.snapshot import rules
from ailink.store import audit
from ailink.store.database import DatabaseError
from ailink.store.keys import KeyFilter, KeyRecord, Page


@pytest.fixture
def keys(gateway: Gateway) -> KeyService:
    return gateway.services.keys


def row(gateway: Gateway, record: KeyRecord) -> KeyRow | None:
    return gateway.plane.keys.get(bytes.fromhex(record.digest))


async def living(keys: KeyService) -> list[str]:
    return [record.id for record in (await keys.page(KeyFilter(), Page(limit=100)))[0]]


async def test_a_new_key_is_in_the_plane_when_it_is_answered(gateway: Gateway, keys: KeyService) -> None:
    wanted = GenerateKey(
        key_alias="app",
        models=["gpt-*"],
        duration="1h",
        rpm_limit=60,
        max_parallel_requests=4,
        allowed_routes=["/v1/chat/completions", "/chat/completions", "/v1/models", "/metrics"],
        allowed_ips=["10.1.0.0/16", "::1"],
        blocked=True,
    )
    raw, record = await keys.create(MASTER, wanted)
    assert raw.startswith("sk-")
    assert len(raw) == 46, "256 random bits"
    assert row(gateway, record) == KeyRow(
        digest=bytes.fromhex(record.digest),
        id=record.id,
        alias="app",
        role="key",
        state="blocked",
        expires_us=START_US + 3_600_000_000,
        models=["gpt-*"],
        endpoints=["chat"],
        ip_allow=["10.1.0.0/16", "::1/128"],
        limits=rules.of_rates(rpm=60, parallel=4),
        may_tag=True,
    )
    assert record.display == f"sk-...{raw[-4:]}"
    assert raw not in repr(record)


async def test_an_unlimited_key_is_unlimited_in_the_plane(gateway: Gateway, keys: KeyService) -> None:
    _, record = await keys.create(MASTER, GenerateKey())
    assert row(gateway, record) == KeyRow(digest=bytes.fromhex(record.digest), id=record.id, may_tag=True)


@pytest.mark.parametrize(
    ("models", "allowed"),
    [([], None), (["all-proxy-models"], None), (["no-default-models"], []), (["a", "b-*"], ["a", "b-*"])],
)
async def test_models(
    gateway: Gateway, keys: KeyService, models: list[str], allowed: list[str] | None
) -> None:
    _, record = await keys.create(MASTER, GenerateKey(models=models))
    found = row(gateway, record)
    assert found is not None
    assert found.models == allowed


@pytest.mark.parametrize(
    ("routes", "endpoints"),
    [
        ([], None),
        (["llm_api_routes"], None),
        (["/v1/embeddings", "/metrics"], ["embeddings"]),
        (["/metrics"], []),
        (["/v1/models"], []),
        (["/v1/responses"], ["responses"]),
        (["/v1/responses/{rest}"], ["responses"]),
    ],
)
async def test_routes(
    gateway: Gateway, keys: KeyService, routes: list[str], endpoints: list[str] | None
) -> None:
    _, record = await keys.create(MASTER, GenerateKey(allowed_routes=routes))
    found = row(gateway, record)
    assert found is not None
    assert found.endpoints == endpoints


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"allowed_routes": ["/v1/chat/completions", "/v1/*"]}, "allowed_routes[1]"),
    ({"allowed_routes": ["/nowhere"]}, "allowed_routes[0]"),
    ({"allowed_routes": ["/health/live"]}, "allowed_routes[0]"),
    ({"allowed_routes": ["/metrics"], "key_type": "llm_api"}, "key_type"),
    ({"models": ["a", "all-team-models"]}, "models[1]"),
    ({"models": ["a", "no-default-models"]}, "models[1]"),
    ({"allowed_ips": ["10.0.0.1/8"]}, "allowed_ips[0]"),
    ({"allowed_ips": ["fe80::1%eth0"]}, "allowed_ips[0]"),
    ({"allowed_ips": ["localhost"]}, "allowed_ips[0]"),
    ({"duration": "soon"}, "duration"),
    ({"duration": "999999999w"}, "duration"),
    ({"metadata": {"model_rpm_limit": {"a": 1}}}, "metadata.model_rpm_limit"),
    ({"metadata": {"x": "y" * 70_000}}, "metadata"),
    ({"key": MASTER_KEY}, "key"),
]


@pytest.mark.parametrize(("fields", "param"), REFUSED)
async def test_what_cannot_be_enforced_is_refused(
    gateway: Gateway, keys: KeyService, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(ApiError) as caught:
        await keys.create(MASTER, GenerateKey(**fields))
    assert (caught.value.status, caught.value.envelope.error.param) == (400, param)
    assert gateway.plane.keys == {}
    assert await living(keys) == []


async def test_a_key_is_found_by_each_of_its_names(keys: KeyService) -> None:
    raw, record = await keys.create(MASTER, GenerateKey())
    sha256 = hashlib.sha256(raw.encode()).hexdigest()
    for name in (raw, record.digest, record.digest.upper(), sha256, sha256.upper()):
        assert await keys.find(name) == record
    for name in (raw + "x", record.id, "f" * 64, "", MASTER_KEY):
        assert await keys.find(name) is None


async def test_the_digest_is_the_planes(keys: KeyService, gateway: Gateway) -> None:
    raw, record = await keys.create(MASTER, GenerateKey(key="sk-0123456789abcdef"))
    pepper = keys._digests._pepper
    assert record.digest == _core.key_digest(pepper, raw).hex()
    assert record.digest == _core.token_digest(pepper, hashlib.sha256(raw.encode()).hexdigest()).hex()


async def test_changes_reach_the_plane(gateway: Gateway, keys: KeyService) -> None:
    raw, record = await keys.create(
        MASTER, GenerateKey(rpm_limit=5, models=["a"], duration="1h", metadata={"a": 1})
    )
    gateway.pass_time(60)
    changed = await keys.update(
        MASTER, raw, KeyChanges(rpm_limit=None, models=["b"], duration="-1", user_id="ann")
    )
    assert (changed.rpm_limit, changed.models, changed.expires_us, changed.duration) == (
        None,
        ("b",),
        None,
        None,
    )
    assert (changed.user_id, changed.metadata, changed.id) == ("ann", {"a": 1}, record.id)
    assert changed.updated_us == START_US + 60_000_000
    found = row(gateway, changed)
    assert found is not None
    assert (found.limits, found.models, found.expires_us) == ([], ["b"], None)
    again = await keys.update(MASTER, raw, KeyChanges(metadata=None, models=None))
    assert (again.metadata, again.models) == ({}, ())


async def test_block_and_unblock(gateway: Gateway, keys: KeyService) -> None:
    raw, _ = await keys.create(MASTER, GenerateKey())
    for blocked, state in ((True, "blocked"), (True, "blocked"), (False, "active")):
        record = await keys.set_blocked(MASTER, raw, blocked=blocked)
        found = row(gateway, record)
        assert found is not None
        assert found.state == state


async def test_rotation(gateway: Gateway, keys: KeyService) -> None:
    raw, record = await keys.create(MASTER, GenerateKey(key_alias="app", duration="1h"))
    new, rotated = await keys.rotate(MASTER, record.digest, None, KeyChanges(rpm_limit=3))
    assert new != raw
    assert (rotated.id, rotated.alias, rotated.expires_us) == (record.id, "app", record.expires_us)
    assert (rotated.rotations, rotated.rpm_limit) == (1, 3)
    assert set(gateway.plane.keys) == {bytes.fromhex(rotated.digest)}
    assert await keys.find(raw) is None
    chosen, _ = await keys.rotate(MASTER, new, "sk-chosen-0123456789", KeyChanges())
    assert chosen == "sk-chosen-0123456789"
    assert await keys.rotate(MASTER, chosen, chosen, KeyChanges()), (
        "the same secret again is no clash with itself"
    )
    assert len(gateway.plane.keys) == 1


async def test_deleted_keys_stay_as_archive_rows(gateway: Gateway, keys: KeyService) -> None:
    raw, record = await keys.create(MASTER, GenerateKey(key_alias="app"))
    await keys.delete(MASTER, [raw, record.digest], ["app"])
    assert gateway.plane.keys == {}
    found = await keys.find(raw)
    assert found is not None
    assert (found.state(0), found.deleted_by) == ("deleted", "master")
    for act in (
        keys.delete(MASTER, [raw], []),
        keys.set_blocked(MASTER, raw, blocked=True),
        keys.update(MASTER, raw, KeyChanges()),
        keys.rotate(MASTER, raw, None, KeyChanges()),
    ):
        with pytest.raises(ApiError) as caught:
            await act
        assert caught.value.status == 404
    again, _ = await keys.create(MASTER, GenerateKey(key=raw, key_alias="app"))
    assert again == raw


async def test_deleting_is_all_or_nothing(gateway: Gateway, keys: KeyService) -> None:
    raw, record = await keys.create(MASTER, GenerateKey())
    for names, aliases in (([raw, "sk-nobody-0123456789"], []), ([raw], ["nobody"])):
        with pytest.raises(ApiError) as caught:
            await keys.delete(MASTER, names, aliases)
        assert caught.value.status == 404
    assert row(gateway, record) is not None
    assert await living(keys) == [record.id]


@pytest.mark.parametrize(
    ("fields", "param"), [({"key": "sk-taken-0123456789"}, "key"), ({"key_alias": "taken"}, "key_alias")]
)
async def test_clashes(gateway: Gateway, keys: KeyService, fields: dict[str, str], param: str) -> None:
    await keys.create(MASTER, GenerateKey(key="sk-taken-0123456789", key_alias="taken"))
    before = dict(gateway.plane.keys)
    with pytest.raises(ApiError) as caught:
        await keys.create(MASTER, GenerateKey(**fields))
    assert (caught.value.status, caught.value.envelope.error.param) == (400, param)
    assert gateway.plane.keys == before


async def test_a_plane_that_fails_undoes_the_change(gateway: Gateway, keys: KeyService) -> None:
    raw, record = await keys.create(MASTER, GenerateKey(models=["a"]))
    head = await audit.head(gateway.services.database)
    before = dict(gateway.plane.keys)
    for act in (
        lambda: keys.create(MASTER, GenerateKey()),
        lambda: keys.update(MASTER, raw, KeyChanges(models=["b"])),
        lambda: keys.set_blocked(MASTER, raw, blocked=True),
        lambda: keys.rotate(MASTER, raw, None, KeyChanges()),
        lambda: keys.delete(MASTER, [raw], []),
    ):
        gateway.plane.fail = True
        with pytest.raises(RuntimeError):
            await act()
        assert gateway.plane.keys == before
        assert await keys.find(raw) == record
        assert await living(keys) == [record.id]
        assert await audit.head(gateway.services.database) == head


@pytest.mark.parametrize("store_url", ["sqlite:///test.db"])
async def test_a_commit_that_fails_is_taken_back_from_the_plane(
    gateway: Gateway, keys: KeyService, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, record = await keys.create(MASTER, GenerateKey())
    before = dict(gateway.plane.keys)
    writer = gateway.services.database._writer  # type: ignore[attr-defined]
    execute = writer.execute

    def failing(sql: str, params: object = ()) -> Any:
        if sql == "COMMIT":
            monkeypatch.setattr(writer, "execute", execute)
            raise DatabaseError("disk full")
        return execute(sql, params)

    for act in (
        lambda: keys.create(MASTER, GenerateKey()),
        lambda: keys.set_blocked(MASTER, raw, blocked=True),
        lambda: keys.rotate(MASTER, raw, None, KeyChanges()),
        lambda: keys.delete(MASTER, [raw], []),
    ):
        monkeypatch.setattr(writer, "execute", failing)
        with pytest.raises(DatabaseError):
            await act()
        assert gateway.plane.keys == before
        assert await keys.find(raw) == record


async def test_cancelled_anywhere_plane_and_database_agree(gateway: Gateway, keys: KeyService) -> None:
    for ticks in range(40):
        task = asyncio.create_task(keys.create(MASTER, GenerateKey()))
        for _ in range(ticks):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        stored = {record.digest for record in (await keys.page(KeyFilter(), Page(limit=100)))[0]}
        assert {digest.hex() for digest in gateway.plane.keys} == stored


async def test_many_changes_of_one_key_at_once(gateway: Gateway, keys: KeyService) -> None:
    raw, record = await keys.create(MASTER, GenerateKey())
    await asyncio.gather(
        *(keys.update(MASTER, raw, KeyChanges(rpm_limit=number)) for number in range(1, 30)),
        *(keys.set_blocked(MASTER, raw, blocked=number % 2 == 0) for number in range(10)),
    )
    found = await keys.find(raw)
    assert found is not None
    world = await World.of(gateway.services.database, [found])
    assert row(gateway, found) == gateway.services.changes.sync._row(world, found)
    assert found.id == record.id


async def test_every_change_has_its_audit_row(gateway: Gateway, keys: KeyService) -> None:
    caller = Caller(role="admin", key_id="key_boss", client_ip="192.0.2.9", request_id="req_9")
    raw, record = await keys.create(caller, GenerateKey(rpm_limit=5, metadata={"note": "canary"}))
    await keys.update(caller, raw, KeyChanges(rpm_limit=6, metadata={}))
    await keys.set_blocked(caller, raw, blocked=True)
    new, _ = await keys.rotate(caller, raw, None, KeyChanges())
    await keys.delete(caller, [new], [])
    database = gateway.services.database
    rows = await database.fetch("SELECT * FROM audit ORDER BY seq")
    assert [found["action"] for found in rows] == [
        "key.create", "key.update", "key.block", "key.regenerate", "key.delete"
    ]  # fmt: skip
    assert {(found["actor"], found["actor_ip"], found["trace_id"], found["object_id"]) for found in rows} == {
        ("key_boss", "192.0.2.9", "req_9", record.id)
    }
    assert msgspec.json.decode(rows[1]["detail"])["changed"] == {"rpm_limit": [5, 6], "metadata": ["…", "…"]}
    text = "".join(found["detail"] for found in rows)
    for secret in (raw, new, "canary", record.digest):
        assert secret not in text
    assert (await audit.verify(database)).seq == 5


async def test_load(gateway: Gateway, keys: KeyService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ailink.admin.plane_sync.BATCH", 3)
    made = [(await keys.create(MASTER, GenerateKey(rpm_limit=number + 1)))[1] for number in range(7)]
    await keys.set_blocked(MASTER, made[0].digest, blocked=True)
    await keys.delete(MASTER, [made[1].digest], [])
    before = dict(gateway.plane.keys)
    gateway.plane.keys.clear()
    sizes = [gateway.plane.upsert_keys(rows) async for rows in keys.load()]
    assert sizes == [4, 3]
    master = gateway.plane.keys.pop(keys._digests.of_key(MASTER_KEY))
    assert (master.id, master.role, master.models) == ("master", "admin", None)
    assert gateway.plane.keys == before

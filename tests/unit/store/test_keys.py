import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ailink.store import keys
from ailink.store.database import ConflictError, Database
from ailink.store.keys import KeyFilter, KeyRecord, Page
from ailink.store.rows import literal


def key(number: int, **columns: object) -> KeyRecord:
    base = {
        "id": f"key_{number:04}",
        "digest": f"{number:064x}",
        "display": f"sk-...{number:04}",
        "created_us": 1_000 + number,
        "created_by": "master",
        "updated_us": 1_000,
        "updated_by": "master",
    }
    return KeyRecord(**{**base, **columns})  # type: ignore[arg-type]


def deleted(record: KeyRecord, at_us: int = 5_000) -> KeyRecord:
    return msgspec.structs.replace(record, deleted_us=at_us, deleted_by="master")


async def test_a_row_comes_back_as_it_was(database: Database) -> None:
    record = key(
        1,
        alias='quo"te',
        user_id="null",
        blocked=True,
        expires_us=2**53,
        duration="30d",
        models=("gpt-*", "ü"),
        routes=("/v1/embeddings",),
        allowed_ips=("10.0.0.0/8",),
        rpm_limit=7,
        max_parallel=2,
        metadata={"a": [1, None, {"b": "✓"}]},
        rotations=3,
        rotated_us=9,
        trace_id="req_1",
    )
    await keys.insert(database, record)
    assert await keys.by_id(database, record.id) == record
    assert await keys.by_digest(database, "f" * 64, record.digest) == record
    assert await keys.of_alias(database, 'quo"te') == [record]
    changed = msgspec.structs.replace(record, alias=None, blocked=False, models=())
    await keys.update(database, changed)
    assert await keys.by_ids(database, [record.id, "key_none"]) == [changed]


@pytest.mark.parametrize("clash", [{"digest": f"{1:064x}"}, {"alias": "taken"}])
async def test_a_living_key_holds_its_digest_and_alias(database: Database, clash: dict[str, str]) -> None:
    await keys.insert(database, key(1, alias="taken"))
    with pytest.raises(ConflictError, match="alias" if "alias" in clash else "digest"):
        await keys.insert(database, key(2, **clash))


async def test_an_archived_key_frees_its_digest_and_alias(database: Database) -> None:
    first = key(1, alias="name")
    await keys.insert(database, first)
    await keys.update(database, deleted(first))
    assert await keys.by_digest(database, first.digest) == deleted(first)
    assert await keys.of_alias(database, "name") == []
    second = key(2, alias="name", digest=first.digest)
    await keys.insert(database, second)
    assert await keys.by_digest(database, first.digest) == second
    await keys.update(database, deleted(second, 6_000))
    assert await keys.by_digest(database, first.digest) == deleted(second, 6_000)


def test_state() -> None:
    assert key(1).state(10) == "active"
    assert key(1, expires_us=10).state(9) == "active"
    assert key(1, expires_us=10).state(10) == "expired"
    assert key(1, expires_us=10, blocked=True).state(10) == "blocked"
    assert deleted(key(1, blocked=True)).state(10) == "deleted"


@pytest.fixture
async def many(database: Database) -> Database:
    records = [
        key(
            number,
            alias=f"team_{number % 3}-{number}" if number % 4 else None,
            user_id="ann" if number % 2 else None,
            blocked=number % 5 == 0,
            expires_us=100 + number if number % 3 == 0 else None,
        )
        for number in range(40)
    ]
    for record in records:
        await keys.insert(database, record if record.id != "key_0007" else deleted(record))
    return database


async def everything(database: Database, wanted: KeyFilter, **page: object) -> list[str]:
    found: list[str] = []
    while batch := await keys.find(database, wanted, Page(limit=7, offset=len(found), **page)):  # type: ignore[arg-type]
        found += [record.id for record in batch]
    return found


@pytest.mark.parametrize("sort_by", list(keys.SORT_COLUMNS))
@pytest.mark.parametrize("descending", [True, False])
async def test_pages_hold_every_key_once(many: Database, sort_by: str, descending: bool) -> None:
    found = await everything(many, KeyFilter(), sort_by=sort_by, descending=descending)
    assert sorted(found) == [f"key_{number:04}" for number in range(40) if number != 7]
    assert await keys.count(many, KeyFilter()) == 39


async def test_sorted(many: Database) -> None:
    found = await everything(many, KeyFilter(), sort_by="expires", descending=True)
    assert found[:3] == ["key_0039", "key_0036", "key_0033"]
    assert found[-1] == "key_0001", "keys without an expiry come last, in the order of their ids"


async def test_filters(many: Database) -> None:
    async def numbers(wanted: KeyFilter) -> set[int]:
        found = await everything(many, wanted)
        assert len(found) == await keys.count(many, wanted)
        return {int(key_id[4:]) for key_id in found}

    living = set(range(40)) - {7}
    blocked = {number for number in living if number % 5 == 0}
    expired = {number for number in living - blocked if number % 3 == 0 and 100 + number <= 120}
    assert await numbers(KeyFilter(state="deleted")) == {7}
    assert await numbers(KeyFilter(state="blocked")) == blocked
    assert await numbers(KeyFilter(state="expired", now_us=120)) == expired
    assert await numbers(KeyFilter(state="active", now_us=120)) == living - blocked - expired
    assert await numbers(KeyFilter(user_id="ann")) == {number for number in living if number % 2}
    assert await numbers(KeyFilter(digest=f"{9:064x}")) == {9}
    assert await numbers(KeyFilter(alias="team_1-1")) == {1}
    assert await numbers(KeyFilter(alias_contains="TEAM_1-")) == {n for n in living if n % 3 == 1 and n % 4}
    assert await numbers(KeyFilter(alias_contains="m%")) == set()


async def test_living_walks_all(many: Database) -> None:
    seen: list[str] = []
    while batch := await keys.living(many, seen[-1] if seen else "", 6):
        seen += [record.id for record in batch]
    assert seen == [f"key_{number:04}" for number in range(40) if number != 7]


@settings(deadline=None)
@given(st.text(max_size=20))
def test_like_means_the_text_itself(text: str) -> None:
    pattern = literal(text)
    plain = pattern.replace("\\\\", "").replace("\\%", "").replace("\\_", "")
    assert not set(plain) & set("%_\\")

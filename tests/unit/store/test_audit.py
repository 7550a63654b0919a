import pytest

from ailink.store import audit
from ailink.store.audit import GENESIS, AuditEvent, BrokenChainError, Head
from ailink.store.database import Database

ROWS = 25


def event(number: int) -> AuditEvent:
    return AuditEvent(
        trace_id=f"req_{number}",
        at_us=number,
        actor="master",
        actor_ip="10.0.0.1",
        action="key.update",
        object_type="key",
        object_id=f"key_{number % 3}",
        detail={"b": number, "a": None},
    )


@pytest.fixture
async def chain(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setattr(audit, "BATCH", 10)
    for number in range(1, ROWS + 1):
        async with database.transaction() as queries:
            await audit.append(queries, event(number))
    return database


async def test_an_empty_log_is_whole(database: Database) -> None:
    assert await audit.verify(database) == Head(0, GENESIS)


async def test_an_untouched_log_is_whole(chain: Database) -> None:
    assert await audit.verify(chain) == await audit.head(chain)
    assert (await audit.head(chain)).seq == ROWS


async def test_an_undone_change_leaves_no_row(chain: Database) -> None:
    async def undone() -> None:
        async with chain.transaction() as queries:
            await audit.append(queries, event(99))
            raise KeyError

    with pytest.raises(KeyError):
        await undone()
    assert (await audit.verify(chain)).seq == ROWS


COLUMNS = [
    "org_id",
    "trace_id",
    "actor",
    "actor_ip",
    "action",
    "object_type",
    "object_id",
    "detail",
    "prev_hash",
    "hash",
]


@pytest.mark.parametrize("column", [*COLUMNS, "at_us"])
@pytest.mark.parametrize("seq", [1, 12, ROWS])
async def test_an_edited_row_is_found(chain: Database, column: str, seq: int) -> None:
    await chain.execute(
        f"UPDATE audit SET {column} = ? WHERE seq = ?", (99 if column == "at_us" else "forged", seq)
    )
    with pytest.raises(BrokenChainError) as caught:
        await audit.verify(chain)
    assert caught.value.seq == seq


@pytest.mark.parametrize("seq", [1, 10, 11, 24])
async def test_a_missing_row_is_found(chain: Database, seq: int) -> None:
    await chain.execute("DELETE FROM audit WHERE seq = ?", (seq,))
    with pytest.raises(BrokenChainError) as caught:
        await audit.verify(chain)
    assert caught.value.seq == seq + 1


@pytest.mark.parametrize("seq", [-5, 0, ROWS + 1])
async def test_an_inserted_row_is_found(chain: Database, seq: int) -> None:
    row = dict((await chain.fetch("SELECT * FROM audit WHERE seq = 3"))[0], seq=seq)
    marks = ", ".join("?" for _ in row)
    await chain.execute(f"INSERT INTO audit ({', '.join(row)}) VALUES ({marks})", list(row.values()))
    with pytest.raises(BrokenChainError):
        await audit.verify(chain)


async def test_swapped_rows_are_found(chain: Database) -> None:
    for old, new in ((5, 1_000), (6, 5), (1_000, 6)):
        await chain.execute("UPDATE audit SET seq = ? WHERE seq = ?", (new, old))
    with pytest.raises(BrokenChainError) as caught:
        await audit.verify(chain)
    assert caught.value.seq == 5


async def test_a_cut_end_shows_in_the_head(chain: Database) -> None:
    kept = await audit.head(chain)
    await chain.execute("DELETE FROM audit WHERE seq = ?", (ROWS,))
    assert await audit.verify(chain) != kept

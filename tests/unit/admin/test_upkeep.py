"""What becomes due by itself: the end of temporary budgets, last uses that are to be written down."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.unit.admin.gateway import MASTER, START_US, Gateway

from ailink.admin.budget_handlers import NewBudget
from ailink.admin.budget_handlers import new as new_budget
from ailink.admin.call import MASTER_ID, Call, Nothing
from ailink.admin.key_fields import GenerateKey
from ailink.admin.key_uses import KeyUses
from ailink.admin.upkeep import Upkeep
from ailink.store import key_uses
from ailink.store.database import DatabaseError
from ailink.store.key_uses import KeyUse


def _most(gateway: Gateway) -> list[int]:
    (row,) = gateway.plane.keys.values()
    return [rule.max for rule in row.limits]


def _expiry(seconds: int) -> datetime:
    return datetime.fromtimestamp(START_US / 1e6 + seconds, UTC)


async def test_what_failed_half_way_is_ended_the_next_time(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    upkeep = Upkeep(gateway.services, lambda: (Path(), {}))
    body = GenerateKey(max_budget=1, temp_budget_increase=2, temp_budget_expiry=_expiry(60))
    await gateway.services.keys.create(MASTER, body)
    assert _most(gateway) == [3 * 10**12]
    gateway.pass_time(61)

    def away(*_: Any) -> None:
        raise DatabaseError("the database is away")

    with monkeypatch.context() as patched:
        patched.setattr(gateway.services.changes, "make", away)
        with pytest.raises(DatabaseError):
            await upkeep._end_increases()
    await upkeep._end_increases()
    assert _most(gateway) == [10**12]


async def test_the_increase_of_a_budget_that_others_were_given_ends(gateway: Gateway) -> None:
    upkeep = Upkeep(gateway.services, lambda: (Path(), {}))
    body = NewBudget(budget_id="b", max_budget=1, temp_budget_increase=2, temp_budget_expiry=_expiry(60))
    call = Call(caller=MASTER, path={}, query=Nothing(), body=body)
    await new_budget(gateway.services, call)
    await gateway.services.keys.create(MASTER, GenerateKey(budget_id="b"))
    assert _most(gateway) == [3 * 10**12]
    gateway.pass_time(61)
    await upkeep._end_increases()
    assert _most(gateway) == [10**12]


async def test_last_uses_are_written_down_once_the_database_is_there(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    uses, database = KeyUses(gateway.plane), gateway.services.database
    _, record = await gateway.services.keys.create(MASTER, GenerateKey())
    gateway.plane.uses = [(record.id, 50, "192.0.2.1"), (MASTER_ID, 60, "192.0.2.1")]

    async def away(*_: Any) -> None:
        raise DatabaseError("the database is away")

    with monkeypatch.context() as patched:
        patched.setattr(key_uses, "note", away)
        with pytest.raises(DatabaseError):
            await uses.write(database)
    await uses.write(database)
    expected = {record.id: KeyUse(key_id=record.id, used_us=50, address="192.0.2.1")}
    assert await key_uses.of(database, [record.id, MASTER_ID]) == expected
    # What another node wrote down in the meantime is later.
    gateway.plane.uses = [(record.id, 49, "192.0.2.2")]
    await uses.write(database)
    assert await gateway.services.keys.last_uses([record]) == expected
    # And this node knows of its own at once.
    gateway.plane.used = {record.id: (51, "192.0.2.3")}
    assert (await gateway.services.keys.last_uses([record]))[record.id].address == "192.0.2.3"

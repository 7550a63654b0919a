import msgspec
import pytest

from ailink.store import credentials
from ailink.store.credentials import CredentialRecord
from ailink.store.database import ConflictError, Database

RECORD = CredentialRecord(
    id="cred_1",
    name="openai-main",
    sealed="c2VhbGVk",
    info={"description": "x"},
    created_us=1,
    created_by="master",
    updated_us=1,
    updated_by="master",
)


async def test_a_row_comes_back_as_it_was(database: Database) -> None:
    await credentials.insert(database, RECORD)
    assert await credentials.by_name(database, "openai-main") == RECORD
    changed = msgspec.structs.replace(RECORD, sealed="bmV3", info={}, updated_us=2)
    await credentials.update(database, changed)
    assert await credentials.everything(database) == [changed]
    await credentials.delete(database, RECORD.id)
    assert await credentials.by_name(database, "openai-main") is None


async def test_names_are_unique(database: Database) -> None:
    await credentials.insert(database, RECORD)
    with pytest.raises(ConflictError):
        await credentials.insert(database, msgspec.structs.replace(RECORD, id="cred_2"))


def test_slot() -> None:
    assert credentials.slot("openai-main") == "credential/openai-main"

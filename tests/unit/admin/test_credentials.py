import base64

import msgspec
import pytest
from tests.unit.admin.gateway import MASTER, Gateway

from ailink.admin.credentials import CredentialService
from ailink.admin.errors import ApiError
from ailink.observe.redaction import MASK
from ailink.store import audit
from ailink.store.database import DatabaseError

SECRET = "canary-provider-key-1"


@pytest.fixture
def credentials(gateway: Gateway) -> CredentialService:
    return gateway.services.credentials


async def test_a_credential_is_in_its_slot_when_it_is_answered(
    gateway: Gateway, credentials: CredentialService
) -> None:
    await credentials.create(MASTER, "main", SECRET, {"description": "x"})
    assert gateway.plane.credentials == {"credential/main": SECRET.encode()}
    await credentials.update(MASTER, "main", "canary-provider-key-2", None)
    assert gateway.plane.credentials == {"credential/main": b"canary-provider-key-2"}
    await credentials.update(MASTER, "main", None, {"description": "y"})
    assert (await credentials.get("main")).info == {"description": "y"}
    await credentials.delete(MASTER, "main")
    assert gateway.plane.credentials == {"credential/main": b""}
    with pytest.raises(ApiError) as caught:
        await credentials.get("main")
    assert caught.value.status == 404


async def test_load(gateway: Gateway, credentials: CredentialService) -> None:
    await credentials.create(MASTER, "one", SECRET, {})
    await credentials.create(MASTER, "two", "canary-provider-key-2", {})
    assert msgspec.msgpack.decode(await credentials.load()) == {
        "credential/one": SECRET.encode(),
        "credential/two": b"canary-provider-key-2",
    }


async def test_at_rest_it_is_sealed(gateway: Gateway, credentials: CredentialService) -> None:
    await credentials.create(MASTER, "main", SECRET, {})
    record = await credentials.get("main")
    assert SECRET not in repr(record)
    assert SECRET.encode() not in base64.b64decode(record.sealed)
    rows = await gateway.services.database.fetch("SELECT detail FROM audit")
    assert SECRET not in repr(rows)
    assert credentials._redactor.clean(f"sent {SECRET}") == f"sent {MASK}"


async def test_a_taken_name(credentials: CredentialService, gateway: Gateway) -> None:
    await credentials.create(MASTER, "main", SECRET, {})
    with pytest.raises(ApiError) as caught:
        await credentials.create(MASTER, "main", "another-secret", {})
    assert caught.value.status == 400
    assert gateway.plane.credentials == {"credential/main": SECRET.encode()}


async def test_one_in_use_stays(credentials: CredentialService, gateway: Gateway) -> None:
    await credentials.create(MASTER, "main", SECRET, {})
    gateway.config.used = {"main"}
    with pytest.raises(ApiError) as caught:
        await credentials.delete(MASTER, "main")
    assert caught.value.status == 409
    assert (await credentials.get("main")).name == "main"


@pytest.mark.parametrize("store_url", ["sqlite:///test.db"])
async def test_a_failure_sets_the_slot_back(
    gateway: Gateway, credentials: CredentialService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await credentials.create(MASTER, "main", SECRET, {})
    head = await audit.head(gateway.services.database)
    writer = gateway.services.database._writer  # type: ignore[attr-defined]
    execute = writer.execute

    def failing(sql: str, params: object = ()) -> object:
        if sql == "COMMIT":
            monkeypatch.setattr(writer, "execute", execute)
            raise DatabaseError("disk full")
        return execute(sql, params)

    monkeypatch.setattr(writer, "execute", failing)
    with pytest.raises(DatabaseError):
        await credentials.update(MASTER, "main", "never-stored", None)
    assert gateway.plane.credentials == {"credential/main": SECRET.encode()}
    monkeypatch.setattr(writer, "execute", failing)
    with pytest.raises(DatabaseError):
        await credentials.create(MASTER, "second", "never-stored", {})
    assert gateway.plane.credentials == {"credential/main": SECRET.encode(), "credential/second": b""}
    gateway.plane.fail = True
    with pytest.raises(RuntimeError):
        await credentials.delete(MASTER, "main")
    assert gateway.plane.credentials["credential/main"] == SECRET.encode()
    assert await audit.head(gateway.services.database) == head

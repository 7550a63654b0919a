"""The key-encryption key of an installation, and what is derived from it.

The key comes from the configuration (`encryption_key`) or from a file that is made on the first start. The
database remembers a verifier of it, so that a wrong key is refused at the start and not at the first secret
that will not open. The pepper of the virtual keys is HKDF(KEK); a rotation keeps it, sealed under the new
key, because every stored digest depends on it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import secrets
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from ailink.secrets.envelope import KEY_BYTES, Kek, Place
from ailink.store import credentials, vault
from ailink.store.database import Database, Queries

FILE_NAME = "encryption.key"
PEPPER_PLACE = Place("", "keyring", "pepper", "value")
_INSERT = "INSERT INTO keyring (name, key_id, value, created_us) VALUES (?, ?, ?, ?)"
HOW_TO_MAKE = "make one with `openssl rand -base64 32`"


class KeyringError(Exception):
    """The encryption key is missing, malformed, exposed, or not the one this database was made with."""


class Keyring:
    """The opened key: seals and opens values, and holds the 32-byte pepper of the virtual keys."""

    def __init__(self, kek: Kek, pepper: bytes) -> None:
        self._kek = kek
        self.pepper = pepper

    @property
    def key_id(self) -> str:
        """Names the key without telling anything about it."""
        return self._kek.id.hex()

    def seal(self, plaintext: bytes, place: Place) -> str:
        return self._kek.seal(plaintext, place)

    def unseal(self, sealed: str, place: Place) -> bytes:
        """Raises `EnvelopeError`."""
        return self._kek.unseal(sealed, place)


def credential_place(org_id: str | None, credential_id: str) -> Place:
    """Where a provider credential is sealed."""
    return Place(org_id or "", credentials.TABLE, credential_id, "sealed")


def object_place(object_id: str) -> Place:
    """Where the secrets of a model or provider of the API stand."""
    return Place("", "config_object", object_id, "sealed")


def vault_place(tenant: str, name: str) -> Place:
    """Where a value behind a token stands."""
    return Place(tenant, vault.TABLE, name, "sealed")


class _Sealed(NamedTuple):
    """A column with envelopes: `names` tell its rows apart, `place` is where one of them stands."""

    table: str
    column: str
    place: Callable[[Mapping[str, Any]], Place]
    names: tuple[str, ...] = ("id",)


_SEALED: Final = (
    _Sealed(credentials.TABLE, "sealed", lambda row: credential_place(row["org_id"], row["id"])),
    _Sealed("config_object", "sealed", lambda row: object_place(row["id"])),
    _Sealed(vault.TABLE, "sealed", lambda row: vault_place(row["tenant"], row["name"]), ("tenant", "name")),
    _Sealed("virtual_key", "pending", lambda row: Place("", "virtual_key", row["id"], "pending")),
    _Sealed("idempotency", "answer", lambda row: Place("", "idempotency", row["id"], "answer")),
    _Sealed("approval", "sealed", lambda row: Place("", "approval", row["id"], "sealed")),
    _Sealed("approval", "edited", lambda row: Place("", "approval", row["id"], "edited")),
    _Sealed("approval", "answer", lambda row: Place("", "approval", row["id"], "answer")),
)
"""Everything that is sealed under the key itself. What Rust seals depends on the pepper, which stays."""


def parse_key(text: str) -> Kek:
    """Reads 32 bytes written as 64 hexadecimal digits or as base64. Raises `KeyringError`."""
    text = text.strip()
    try:
        raw = (
            bytes.fromhex(text)
            if len(text) == 2 * KEY_BYTES
            else base64.b64decode(_padded(text), b"-_", validate=True)
        )
    except (ValueError, binascii.Error):
        raw = b""
    if len(raw) != KEY_BYTES:
        raise KeyringError(
            f"encryption_key must be {KEY_BYTES} random bytes in base64 or hexadecimal: {HOW_TO_MAKE}"
        )
    if len(set(raw)) < KEY_BYTES // 4:
        raise KeyringError(f"encryption_key is not random: {HOW_TO_MAKE}")
    return Kek(raw)


def _padded(text: str) -> str:
    # Both base64 alphabets are in use, with and without padding.
    text = text.rstrip("=").translate(str.maketrans("+/", "-_"))
    return text + "=" * (-len(text) % 4)


async def open_keyring(database: Database, *, encryption_key: str | None, data_dir: Path) -> Keyring:
    """The keyring of this database: from `encryption_key`, else from the file in `data_dir`, which is made on
    the first start.

    Raises `KeyringError` when the key is missing, malformed, readable by others, or not the one this database
    was made with.
    """
    known = await _value(database, "verifier")
    kek = (
        parse_key(encryption_key)
        if encryption_key
        else _from_file(data_dir / FILE_NAME, may_create=known is None)
    )
    verifier = _verifier(kek)
    if known is None:
        await database.execute(f"{_INSERT} ON CONFLICT (name) DO NOTHING", _row("verifier", kek, verifier))
        # Another process may have been first.
        known = await _value(database, "verifier")
    if known is None or not hmac.compare_digest(known, verifier):
        raise KeyringError(
            "this is not the encryption key that the database was made with: restore that encryption_key "
            f"(or {data_dir / FILE_NAME}); without it neither stored credentials nor virtual keys can be used"
        )
    return Keyring(kek, await _pepper(database, kek))


async def rotate(database: Database, old_key: str, new_key: str) -> int:
    """Re-wraps everything sealed under `old_key` for `new_key`, in one transaction; returns how many
    credentials.

    The gateway must be restarted with the new key afterwards. Raises `KeyringError`, `EnvelopeError`; nothing
    has changed then.
    """
    old, new = parse_key(old_key), parse_key(new_key)
    async with database.transaction() as queries:
        known = await _value(queries, "verifier")
        if known is None or not hmac.compare_digest(known, _verifier(old)):
            raise KeyringError("the old key is not the encryption key of this database")
        counts = {sealed: await _rewrap(queries, sealed, old, new) for sealed in _SEALED}
        pepper = await _pepper(queries, old)
        await _put(queries, "pepper", new, new.seal(pepper, PEPPER_PLACE))
        await _put(queries, "verifier", new, _verifier(new))
    return sum(count for sealed, count in counts.items() if sealed.table == credentials.TABLE)


async def _rewrap(queries: Queries, sealed: _Sealed, old: Kek, new: Kek) -> int:
    found = await queries.fetch(f"SELECT * FROM {sealed.table} WHERE {sealed.column} <> ''")
    named = " AND ".join(f"{name} = ?" for name in sealed.names)
    for row in found:
        value = old.rewrap(row[sealed.column], sealed.place(row), new)
        names = (row[name] for name in sealed.names)
        await queries.execute(f"UPDATE {sealed.table} SET {sealed.column} = ? WHERE {named}", (value, *names))
    return len(found)


def _verifier(kek: Kek) -> str:
    return kek.derive("verifier").hex()


async def _pepper(queries: Queries, kek: Kek) -> bytes:
    kept = await _value(queries, "pepper")
    return kek.derive("pepper") if kept is None else kek.unseal(kept, PEPPER_PLACE)


async def _value(queries: Queries, name: str) -> str | None:
    row = await queries.fetchrow("SELECT value FROM keyring WHERE name = ?", (name,))
    return None if row is None else str(row["value"])


async def _put(queries: Queries, name: str, kek: Kek, value: str) -> None:
    await queries.execute(
        f"{_INSERT} ON CONFLICT (name) DO UPDATE SET "
        "key_id = excluded.key_id, value = excluded.value, created_us = excluded.created_us",
        _row(name, kek, value),
    )


def _row(name: str, kek: Kek, value: str) -> tuple[str, str, str, int]:
    return name, kek.id.hex(), value, time.time_ns() // 1_000


def _from_file(path: Path, *, may_create: bool) -> Kek:
    if may_create:
        _create(path)
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text(encoding="ascii")
    except FileNotFoundError as error:
        raise KeyringError(
            f"{path} is missing, but the database was made with it: restore the file, or set encryption_key"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise KeyringError(f"cannot read the encryption key {path}: {error}") from error
    if mode & 0o077:
        raise KeyringError(f"{path} can be read by others (mode {mode:04o}): run `chmod 600 {path}`")
    return parse_key(text)


def _create(path: Path) -> None:
    """Writes a new key unless the file exists.

    Complete before it has its name: a crash leaves no half a key.
    """
    if path.exists():
        return
    part = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(handle, base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
        os.fsync(handle)
        os.link(part, path)
    except FileExistsError:
        pass  # another process was first; its key counts
    finally:
        os.close(handle)
        part.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

"""Files of tenants: taken as forms, told as OpenAI tells them, seen by those they belong to."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import msgspec

from ailink.admin.call import Caller, Upload
from ailink.admin.errors import ApiError, bad_request, conflict, not_found
from ailink.batches.vault import FileVault, new_id
from ailink.config.batches import Batches
from ailink.store import batches, files, keys
from ailink.store.database import Database
from ailink.store.files import File

SECOND_US = 1_000_000
PARTS = 20
FIELD = 4096
_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^;\s"]{1,70}))', re.IGNORECASE)
_NAME = re.compile(rb'[;\s]name="([^"]{0,200})"', re.IGNORECASE)
_FILENAME = re.compile(rb'[;\s]filename="([^"]{0,255})"', re.IGNORECASE)


class Owner(msgspec.Struct, frozen=True):
    """Whose something is: the key's team; without one its user's; without one the key's."""

    name: str
    org_id: str | None


async def owner_of(database: Database, caller: Caller) -> Owner:
    record = await keys.by_id(database, caller.key_id)
    if record is None:
        return Owner(f"key:{caller.key_id}", None)
    if record.team_id is not None:
        return Owner(f"team:{record.team_id}", record.org_id)
    if record.user_id is not None:
        return Owner(f"user:{record.user_id}", record.org_id)
    return Owner(f"key:{record.id}", record.org_id)


class FileService:
    """`rules`: what the configuration in force says."""

    def __init__(
        self, database: Database, vault: FileVault, rules: Callable[[], Batches], now_us: Callable[[], int]
    ) -> None:
        self.database = database
        self.vault = vault
        self.rules = rules
        self.now_us = now_us

    async def create(self, caller: Caller, upload: Upload) -> File:
        """Raises `ApiError`."""
        fields, name, content = await asyncio.to_thread(form_of, upload)
        purpose = fields.get("purpose")
        if purpose is None:
            raise bad_request("`purpose` is missing", param="purpose", code="missing_parameter")
        if purpose != "batch":
            raise bad_request(
                f"purpose {purpose[:60]!r} is not kept here: only `batch` is. Send it within a request.",
                param="purpose",
                code="unsupported_purpose",
            )
        if not content.strip():
            raise bad_request("the file is empty", param="file", code="empty_file")
        seconds = _lifetime(fields)
        owner = await owner_of(self.database, caller)
        return await self.keep(owner, caller, (purpose, name), content, seconds)

    async def keep(
        self,
        owner: Owner,
        caller: Caller,
        called: tuple[str, str],
        content: bytes,
        seconds: int | None = None,
    ) -> File:
        """`called`: purpose and name. Raises `ApiError` when there is no room."""
        rules, now = self.rules(), self.now_us()
        if (
            called[0] == "batch"
            and await files.kept_bytes(self.database, owner.name) + len(content) > rules.max_kept
        ):
            text = f"{rules.max_kept} bytes of files are the most that are kept; delete some"
            raise ApiError(413, text, type="invalid_request_error", code="storage_limit", param="file")
        kept_us = (
            int(rules.keep) * 1_000 if seconds is None else min(seconds * SECOND_US, int(rules.keep) * 1_000)
        )
        record = File(
            id=new_id("file-"),
            org_id=owner.org_id,
            trace_id=caller.request_id,
            owner=owner.name,
            key_id=caller.key_id,
            purpose=called[0],
            name=called[1],
            bytes=len(content),
            created_us=now,
            expires_us=now + kept_us,
        )
        await self.vault.keep(record, content)
        return record

    async def get(self, caller: Caller, file_id: str, param: str = "file_id") -> File:
        """Raises `ApiError` (404), the same for another's and for none."""
        owner = await owner_of(self.database, caller)
        record = await files.get(self.database, file_id, owner.name, self.now_us())
        if record is None:
            raise not_found("there is no such file", param=param, code="file_not_found")
        return record

    async def page(
        self, caller: Caller, purpose: str | None, after: str | None, limit: int
    ) -> tuple[list[File], bool]:
        """Newest first, and whether there are more. Raises `ApiError`."""
        owner = await owner_of(self.database, caller)
        last = None if after is None else await self.get(caller, after, "after")
        found = await files.page(self.database, owner.name, purpose, last, limit + 1, self.now_us())
        return found[:limit], len(found) > limit

    async def remove(self, caller: Caller, file_id: str) -> File:
        """Raises `ApiError` (404, 409)."""
        record = await self.get(caller, file_id)
        if await batches.open_with(self.database, record.owner, record.id):
            raise conflict(
                "a batch under way is made of this file; cancel it first", "file_in_use", "file_id"
            )
        await files.remove(self.database, record.id)
        return record


def form_of(upload: Upload) -> tuple[dict[str, str], str, bytes]:
    """Fields, the file's name and its content. Raises `ApiError`."""
    boundary = _BOUNDARY.search(upload.content_type)
    if not upload.content_type.lower().startswith("multipart/form-data") or boundary is None:
        raise bad_request("the body must be a form (multipart/form-data) with `purpose` and `file`")
    mark = b"--" + (boundary[1] or boundary[2]).encode()
    parts = (b"\r\n" + upload.content).split(b"\r\n" + mark)
    if len(parts) < 3 or not parts[-1].startswith(b"--"):
        raise bad_request("the form is not complete", code="invalid_form")
    if len(parts) > PARTS:
        raise bad_request("the form has too many parts", code="invalid_form")
    fields: dict[str, str] = {}
    found: tuple[str, bytes] | None = None
    for part in parts[1:-1]:
        head, gap, content = part.partition(b"\r\n\r\n")
        named = _NAME.search(head)
        if not gap or named is None:
            raise bad_request("a part of the form cannot be read", code="invalid_form")
        filename = _FILENAME.search(head)
        if named[1] == b"file":
            found = ((filename[1] if filename else b"file").decode(errors="replace"), content)
        elif len(content) > FIELD:
            raise bad_request("a field of the form is too long", code="invalid_form")
        else:
            fields[named[1].decode(errors="replace")] = content.decode(errors="replace")
    if found is None:
        raise bad_request("`file` is missing", param="file", code="missing_parameter")
    return fields, *found


def _lifetime(fields: dict[str, str]) -> int | None:
    told = fields.get("expires_after[seconds]")
    if told is None:
        return None
    if not told.isdecimal() or not 3_600 <= int(told) <= 2_592_000:
        text = "`expires_after[seconds]` must be between 3600 and 2592000"
        raise bad_request(text, param="expires_after.seconds", code="invalid_parameter")
    return int(told)

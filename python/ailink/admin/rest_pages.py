"""Pages by cursor: the rows after the last one seen, whatever was added or deleted meanwhile."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from ailink.admin.errors import bad_request
from ailink.store.database import Queries
from ailink.store.reach import Reach
from ailink.store.rows import ALL, Match, Record, Rows, Sort

R = TypeVar("R", bound=Record)

MOST = 200


class PageQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`cursor`: the `next_cursor` of the page before."""

    limit: Annotated[int, Meta(ge=1, le=MOST)] = 50
    cursor: Annotated[str, Meta(max_length=512)] | None = None


async def page_of(
    queries: Queries, reach: Reach, rows: Rows[R], query: PageQuery, match: Match = ALL
) -> tuple[list[R], str | None]:
    """Oldest first, and the cursor of the next page. Raises `ApiError` (400)."""
    after = None if query.cursor is None else position(query.cursor)
    found = await rows.find(queries, reach, match, Sort(limit=query.limit + 1, after=after))
    return cut(found, query.limit)


def cut(found: Sequence[Any], limit: int) -> tuple[list[Any], str | None]:
    """The page of what was found with one more row than it has room for."""
    shown = list(found[:limit])
    return shown, cursor_of(shown[-1]) if len(found) > limit else None


def cursor_of(record: Any) -> str:
    place = msgspec.json.encode([record.created_us, record.id])
    return base64.urlsafe_b64encode(place).decode().rstrip("=")


def position(cursor: str) -> tuple[int, str]:
    """Time and id of the row that a cursor stands behind. Raises `ApiError` (400)."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        raw = base64.b64decode(padded, altchars=b"-_", validate=True)
        at_us, row_id = msgspec.json.decode(raw, type=tuple[int, str])
    except (ValueError, binascii.Error) as error:
        raise bad_request(
            "not a cursor of this list: send `next_cursor` of the page before", param="cursor"
        ) from error
    if not 0 <= at_us < 2**63:
        raise bad_request("not a cursor of this list", param="cursor")
    return at_us, row_id

"""What the data plane is asked about batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from ailink.admin.errors import ApiError

T = TypeVar("T")


class BatchPlane(Protocol):
    def batch_check(self, asked: bytes) -> bytes:
        """Whether a key may ask a model, and where it is had."""

    def batch_hold(self, setting: bytes) -> bytes:
        """Sets aside what a batch may cost."""

    def batch_release(self, id: str) -> None:
        """Gives it back."""

    def batch_requests(self, lines: bytes) -> bytes:
        """Requests as a deployment takes them."""

    def batch_settle(self, settling: bytes) -> bytes:
        """Answers as the caller takes them, with rows in the ledger."""

    def provider_call(self, asked: bytes) -> bytes:
        """Asks a provider."""


class Refusal(msgspec.Struct, frozen=True):
    status: int
    kind: str
    code: str
    message: str
    param: str | None

    def error(self) -> ApiError:
        return ApiError(self.status, self.message, type=self.kind, code=self.code, param=self.param)


class Found(msgspec.Struct, frozen=True):
    error: Refusal | None
    model: str
    deployments: list[str]


class Held(msgspec.Struct, frozen=True):
    error: Refusal | None
    short: bool
    """Of a limit that nodes share, this one's part is used up, the limit perhaps not."""


class Written(msgspec.Struct, frozen=True):
    body: str | None
    error: Refusal | None


class Requests(msgspec.Struct, frozen=True):
    error: Refusal | None
    operation: str | None
    lines: list[Written]


class Told(msgspec.Struct, frozen=True):
    body: str | None
    error: Refusal | None
    input: int
    output: int


class Settled(msgspec.Struct, frozen=True):
    error: Refusal | None
    answers: list[Told]
    cost: int
    """Of rows that were written now."""
    spent: int
    """Of all the answers, pico-USD."""


async def ask(method: Callable[[bytes], bytes], asked: dict[str, Any], answer: type[T]) -> T:
    """In a thread: a batch may have thousands of lines."""
    packed = await asyncio.to_thread(lambda: method(msgspec.msgpack.encode(asked)))
    return msgspec.msgpack.decode(packed, type=answer)


def pieces(rows: Sequence[T], size: int) -> list[tuple[int, Sequence[T]]]:
    """In groups, each with the number of its first."""
    return [(at, rows[at : at + size]) for at in range(0, len(rows), size)]

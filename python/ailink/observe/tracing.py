"""Traces on their way to a collector: what the data plane saw becomes spans, and spans go out in batches.

Requests know nothing of it. Whatever finds its queue full is lost and counted; a collector that is down holds
nothing up. An attempt is told as soon as it is in the ledger, its request once all its attempts are, and what
guardrails and policies said of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import logging
import threading
import time
import urllib.error
import urllib.request
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from ailink.background import end, goes_on
from ailink.config.process import Otlp
from ailink.observe import spans
from ailink.observe.spans import Attempt, Request, Span, Told, Verdict

log = logging.getLogger(__name__)

EVERY_S: Final = 0.25
# Verdicts are in the ledger so long after their request was answered.
HOLD_S: Final = 1.0
# What is still missing then does not come any more; a stream may last.
PATIENCE_S: Final = 15.0
STREAM_PATIENCE_S: Final = 2 * 3_600.0
MOST_OPEN: Final = 20_000
MOST_WAITING: Final = 20_000
BATCH: Final = 512
# Seconds before each further attempt at one batch.
WAITS: Final = (1.0, 2.0, 4.0, 8.0, 16.0)
LONGEST_WAIT_S: Final = 60.0
STOP_S: Final = 5.0
AGAIN: Final = frozenset({429, 502, 503, 504})
PATH: Final = "/v1/traces"

Verdicts = Callable[[Sequence[bytes]], Awaitable[Mapping[bytes, Sequence[Verdict]]]]
Count = Callable[[str, int], None]


class Tracing(Protocol):
    """The part of the data plane that is used here."""

    def set_tracing(self, share: int | None) -> None: ...
    def take_traces(self) -> bytes: ...


class Open:
    """A request that is not told yet."""

    __slots__ = ("attempts", "changed_s", "request", "since_s")

    def __init__(self, now_s: float) -> None:
        self.request: Request | None = None
        self.attempts: list[Attempt] = []
        self.since_s = self.changed_s = now_s

    def is_over(self, now_s: float) -> bool:
        """Nothing more is to be waited for."""
        age, rest = now_s - self.since_s, now_s - self.changed_s
        if self.request is None:
            return age >= PATIENCE_S
        if len(self.attempts) >= self.request.attempts:
            return rest >= HOLD_S
        return age >= (STREAM_PATIENCE_S if self.request.stream else PATIENCE_S)


class Assembler:
    """Brings requests and their attempts together, which come apart and in any order."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, Open] = OrderedDict()

    def take(self, told: Told, now_s: float) -> list[Span]:
        """Takes in what was seen; the spans of the attempts."""
        for request in told.requests:
            one = self._of(request.request_id, now_s)
            one.request = request
        found = []
        for attempt in sorted(told.attempts, key=lambda one: one.number):
            one = self._of(attempt.request_id, now_s)
            earlier = [other for other in one.attempts if other.number < attempt.number]
            found.append(spans.of_attempt(attempt, max(earlier, key=lambda one: one.number, default=None)))
            one.attempts.append(attempt)
        return found

    def over(self, now_s: float, *, everything: bool = False) -> list[Open]:
        """Takes out the requests that can be told."""
        found = [name for name, one in self._open.items() if everything or one.is_over(now_s)]
        spare = len(self._open) - len(found) - MOST_OPEN
        if spare > 0:
            gone = set(found)
            found += [name for name in self._open if name not in gone][:spare]
        return [self._open.pop(name) for name in found]

    def _of(self, request_id: str, now_s: float) -> Open:
        one = self._open.get(request_id)
        if one is None:
            one = self._open[request_id] = Open(now_s)
        one.changed_s = now_s
        return one


class Exporter:
    """One per process. `verdicts`: those of requests, by their ids; `waits` is for tests."""

    def __init__(
        self,
        plane: Tracing,
        verdicts: Verdicts,
        count: Count,
        service: Mapping[str, Any],
        waits: tuple[float, ...] = WAITS,
    ) -> None:
        self._plane = plane
        self._verdicts = verdicts
        self._count = count
        self._service = dict(service)
        self._waits = waits
        self._otlp: Otlp | None = None
        self._assembler = Assembler()
        self._waiting: deque[Span] = deque()
        self._arrived = asyncio.Event()
        self._stopping = asyncio.Event()
        self._failing = False
        self._decoder = msgspec.msgpack.Decoder(Told)
        self._tasks: list[asyncio.Task[None]] = []

    def use(self, otlp: Otlp | None) -> None:
        """What holds from now on."""
        if otlp != self._otlp:
            self._plane.set_tracing(None if otlp is None else int(otlp.sample))
        self._otlp = otlp
        if otlp is None and self._waiting:
            self._drop()
        if otlp is not None and not self._tasks:
            self._tasks = [asyncio.create_task(self._collect()), asyncio.create_task(self._send())]

    async def stop(self) -> None:
        """Sends what there is, as far as that is possible within `STOP_S`."""
        if not self._tasks:
            return
        collecting, sending = self._tasks
        await end([collecting])
        self._stopping.set()
        with contextlib.suppress(RuntimeError):
            await self._look(everything=True)
        self._arrived.set()
        await asyncio.wait([sending], timeout=STOP_S)
        await end([sending])
        if self._waiting:
            self._drop()

    def _drop(self) -> None:
        self._count("dropped", len(self._waiting))
        self._waiting.clear()

    async def _collect(self) -> None:
        while goes_on():
            await asyncio.sleep(EVERY_S)
            try:
                await self._look()
            # Nothing may end this task: traces would be missing until the next start.
            except Exception:
                log.exception("traces could not be collected")

    async def _look(self, *, everything: bool = False) -> None:
        told = self._decoder.decode(await asyncio.to_thread(self._plane.take_traces))
        if told.dropped:
            self._count("dropped", told.dropped)
        now_s = time.monotonic()
        self._put(self._assembler.take(told, now_s))
        over = self._assembler.over(now_s, everything=everything)
        # One whose caller left is told by its attempts; of one that was told already more may come.
        known = [one for one in over if one.request or any(attempt.number == 1 for attempt in one.attempts)]
        if known:
            self._put(await self._told(known))

    async def _told(self, known: Sequence[Open]) -> list[Span]:
        found = []
        for one in known:
            one.attempts.sort(key=lambda attempt: attempt.number)
            request = one.request or spans.of_attempts(one.attempts)
            found.append((bytes.fromhex(request.request_id.removeprefix("req_")), request, one.attempts))
        said: Mapping[bytes, Sequence[Verdict]] = {}
        try:
            said = await self._verdicts([raw for raw, _, _ in found])
        except Exception as error:  # noqa: BLE001
            log.warning("traces are without verdicts: %s", error)
        return [spans.of_request(request, attempts, said.get(raw, ())) for raw, request, attempts in found]

    def _put(self, found: Sequence[Span]) -> None:
        room = MOST_WAITING - len(self._waiting)
        self._waiting.extend(found[:room])
        if len(found) > room:
            self._count("dropped", len(found) - room)
        if self._waiting:
            self._arrived.set()

    async def _send(self) -> None:
        while goes_on():
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting and self._otlp is not None:
                await self._deliver(self._batch())
            if self._stopping.is_set():
                return

    def _batch(self) -> list[Span]:
        return [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]

    def _body(self, otlp: Otlp, batch: Sequence[Span]) -> bytes:
        return spans.document({"service.name": otlp.service_name, **self._service}, batch)

    async def _deliver(self, batch: list[Span]) -> None:
        """One batch, with retries; put back when the task is ended meanwhile."""
        try:
            await self._try(batch)
        except asyncio.CancelledError:
            self._waiting.extendleft(reversed(batch))
            raise

    async def _try(self, batch: list[Span]) -> None:
        for wait_s in (*self._waits, None):
            # It may change while a collector is away.
            if (otlp := self._otlp) is None:
                self._count("dropped", len(batch))
                return
            outcome = await aside(post, otlp, self._body(otlp, batch), int(otlp.timeout) / 1_000)
            self._note(outcome)
            last = wait_s is None or self._stopping.is_set()
            if outcome.good or not outcome.again or last:
                self._count("sent" if outcome.good else "failed", len(batch) - outcome.rejected)
                if outcome.rejected:
                    self._count("failed", outcome.rejected)
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(LONGEST_WAIT_S, max(wait_s or 0.0, outcome.wait_s))):
                    await self._stopping.wait()

    def _note(self, outcome: Outcome) -> None:
        """One line when it begins to fail, one when that is over."""
        if not outcome.good and not self._failing:
            log.warning("traces cannot be sent: %s", outcome.text)
        if outcome.good and self._failing:
            log.info("traces are sent again")
        self._failing = not outcome.good


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one request to a collector. `again`: worth another try, after `wait_s` at least."""

    good: bool
    again: bool = False
    wait_s: float = 0.0
    rejected: int = 0
    """Spans that the collector did not take."""
    text: str = ""


class _Partial(msgspec.Struct, frozen=True, rename="camel"):
    rejected_spans: int | str = 0


class _Answer(msgspec.Struct, frozen=True, rename="camel"):
    partial_success: _Partial | None = None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


async def aside(call: Callable[..., Outcome], *arguments: Any) -> Outcome:
    """Calls in a thread that the process does not wait for when it ends: a collector may be slow."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Outcome] = loop.create_future()

    def tell(outcome: Outcome) -> None:
        if not done.done():
            done.set_result(outcome)

    def run() -> None:
        try:
            outcome = call(*arguments)
        except Exception as error:  # noqa: BLE001 - whoever waits has to hear of it
            outcome = Outcome(good=False, text=type(error).__name__)
        # The loop may be gone by now.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(tell, outcome)

    threading.Thread(target=run, name="ailink-traces", daemon=True).start()
    return await done


def address(endpoint: str) -> str:
    """Where traces are posted to."""
    base, mark, query = endpoint.partition("?")
    base = base.rstrip("/")
    return f"{base if base.endswith(PATH) else base + PATH}{mark}{query}"


def post(otlp: Otlp, body: bytes, timeout_s: float) -> Outcome:
    """One request; blocks, for a thread."""
    headers = {name: value.reveal() for name, value in otlp.headers.items()}
    headers |= {"content-type": "application/json", "user-agent": "AILink"}
    request = urllib.request.Request(address(otlp.endpoint), data=body, headers=headers, method="POST")
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=timeout_s) as response:
            return Outcome(good=True, rejected=_rejected(response.read(64 * 1024)))
    except urllib.error.HTTPError as error:
        with error:
            wait = error.headers.get("retry-after", "") if error.headers else ""
        return Outcome(
            good=False,
            again=error.code in AGAIN,
            wait_s=float(wait) if wait.isascii() and wait.isdigit() else 0.0,
            text=f"the collector answered with {error.code}",
        )
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
        return Outcome(good=False, again=True, text=str(reason or type(error).__name__))


def _rejected(answer: bytes) -> int:
    with contextlib.suppress(msgspec.DecodeError, ValueError):
        partial = msgspec.json.decode(answer, type=_Answer).partial_success
        return 0 if partial is None else max(0, int(partial.rejected_spans))
    return 0

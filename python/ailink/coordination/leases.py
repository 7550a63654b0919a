"""This node's shares of limits: asked for when requests need them, reported as they are used, given back when
somebody else needs them or nobody does.

One exchange with Redis at a time; whatever is needed meanwhile goes with the next, so a thousand requests
cost one call. Without an answer the node goes on with what it has, for as long as leases hold: so while there
are answers, every report has shares made up to a fair part again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import math
import secrets
import time
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any

import msgspec

from ailink.background import end, goes_on
from ailink.coordination import link
from ailink.coordination.places import Places
from ailink.coordination.shapes import (
    EVER,
    MARGIN_MS,
    Answer,
    Grant,
    LeasePlane,
    Options,
    Reply,
    Row,
    Standing,
    joined,
    keep_ms,
    key_of,
    scale_of,
    stub,
    until_end,
)

log = logging.getLogger(__name__)

# From a use to its report, at most.
REPORT_S = 0.25
# What nobody drew upon for so long is not made up any more, and what is more than a fair part is given back.
IDLE_MS = 5_000
# And all of it after so long.
FORGET_MS = 3_600_000
# A limit that is used up is asked about again after so long.
AGAIN_MS = 100
# What was granted to waiting requests is theirs for so long, whoever else is short of it.
GRACE_S = 0.02
# Asking again while other nodes give back.
RECALL_S = 0.005
RECALLS = 40
RECLAIM_S = 2.0
RETRY_S = 0.25
BATCH = 200


# By serial: how a lease stands, and how much is asked for: 0, a fair part, ahead of need; -1, the same with a
# report; -2, nothing.
Asking = dict[int, tuple[Standing, int]]
TOP_UP = -1
REPORT_ONLY = -2
# More than any limit: nothing is given up.
ALL = 2**62
# What a report is: of a part; of all there is; the last one.
PARTIAL, COMPLETE, LEAVES = "0", "1", "2"


class Leases:
    """Make it in the event loop; `start`, `stop`."""

    def __init__(self, plane: LeasePlane, options: Options) -> None:
        self._plane = plane
        self._options = options
        self._client = link.connect(options.url)
        self._incarnation = secrets.token_hex(4)
        self._lease_script = _script("lease.lua")
        self._reclaim_script = _script("reclaim.lua")
        self._wake = asyncio.Event()
        self._calls: dict[int, Standing] = {}
        self._joined = ""
        self._tasks: list[asyncio.Task[None]] = []
        self._run_id = ""
        self._online = False
        self._doubted = False
        self._peers: Sequence[str] = options.peers
        self._places = Places()
        self._recalled: set[str] = set()
        self._given: dict[str, float] = {}
        self._excess: dict[int, tuple[Standing, int]] = {}
        self._valid_until = 0.0

    @property
    def online(self) -> bool:
        return self._online

    def start(self) -> None:
        asyncio.get_running_loop().add_reader(self._plane.lease_fd(), self._called)
        self._tasks = [asyncio.create_task(task) for task in (self._serve(), self._listen(), self._reclaim())]

    async def stop(self) -> None:
        """Gives everything back."""
        asyncio.get_running_loop().remove_reader(self._plane.lease_fd())
        await end(self._tasks)
        with contextlib.suppress(*link.TROUBLE):
            if self._online:
                left = self._shrink(self._decode(self._plane.lease_report("changed")))
                await self._exchange([(one, REPORT_ONLY) for one in left], complete=LEAVES)
        with contextlib.suppress(*link.TROUBLE):
            await link.close(self._client)

    # ── the loop ─────────────────────────────────────────────────────────────────────────────────────────

    def _called(self) -> None:
        for one in self._decode(self._plane.lease_calls()):
            known = self._calls.get(one.serial)
            self._calls[one.serial] = one if known is None else joined(one, known, one.wanted + known.wanted)
        self._wake.set()

    async def _serve(self) -> None:
        reported = 0.0
        while goes_on():
            try:
                if not self._run_id:
                    await self._join()
                now = time.monotonic()
                due = now - reported >= REPORT_S
                reported = now if due else reported
                rows = self._to_ask()
                rows = self._given_back(due) | rows
                if rows or due:
                    await self._settle(rows)
                if self._calls or self._recalled:
                    continue
                self._wake.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, reported + REPORT_S - time.monotonic())):
                        await self._wake.wait()
            except link.TROUBLE as error:
                if isinstance(error, link.TIMEOUTS) and self._online and not self._doubted:
                    # One slow answer is no outage: who waits for a share goes on waiting for the next.
                    self._doubted, self._run_id = True, ""
                    continue
                self._lost(error)
                await asyncio.sleep(RETRY_S)

    async def _join(self) -> None:
        """Tells a server that does not know this node all that it holds."""
        async with asyncio.timeout(link.ANSWER_S if self._doubted else link.ANSWER_S + link.CONNECT_S):
            self._run_id = await link.run_id(self._client)
        late = time.monotonic() >= self._valid_until
        if late:
            # Others may have it by now.
            self._shrink(self._decode(self._plane.lease_report("all")))
            self._valid_until = math.inf
        which = "all" if self._run_id == self._joined and not late else "anew"
        everything = self._decode(self._plane.lease_report(which))
        if which == "anew":
            # Totals begin anew. A server that knows the former ones may be there again: it must not mix them.
            self._joined, self._incarnation = self._run_id, secrets.token_hex(4)
        if not self._online:
            # Who wanted it was refused meanwhile.
            self._calls = {
                at: msgspec.structs.replace(one, wanted=0, least=0) for at, one in self._calls.items()
            }
        await self._exchange([(one, REPORT_ONLY) for one in everything], complete=COMPLETE)

    def _to_ask(self) -> Asking:
        calls, self._calls = self._calls, {}
        return {serial: (one, one.wanted) for serial, one in calls.items()}

    def _given_back(self, due: bool) -> Asking:
        """What changed, to be made up where it is in use; with what nobody uses or others need given up."""
        recalled = dict(pair for key in self._recall() for pair in self._places.of(key))
        if not due and not recalled:
            return {}
        changed = (
            {one.serial: one for one in self._decode(self._plane.lease_report("changed"))} if due else {}
        )
        rows = {at: (one, TOP_UP if one.idle_ms < IDLE_MS else REPORT_ONLY) for at, one in changed.items()}
        excess, self._excess = self._excess, {}
        forgotten = [one for one in changed.values() if one.serial in recalled or one.idle_ms >= FORGET_MS]
        unchanged = [(serial, place) for serial, place in recalled.items() if serial not in changed]
        forgotten += [stub(serial, place.kind, place.holder) for serial, place in unchanged]
        given = self._shrink_to(excess.values()) + self._shrink(forgotten)
        return rows | {one.serial: (one, REPORT_ONLY) for one in given}

    def _recall(self) -> set[str]:
        """What is to be given back now; what waiting requests have just got is asked for again later."""
        recalled, self._recalled = self._recalled, set()
        now = time.monotonic()
        self._given = {key: until for key, until in self._given.items() if until > now}
        for key in recalled & self._given.keys():
            asyncio.get_running_loop().call_later(self._given[key] - now, self._remind, key)
        return recalled - self._given.keys()

    def _remind(self, key: str) -> None:
        self._recalled.add(key)
        self._wake.set()

    def _shrink(self, leases: Iterable[Standing]) -> list[Standing]:
        return self._shrink_to((one, 0) for one in leases)

    def _shrink_to(self, leases: Iterable[tuple[Standing, int]]) -> list[Standing]:
        rows = [(one.kind, one.id, one.serial, keep) for one, keep in leases]
        return self._decode(self._plane.lease_shrink(msgspec.msgpack.encode(rows))) if rows else []

    async def _settle(self, rows: Asking) -> None:
        """Reports and asks; asks again while other nodes are giving back."""
        for attempt in range(RECALLS + 1):
            try:
                rows = await self._exchange(list(rows.values()), last=attempt == RECALLS)
            except link.TROUBLE:
                # Whoever waits is waiting still.
                asked = {
                    at: (one, want) for at, (one, want) in rows.items() if want >= 0 and at not in self._calls
                }
                self._calls |= {
                    at: msgspec.structs.replace(one, wanted=want) for at, (one, want) in asked.items()
                }
                raise
            if not rows:
                return
            await asyncio.sleep(RECALL_S)
            more = self._given_back(False) | self._to_ask()
            for serial, (one, want) in more.items():
                before, left = rows.get(serial, (one, want))
                rows[serial] = (joined(one, before), max(want, left))

    async def _exchange(
        self, rows: Sequence[tuple[Standing, int]], *, complete: str = PARTIAL, last: bool = True
    ) -> Asking:
        """One call per batch. Returns what is to be asked again, unless it is the `last` time."""
        again: Asking = {}
        for start in range(0, max(1, len(rows)), BATCH):
            part = self._as_now(rows[start : start + BATCH])
            packed = [self._row(one, want, scale_of(one.max)) for one, want in part]
            sent = time.monotonic()
            reply = await self._call(packed, complete if start + BATCH >= len(rows) else PARTIAL)
            if reply.run is not None:
                # Another server, or the same anew: it knows nothing of what is held here.
                raise ConnectionError("Redis is another one than before")
            self._heard(sent, reply)
            answers = reply.rows if isinstance(reply.rows, list) else []
            grants = []
            for (one, want), answer in zip(part, answers, strict=True):
                granted = answer.granted * scale_of(one.max)
                waits = want >= 0 and answer.status in ("recall", "settling") and not last
                if waits:
                    left = max(1, want - max(0, granted - one.granted))
                    again[one.serial] = (msgspec.structs.replace(one, granted=granted), left)
                more = want == TOP_UP and granted > max(one.granted, one.taken)
                if more or (want >= 0 and not (waits and granted == one.granted)):
                    grants.append(self._grant(one, answer))
                    if want > 0 and granted > one.granted:
                        self._given[key_of(one)] = time.monotonic() + GRACE_S
                # Another node collects what is left: what is too little here may suffice there.
                if answer.recall and granted > one.taken and (want < 0 or answer.status == "recall"):
                    self._recalled.add(key_of(one))
                self._weigh(one, answer, granted)
            if grants:
                self._plane.lease_grant(msgspec.msgpack.encode(grants))
        return again

    def _weigh(self, one: Standing, answer: Answer, granted: int) -> None:
        """Notes what is too much: more than the limit allows now, or than is fair where nobody uses it."""
        fair = max(0, answer.fair) * scale_of(one.max)
        left = granted - one.taken
        if left > 0 and (answer.free < 0 or (one.idle_ms >= IDLE_MS and left > 2 * fair)):
            self._excess[one.serial] = (one, 0 if answer.free < 0 else fair)

    def _as_now(self, rows: Sequence[tuple[Standing, int]]) -> list[tuple[Standing, int]]:
        """Calls as their leases stand now: what was granted since they were made is not free any more."""
        calls = [(one.kind, one.id, one.serial, ALL) for one, want in rows if want >= 0]
        if not calls:
            return list(rows)
        found = self._decode(self._plane.lease_shrink(msgspec.msgpack.encode(calls)))
        now = {one.serial: one for one in found}
        kept = [(one, want) for one, want in rows if want < 0 or one.serial in now]
        return [(joined(now.get(one.serial, one), one), want) for one, want in kept]

    async def _call(self, rows: list[Row], complete: str) -> Reply:
        arguments = (
            self._run_id, self._options.node, self._incarnation, self._options.ttl_ms,
            msgspec.json.encode(rows), complete, msgspec.json.encode(list(self._peers)),
        )  # fmt: skip
        async with asyncio.timeout(link.ANSWER_S):
            answer = await self._eval(self._lease_script, arguments)
        return msgspec.json.decode(answer, type=Reply)

    async def _eval(self, script: str, arguments: Sequence[Any]) -> Any:
        # By digest; the text goes over the wire once per server.
        digest = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        try:
            return await self._client.evalsha(digest, 1, link.BASE, *arguments)
        except Exception as error:
            if "NOSCRIPT" not in str(error) and type(error).__name__ != "NoScriptError":
                raise
            return await self._client.eval(script, 1, link.BASE, *arguments)

    # ── shapes ───────────────────────────────────────────────────────────────────────────────────────────

    def _row(self, one: Standing, want: int, scale: int) -> Row:
        key = key_of(one)
        self._places.saw(key, one, time.monotonic())
        sliding = one.window is not None and one.window["kind"] == "sliding"
        length = int(one.window["length_ms"]) if one.window is not None and sliding else 0
        return Row(
            key=key,
            max=one.max // scale,
            slot_ms=max(1, -(-length // 60)) if sliding else 0,
            held=int(one.window is None),
            keep_ms=keep_ms(one, length, self._options.ttl_ms),
            ends=0 if one.period == EVER else one.period // 1_000,
            # Used is rounded up, granted down: what is lost is less than a grain per node.
            taken=-(-one.taken // scale),
            granted=one.granted // scale,
            want=0 if want == REPORT_ONLY else max(1, -(-want // scale)),
            least=-(-one.least // scale),
            ahead=int(want <= 0),
        )

    def _grant(self, one: Standing, answer: Answer) -> Grant:
        granted = answer.granted * scale_of(one.max)
        exhausted = answer.status == "exhausted"
        renewed = answer.renewed if answer.renewed >= 0 else until_end(one.period)
        return Grant(
            kind=one.kind,
            id=one.id,
            serial=one.serial,
            period=one.period,
            granted=granted,
            low=0 if answer.status != "ok" or answer.free <= 0 else max(0, granted - one.taken) // 2,
            exhausted_ms=(AGAIN_MS, renewed) if exhausted else None,
            elsewhere=answer.elsewhere * scale_of(one.max),
        )

    def _decode(self, packed: bytes) -> list[Standing]:
        return msgspec.msgpack.decode(packed, type=list[Standing])

    # ── state of the link ────────────────────────────────────────────────────────────────────────────────

    def _heard(self, sent: float, reply: Reply) -> None:
        if isinstance(reply.peers, list):
            self._peers = reply.peers
        self._doubted = False
        if not self._online:
            self._online = True
            log.info("the coordinator answers")
        self._valid_until = sent + self._options.ttl_ms / 1_000
        self._plane.lease_heard(True, max(0.0, self._valid_until - time.monotonic()))

    def _lost(self, error: BaseException) -> None:
        if self._online:
            why = str(error) or type(error).__name__
            log.warning("the coordinator does not answer; limits go on with what was leased: %s", why)
        self._online = self._doubted = False
        self._run_id = ""
        self._plane.lease_heard(False, None)

    async def _listen(self) -> None:
        """Hears what other nodes are short of. Without it the next report tells, a little later."""
        while hasattr(self._client, "pubsub") and goes_on():
            try:
                async with self._client.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(f"{link.BASE}:recall")
                    while goes_on():
                        message = await channel.get_message(timeout=5.0)
                        if message is not None:
                            self._hear(message["data"])
            except link.TROUBLE:
                await asyncio.sleep(RETRY_S)

    def _hear(self, said: bytes | str) -> None:
        key, _, node = (said.decode() if isinstance(said, bytes) else said).partition(" ")
        if node != self._options.node:
            self._remind(key)

    async def _reclaim(self) -> None:
        """Frees what dead nodes held; any node may do it, the script does it once."""
        while goes_on():
            await asyncio.sleep(RECLAIM_S)
            silence = self._options.ttl_ms + MARGIN_MS
            with contextlib.suppress(*link.TROUBLE):
                if self._run_id:
                    async with asyncio.timeout(link.ANSWER_S):
                        freed = await self._eval(self._reclaim_script, (self._run_id, silence, 1_000))
                    if freed:
                        log.warning("took back %s leases of nodes that are gone", freed)


def _script(name: str) -> str:
    return (resources.files("ailink.coordination") / name).read_text(encoding="utf-8")

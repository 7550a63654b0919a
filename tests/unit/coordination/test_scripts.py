"""The scripts that keep the count of a limit, on a real Redis: whatever nodes ask, report and lose, what they
were granted never exceeds it.
"""

import random
from typing import Any

import msgspec
import pytest
import redis

from ailink.coordination.leases import _script
from ailink.coordination.link import BASE

LEASE, RECLAIM = _script("lease.lua"), _script("reclaim.lua")


class Nodes:
    """What several nodes say to the scripts about one limit."""

    def __init__(self, url: str, *, most: int, slot_ms: int = 0, held: int = 0) -> None:
        self.client = redis.Redis.from_url(url)
        self.run = self.client.info("server")["run_id"]
        self.limit = {"key": "k", "max": most, "slot_ms": slot_ms, "held": held, "keep_ms": 0}
        self.taken: dict[str, int] = {}
        self.granted: dict[str, int] = {}
        self.incarnation: dict[str, int] = {}

    def say(
        self, node: str, want: int = 0, *, least: int = 0, good: int = 0, ahead: int = 0
    ) -> dict[str, Any]:
        taken, granted = self.taken.setdefault(node, 0), self.granted.setdefault(node, 0)
        row = self.limit | {
            "taken": taken, "granted": granted, "want": want, "least": least or want, "ahead": ahead,
            "good": max(good, want),
        }  # fmt: skip
        packed = msgspec.json.encode([row])
        name = str(self.incarnation.setdefault(node, 1))
        answer = self.client.eval(LEASE, 1, BASE, self.run, node, name, 60_000, packed, "0", "[]")
        found: dict[str, Any] = msgspec.json.decode(answer)["rows"][0]
        self.granted[node] = found["granted"]
        return found

    def reclaim(self) -> int:
        return int(self.client.eval(RECLAIM, 1, BASE, self.run, 0, 1_000))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("slot_ms", "held"), [(0, 0), (60_000, 0), (0, 1)])
def test_grants_never_exceed_the_limit(redis_url: str, seed: int, slot_ms: int, held: int) -> None:
    dice = random.Random(seed)
    most = dice.choice([1, 7, 100, 10**12])
    nodes = Nodes(redis_url, most=most, slot_ms=slot_ms, held=held)
    # Of a sliding window all that was ever used counts here: a slot is a minute.
    spent = 0
    for _ in range(150):
        node = dice.choice("abc")
        act = dice.random()
        before = nodes.taken.get(node, 0)
        if act < 0.5:
            nodes.say(node, max(1, dice.randrange(most // 3 + 2)), good=dice.randrange(most + 1))
        elif act < 0.8:
            nodes.taken[node] = before + dice.randint(0, nodes.granted.get(node, 0) - before)
        elif act < 0.9:
            nodes.granted[node] = max(before, 0)
            nodes.say(node)
        else:
            # The process dies and comes back: of a period it knows what it used, of all else nothing.
            nodes.incarnation[node] = nodes.incarnation.get(node, 1) + 1
            if slot_ms:
                spent += nodes.granted.get(node, 0)
            if slot_ms or held:
                nodes.taken[node] = 0
            nodes.granted[node] = nodes.taken.get(node, 0)
            nodes.say(node)
        assert sum(nodes.granted.values()) + (spent if slot_ms else 0) <= most


def test_what_is_used_up_is_told_from_what_others_hold(redis_url: str) -> None:
    nodes = Nodes(redis_url, most=100)
    assert nodes.say("a", 60)["granted"] == 60
    short = nodes.say("b", 50)
    assert (short["granted"], short["status"]) == (40, "recall")
    nodes.granted["a"] = nodes.taken["a"] = 20
    assert nodes.say("a")["recall"], "somebody asked for it"
    assert nodes.say("b", 50)["granted"] == 80
    nodes.taken["b"] = 80
    assert nodes.say("b", 1)["status"] == "exhausted"
    assert nodes.say("a", 0)["status"] == "ok"


def test_what_is_too_little_for_anybody_is_told_at_once(redis_url: str) -> None:
    """Wherever it lies: nobody has to collect it first."""
    nodes = Nodes(redis_url, most=100)
    for node, used in (("a", 49), ("b", 48)):
        nodes.say(node, 50)
        nodes.taken[node] = used
        nodes.say(node)
    told = nodes.say("c", 12, least=4)
    assert (told["granted"], told["status"], told["elsewhere"]) == (0, "exhausted", 3)
    assert not nodes.say("a")["recall"]
    assert nodes.say("a", 5, least=4)["elsewhere"] == 2, "one is its own"
    for smaller, status in ((4, "exhausted"), (3, "recall")):
        assert nodes.say("c", 12, least=smaller)["status"] == status


def test_who_got_enough_for_one_lets_others_have_their_turn(redis_url: str) -> None:
    nodes = Nodes(redis_url, most=100)
    nodes.say("a", 90)
    assert nodes.say("b", 20, least=15)["status"] == "recall"
    assert nodes.say("c", 20, least=15)["status"] == "recall"
    assert not nodes.say("b")["recall"], "it collects itself"
    nodes.granted["a"] = nodes.taken["a"] = 85
    assert nodes.say("a")["recall"]
    served = nodes.say("b", 10, least=5)
    assert (served["granted"], served["status"]) == (15, "exhausted")
    nodes.taken["b"] = 15
    nodes.say("b")
    assert nodes.say("c", 20, least=15)["status"] == "exhausted"


def test_nobody_gives_way_to_what_is_asked_ahead_of_need(redis_url: str) -> None:
    nodes = Nodes(redis_url, most=10)
    assert nodes.say("a", 10)["granted"] == 10
    ahead = nodes.say("b", 1, ahead=1)
    assert (ahead["granted"], ahead["status"]) == (0, "ok")
    assert not nodes.say("a")["recall"]


@pytest.mark.parametrize(("slot_ms", "held", "left"), [(0, 0, 90), (60_000, 0, 50), (0, 1, 100)])
def test_dead_nodes_give_back(redis_url: str, slot_ms: int, held: int, left: int) -> None:
    """A budget keeps what was used, a rate counts all of the share, places in flight are free."""
    nodes = Nodes(redis_url, most=100, slot_ms=slot_ms, held=held)
    nodes.say("dead", 50)
    nodes.taken["dead"] = 10
    nodes.say("dead")
    assert nodes.reclaim() == 1
    assert nodes.reclaim() == 0
    assert nodes.say("b", 100, least=1)["granted"] == left


def test_another_server_is_noticed(redis_url: str) -> None:
    nodes = Nodes(redis_url, most=1)
    answer = nodes.client.eval(LEASE, 1, BASE, "0" * 40, "a", "1", 1_000, "[]", "0", "[]")
    assert msgspec.json.decode(answer) == {"run": nodes.run}


def test_an_empty_server_waits_for_those_who_may_hold_something(redis_url: str) -> None:
    nodes = Nodes(redis_url, most=10)
    one = msgspec.json.encode(
        [nodes.limit | {"taken": 0, "granted": 0, "want": 1, "least": 1, "ahead": 0, "good": 1}]
    )

    def ask(node: str, rows: bytes = b"[]", complete: str = "1", peers: str = '["a", "b"]') -> Any:
        answer = nodes.client.eval(LEASE, 1, BASE, nodes.run, node, "1", 60_000, rows, complete, peers)
        return msgspec.json.decode(answer)

    assert not ask("a")["ready"]
    assert ask("a", one)["rows"][0]["status"] == "settling"
    assert ask("b")["ready"]
    assert ask("a", one)["rows"][0]["granted"] == 1

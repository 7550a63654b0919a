"""The scripts that keep the count of a limit, on a real Redis: whatever nodes ask, report and lose, what they
were granted never exceeds it.
"""

import random
import time
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
        self.limit = {"key": "k", "max": most, "slot_ms": slot_ms, "held": held, "keep_ms": 0, "ends": 0}
        self.taken: dict[str, int] = {}
        self.granted: dict[str, int] = {}
        self.incarnation: dict[str, int] = {}

    def say(self, node: str, want: int = 0, *, least: int = 0, ahead: int = 0) -> dict[str, Any]:
        taken, granted = self.taken.setdefault(node, 0), self.granted.setdefault(node, 0)
        row = self.limit | {
            "taken": taken, "granted": granted, "want": want, "least": least or want, "ahead": ahead,
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
            nodes.say(node, max(1, dice.randrange(most // 3 + 2)), ahead=dice.randrange(2))
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
    one = msgspec.json.encode([nodes.limit | {"taken": 0, "granted": 0, "want": 1, "least": 1, "ahead": 0}])

    def ask(node: str, rows: bytes = b"[]", complete: str = "1", peers: str = '["a", "b"]') -> Any:
        answer = nodes.client.eval(LEASE, 1, BASE, nodes.run, node, "1", 60_000, rows, complete, peers)
        return msgspec.json.decode(answer)

    assert not ask("a")["ready"]
    assert ask("a", one)["rows"][0]["status"] == "settling"
    assert ask("b")["ready"]
    assert ask("a", one)["rows"][0]["granted"] == 2, "a quarter, of two nodes"


def test_every_node_comes_to_hold_a_fair_part(redis_url: str) -> None:
    """Of a limit that is far away, whoever was there first, and as large after each report."""
    nodes = Nodes(redis_url, most=1_000_000)
    assert nodes.say("a", 1)["granted"] == 500_000, "it is alone"
    for node in "bc":
        nodes.say(node, 1)
    # What was more than fair, and unused, is given back: the answer says what is fair.
    answer = nodes.say("a")
    assert answer["fair"] == (answer["free"] + 500_000) // 6
    nodes.granted["a"] = answer["fair"]
    for _ in range(20):
        for node in "abc":
            nodes.say(node, 1, ahead=1)
    assert all(90_000 < share < 170_000 for share in nodes.granted.values()), nodes.granted
    before = dict(nodes.granted)
    for node in "abc":
        nodes.taken[node] += 20_000
        nodes.say(node, 1, ahead=1)
    assert nodes.granted == before, "not asked for every little"
    for node in "abc":
        nodes.taken[node] += 60_000
        nodes.say(node, 1, ahead=1)
    assert all(nodes.granted[node] - nodes.taken[node] > 70_000 for node in "abc")


def test_a_limit_that_is_lowered_is_beneath_what_nodes_hold(redis_url: str) -> None:
    nodes = Nodes(redis_url, most=1_000)
    for node in "ab":
        nodes.say(node, 100)
    nodes.limit["max"] = 60
    answer = nodes.say("a")
    assert answer["free"] < 0
    for node in "ab":
        nodes.granted[node] = 0
        nodes.say(node)
    assert nodes.say("a", 60)["granted"] == 60


def now_ms(nodes: Nodes) -> int:
    seconds, micros = nodes.client.time()
    return int(seconds) * 1_000 + int(micros) // 1_000


def test_what_is_left_of_a_period_stays_with_the_nodes(redis_url: str) -> None:
    """Used is nothing of the next one then, and what nodes hold is no one else's, heard or not."""
    nodes = Nodes(redis_url, most=100)
    end = now_ms(nodes) + 300
    nodes.limit["ends"] = end
    nodes.say("silent", 30)
    nodes.say("b", 30)
    nodes.taken |= {"silent": 10, "b": 20}
    nodes.granted |= {"silent": 30, "b": 30}
    nodes.say("silent")
    nodes.say("b")
    time.sleep(0.35)
    # The first to mention the next one begins it. Of it "silent" may use the 20 that it had left.
    nodes.limit["ends"] = end + 60_000
    nodes.taken["b"], nodes.granted["b"] = 0, 10
    assert nodes.say("b", 100, least=81)["status"] == "recall"
    assert nodes.granted["b"] == 80
    nodes.taken["silent"], nodes.granted["silent"] = 5, 20
    nodes.say("silent")
    assert nodes.say("b", 100, least=1)["granted"] == 80
    nodes.granted["silent"] = 5
    nodes.say("silent")
    assert nodes.say("b", 100, least=1)["granted"] == 95


def test_clocks_of_nodes_do_not_end_periods_for_others(redis_url: str) -> None:
    nodes = Nodes(redis_url, most=100)
    now = now_ms(nodes)
    behind, present, ahead = now - 1_000, now + 60_000, now + 120_000
    nodes.limit["ends"] = present
    nodes.say("a", 40)
    nodes.taken["a"] = nodes.granted["a"] = 40
    nodes.say("a")
    for wrong in (behind, ahead):
        nodes.limit["ends"] = wrong
        answer = nodes.say("b", 10)
        assert (answer["granted"], answer["status"]) == (0, "settling")
        assert nodes.say("b")["status"] == "ok"
    nodes.limit["ends"] = present
    assert nodes.say("c", 100, least=1)["granted"] == 60
    # The first one to mention a limit may be the one that is ahead.
    nodes.limit |= {"key": "other", "ends": ahead}
    nodes.granted, nodes.taken = {}, {}
    assert nodes.say("b", 10)["granted"] >= 10
    nodes.limit["ends"] = present
    assert nodes.say("a", 10)["status"] == "ok"


@pytest.mark.parametrize("seed", range(8))
def test_no_period_has_more_than_the_limit(redis_url: str, seed: int) -> None:
    """Nodes turn a little early or late, take what they have, and are silent at times."""
    dice = random.Random(seed)
    length, most = 120, dice.choice([1, 7, 100, 10**9])
    nodes = Nodes(redis_url, most=most)
    skew = {node: dice.randint(-15, 15) for node in "abc"}
    period = dict.fromkeys("abc", 0)
    total: dict[int, int] = {}
    # `time.time`, as the server's: of one machine.
    end = time.time() + 1.2
    while time.time() < end:
        node = dice.choice("abc")
        present = (int(time.time() * 1_000) + skew[node]) // length
        taken, granted = nodes.taken.get(node, 0), nodes.granted.get(node, 0)
        if present != period[node]:
            # What `Lease::turn` does.
            left = granted - taken if period[node] else 0
            nodes.taken[node], nodes.granted[node], period[node] = 0, left, present
            taken, granted = 0, left
        nodes.limit["ends"] = (present + 1) * length
        if dice.random() < 0.5:
            part = dice.randint(0, granted - taken)
            nodes.taken[node] = taken + part
            total[present] = total.get(present, 0) + part
        elif dice.random() < 0.7:
            nodes.say(node, max(1, dice.randrange(most // 3 + 2)), ahead=dice.randrange(2))
    assert len(total) > 5
    assert max(total.values()) <= most
    assert max(total.values()) > most // 3

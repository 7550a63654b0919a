"""What keys, teams, organizations, endpoints and models say of the cache, over HTTP."""

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.harness import Gateway, MockProvider, chat, make_config, make_deployment, make_model, until

numbers = itertools.count()


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def at(name: str, **cache: Any) -> dict[str, Any]:
        return make_model(name, make_deployment(provider, "echo", model=name), cache=cache)

    config = make_config(
        at("m"),
        at("shared", scope="shared"),
        at("asked", mode="opt_in"),
        at("never", enabled=False),
        at("own", ttl="1h"),
        cache={
            "enabled": True,
            "ttl": "1h",
            "endpoints": {
                "completions": {"enabled": False},
                "chat": {"scope": "key"},
                "rerank": {"ttl": "50ms"},
            },
        },
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        running.call("/organization/new", {"organization_id": "o", "organization_alias": "O"})
        running.call("/team/new", {"team_id": "t", "organization_id": "o"})
        yield running


class Asker:
    """Asks the same question again with any key."""

    def __init__(self, gateway: Gateway, model: str = "m") -> None:
        self.gateway, self.model, self.text = gateway, model, f"question {next(numbers)}"

    def send(self, key: str, model: str | None = None, **more: Any) -> httpx.Response:
        body = chat(model or self.model, self.text, **more)
        headers = {"Authorization": f"Bearer {key}"}
        return self.gateway.http.post("/v1/chat/completions", json=body, headers=headers)

    def __call__(self, key: str, model: str | None = None, **more: Any) -> str | None:
        return self.send(key, model, **more).raise_for_status().headers.get("x-ailink-cache")


@pytest.fixture
def ask(gateway: Gateway) -> Asker:
    return Asker(gateway)


def mint(gateway: Gateway, **settings: Any) -> str:
    return str(gateway.call("/key/generate", settings)["key"])


def test_a_key_switches_the_cache_off(gateway, ask):
    key = mint(gateway, cache={"enabled": False})
    assert [ask(key), ask(key)] == [None, None]
    gateway.call("/key/update", {"key": key, "cache": None})
    assert [ask(key), ask(key)] == ["miss", "hit"]


def test_a_key_has_all_its_requests_cached(gateway, ask):
    key = mint(gateway, cache={"mode": "on"})
    assert [ask(key, "asked"), ask(key, "asked")] == ["miss", "hit"]
    assert [ask(mint(gateway), "asked") for _ in range(2)] == [None, None]
    # What the file switches off stays off.
    assert [ask(key, "never"), ask(key, "never")] == [None, None]
    asks = mint(gateway, cache={"mode": "opt_in"})
    assert [ask(asks), ask(asks, cache={"use-cache": True}), ask(asks, cache={"use-cache": True})] == [
        None,
        "miss",
        "hit",
    ]


def test_a_team_shares_and_a_key_of_it_does_not(gateway, ask):
    gateway.call("/team/new", {"team_id": "shares", "organization_id": "o", "cache": {"scope": "team"}})
    one, two = (mint(gateway, team_id="shares") for _ in range(2))
    alone = mint(gateway, team_id="shares", cache={"scope": "key"})
    assert [ask(one), ask(two), ask(alone), ask(alone)] == ["miss", "hit", "miss", "hit"]
    wider = mint(gateway, team_id="shares", cache={"scope": "shared"})
    assert ask(wider) == "hit", "the team's scope is the narrower one"
    gateway.call("/team/update", {"team_id": "shares", "cache": {}})
    assert [ask(one), ask(two)] == ["miss", "miss"]


def test_an_organization_narrows_what_the_file_shares(gateway, ask):
    gateway.call(
        "/organization/new",
        {"organization_id": "n", "organization_alias": "N", "cache": {"scope": "organization"}},
    )
    outside = mint(gateway)
    gateway.call("/team/new", {"team_id": "n1", "organization_id": "n"})
    inside = [mint(gateway, organization_id="n"), mint(gateway, team_id="n1")]
    assert [ask(key, "shared") for key in (outside, *inside)] == ["miss", "miss", "hit"]


def test_the_shortest_time_holds(gateway, ask):
    gateway.call("/team/new", {"team_id": "brief", "cache": {"ttl": "50ms", "scope": "team"}})
    key = mint(gateway, team_id="brief", cache={"ttl": "1h"})
    # Requests may ask for less, not for more; and what others keep for longer is too old as well.
    assert ask(key, "own", cache={"ttl": 600}) == "miss"
    until(lambda: ask(key, "own", cache={"ttl": 600}) == "miss", "the answer is over")
    young = mint(gateway, cache={"ttl": "50ms", "scope": "shared"})
    old = mint(gateway, cache={"scope": "shared"})
    assert ask(old) == "miss"
    until(lambda: ask(young) == "miss", "the answer of the other is too old")


def test_a_key_that_keeps_nothing_is_given_what_others_keep(gateway, ask):
    reader = mint(gateway, team_id="t", cache={"store": False, "scope": "team"})
    writer = mint(gateway, team_id="t", cache={"scope": "team"})
    assert [ask(reader), ask(reader), ask(writer), ask(reader)] == ["miss", "miss", "miss", "hit"]


def test_a_namespace_is_the_keys(gateway, ask):
    one = mint(gateway, team_id="t", cache={"scope": "team", "namespace": "a"})
    two = mint(gateway, team_id="t", cache={"scope": "team", "namespace": "b"})
    assert [ask(one), ask(two), ask(one), ask(two)] == ["miss", "miss", "hit", "hit"]
    assert ask(one, cache={"namespace": "b"}) == "hit"
    assert gateway.call("/cache/purge", {"namespace": "a"})["deleted"] == 1


@pytest.mark.parametrize("control", ["no-cache", "no-store", "ttl", "s-maxage", "namespace", "use-cache"])
def test_allowed_cache_controls(gateway, ask, control):
    values = {"ttl": 60, "s-maxage": 60, "namespace": "n"}
    said = {"cache": {control: values.get(control, True)}}
    other = "no-store" if control != "no-store" else "no-cache"
    allowed, denied = (mint(gateway, allowed_cache_controls=[name]) for name in (control, other))
    assert ask.send(allowed, **said).status_code == 200
    refused = ask.send(denied, **said)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "cache_control_denied")
    assert refused.json()["error"]["param"] == f"cache.{control}"
    assert ask.send(denied).status_code == 200
    assert ask.send(mint(gateway), **said).status_code == 200


def test_endpoints_are_treated_apart(gateway, provider):
    key = mint(gateway)
    headers = {"Authorization": f"Bearer {key}"}

    def told(path: str, **body: Any) -> str | None:
        answer = gateway.http.post(path, json={"model": "m", **body}, headers=headers).raise_for_status()
        return answer.headers.get("x-ailink-cache")

    assert [told("/v1/completions", prompt="p") for _ in range(2)] == [None, None]
    assert [told("/v1/embeddings", input="p") for _ in range(2)] == ["miss", "hit"]
    rerank = {"query": "q", "documents": ["a"]}
    assert told("/v1/rerank", **rerank) == "miss"
    until(lambda: told("/v1/rerank", **rerank) == "miss", "the answer is over")


def test_explained(gateway):
    rules = {"scope": "organization", "ttl": "10m", "semantic_threshold": 0.9}
    gateway.call("/organization/new", {"organization_id": "e", "organization_alias": "E", "cache": rules})
    above = {"ttl": "1h", "semantic_threshold": 0.97, "mode": "opt_in", "store": True}
    gateway.call("/team/new", {"team_id": "e1", "organization_id": "e", "cache": above})
    own = {"scope": "team", "namespace": "mine", "semantic": False, "mode": "on"}
    made = gateway.call(
        "/key/generate", {"team_id": "e1", "cache": own, "allowed_cache_controls": ["ttl", "no-cache"]}
    )
    assert made["cache"] == own
    assert made["allowed_cache_controls"] == ["ttl", "no-cache"]
    key = made["key"]
    shown = gateway.call("/key/info", key=key)["info"]
    assert shown["cache"] == own
    found = {row["name"]: row for row in gateway.call("/key/explain", key=key)["settings"]}
    holds = {
        name.removeprefix("cache."): (row["effective"], row["from_level"])
        for name, row in found.items()
        if name.startswith("cache.")
    }
    assert holds == {
        "mode": ("opt_in", "team"), "scope": ("team", "key"), "namespace": ("mine", "key"),
        "ttl": ("10m", "organization"), "store": (True, "team"),
        "semantic": (False, "key"), "semantic_threshold": (0.97, "team"),
    }  # fmt: skip
    assert found["allowed_cache_controls"]["effective"] == ["ttl", "no-cache"]
    where = ["--url", gateway.url, "--key", gateway.admin_key]
    command = [sys.executable, "-m", "ailink", "keys", "explain", key, *where]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "cache.ttl" in printed
    assert "10m" in printed


@pytest.mark.parametrize(
    ("settings", "param"),
    [
        ({"cache": {"ttl": "soon"}}, "cache.ttl"),
        ({"cache": {"ttl": "0s"}}, "cache.ttl"),
        ({"cache": {"scope": "planet"}}, "cache.scope"),
        ({"cache": {"semantic_threshold": 0.2}}, "cache.semantic_threshold"),
        ({"cache": {"semantic_threshold": 0.99999}}, "cache.semantic_threshold"),
        ({"cache": {"namespace": ""}}, "cache.namespace"),
        ({"cache": {"tll": "1m"}}, "cache"),
        ({"allowed_cache_controls": ["nocache"]}, "allowed_cache_controls[...]"),
    ],
)
def test_bad_settings(gateway, settings, param):
    refused = gateway.http.post("/key/generate", json=settings, headers=gateway.admin)
    assert refused.status_code == 400, refused.text
    assert param.removesuffix("[...]") in json.dumps(refused.json()["error"])


def test_who_shares_is_given_only_what_others_share(gateway, ask):
    alone, sharing, other = (
        mint(gateway, **settings) for settings in ({}, *({"cache": {"scope": "shared"}},) * 2)
    )
    assert [ask(alone), ask(sharing), ask(other), ask(alone)] == ["miss", "miss", "hit", "hit"]


def test_what_stands_above_is_set_by_those_who_answer_for_it(gateway):
    gateway.call("/team/new", {"team_id": "led", "organization_id": "o"})
    gateway.call("/user/new", {"user_id": "lead", "auto_create_key": False})
    gateway.call("/team/member_add", {"team_id": "led", "member": {"role": "admin", "user_id": "lead"}})
    key = mint(gateway, user_id="lead")
    body = {"team_id": "led", "cache": {"scope": "shared"}}
    refused = gateway.http.post("/team/update", json=body, headers={"Authorization": f"Bearer {key}"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "limits_denied")


def test_the_exact_cache_in_a_section_of_its_own(provider, tmp_path):
    config = make_config(
        make_model("m", make_deployment(provider, "echo")),
        cache={
            "exact": {"ttl": "10m", "max_bytes": "1MiB"},
            "semantic": {"enabled": False, "threshold": 0.95, "embedding_model": "text-embedding-3-small"},
            "scope": "organization",
            "redis": None,
        },
    )
    with Gateway(tmp_path, config) as gateway:
        key = gateway.mint()
        body = chat("m", "in a section")
        told = [
            gateway.http.post("/v1/chat/completions", json=body, headers=key.bearer).headers["x-ailink-cache"]
            for _ in range(2)
        ]
        assert told == ["miss", "hit"]
        stats = gateway.call("/cache/stats")
        assert (stats["max_bytes"], stats["entries"]) == (1 << 20, 1)
        plain = {**config, "cache": {"exact": {"enabled": False, "ttl": "10m"}}}
        gateway.reconfigure(plain)
        assert not gateway.call("/cache/stats")["enabled"]

"""Which requests the cache takes for the same, over HTTP: pairs that must hit and pairs that must not."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.harness import (
    Gateway,
    MockProvider,
    chat,
    make_config,
    make_deployment,
    make_model,
    until,
)
from tests.harness.cache_pairs import HITS, MISSES, Ask

RULES = [
    {"name": "pii", "presets": ["pii"], "scan": ["input"], "action": "redact"},
    {"name": "words", "words": ["bluebird"], "scan": ["output"], "action": "mask"},
]


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def at(name: str, **settings: Any) -> dict[str, Any]:
        places = [
            make_deployment(provider, model=name),
            make_deployment(provider, model=name, dialect="anthropic"),
        ]
        places += [make_deployment(provider, model=name, dialect=other) for other in ("gemini", "cohere")]
        return make_model(name, *places, **settings)

    config = make_config(
        at("m", aliases=["m-alias"]),
        at("other"),
        at("pii", guardrails=["pii"]),
        at("of-team", cache={"scope": "team"}),
        at("of-user", cache={"scope": "user"}),
        at("of-org", cache={"scope": "organization"}),
        at("shared", cache={"scope": "shared"}),
        at("apart", cache={"scope": "shared", "namespace": "apart"}),
        at("uncached", cache={"enabled": False}),
        at("asked", cache={"mode": "opt_in"}),
        at("brief", cache={"ttl": "50ms"}),
        # Its deployments all speak OpenAI's format.
        make_model("embeds", make_deployment(provider)),
        cache={"enabled": True},
        guardrails=RULES,
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        running.call("/organization/new", {"organization_id": "o1", "organization_alias": "One"})
        running.call("/organization/new", {"organization_id": "o2", "organization_alias": "Two"})
        for team, organization in (("t1", "o1"), ("t2", "o1"), ("t3", "o2")):
            running.call("/team/new", {"team_id": team, "organization_id": organization})
        for user in ("u1", "u2"):
            running.call("/user/new", {"user_id": user, "auto_create_key": False})
        yield running


@pytest.fixture(scope="module")
def keys(gateway: Gateway) -> dict[str, str]:
    settings: dict[str, dict[str, Any]] = {
        "a": {},
        "b": {},
        "t1": {"team_id": "t1"},
        "t1-too": {"team_id": "t1"},
        "t2": {"team_id": "t2"},
        "t3": {"team_id": "t3"},
        "u1": {"user_id": "u1"},
        "u1-too": {"user_id": "u1"},
        "u2": {"user_id": "u2"},
        "few": {"models": ["other"], "team_id": "t1"},
    }
    return {name: gateway.call("/key/generate", wanted)["key"] for name, wanted in settings.items()}


def post(gateway: Gateway, keys: dict[str, str], ask: Ask) -> httpx.Response:
    headers = {"Authorization": f"Bearer {keys[ask.key]}", **ask.headers}
    if ask.raw:
        headers["content-type"] = "application/json"
        return gateway.http.post(ask.path, content=ask.body, headers=headers)
    if ask.files is not None:
        return gateway.http.post(ask.path, data=ask.body, files=ask.files, headers=headers)
    return gateway.http.post(ask.path, json=ask.body, headers=headers)


@pytest.mark.parametrize(("name", "hits"), [(n, True) for n in HITS] + [(n, False) for n in MISSES])
def test_pairs(gateway: Gateway, keys: dict[str, str], provider: MockProvider, name: str, hits: bool) -> None:
    first, second = (HITS if hits else MISSES)[name]
    mark = f"{'hit' if hits else 'miss'} {name}"
    before = provider.mark()
    one = post(gateway, keys, first(mark))
    assert one.status_code == 200, one.text
    assert one.headers.get("x-ailink-cache") in (None, "miss", "refresh", "bypass"), one.headers
    two = post(gateway, keys, second(mark))
    assert two.status_code == 200, two.text
    assert (two.headers.get("x-ailink-cache") == "hit") is hits, two.headers
    asked = provider.requests(since=before)
    assert len(asked) == (1 if hits else 2)
    if hits:
        assert two.headers["age"] == "0"
        assert "x-ailink-provider" not in two.headers
    assert not any("use-cache" in (seen.body or "") or '"cache"' in (seen.body or "") for seen in asked)


def test_permissions_come_before_the_cache(gateway: Gateway, keys: dict[str, str]) -> None:
    assert post(gateway, keys, Ask(chat("of-team", "allowed"), "t1")).status_code == 200
    assert post(gateway, keys, Ask(chat("of-team", "allowed"), "t1-too")).headers["x-ailink-cache"] == "hit"
    refused = post(gateway, keys, Ask(chat("of-team", "allowed"), "few"))
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_access_denied")


def test_an_answer_is_over_when_its_time_is(gateway: Gateway, keys: dict[str, str]) -> None:
    ask = Ask(chat("brief", "over"))
    post(gateway, keys, ask)
    until(lambda: post(gateway, keys, ask).headers["x-ailink-cache"] == "miss", "the answer is over")


def test_only_if_cached(gateway: Gateway, keys: dict[str, str]) -> None:
    wanted = Ask(chat("m", "only"), headers={"cache-control": "only-if-cached"})
    assert post(gateway, keys, wanted).status_code == 504
    post(gateway, keys, Ask(chat("m", "only")))
    assert post(gateway, keys, wanted).headers["x-ailink-cache"] == "hit"


@pytest.mark.parametrize(
    ("body", "headers", "param"),
    [
        ({"cache": {"ttl": "soon"}}, {}, "cache.ttl"),
        ({"cache": {"nocache": True}}, {}, "cache.nocache"),
        ({}, {"x-ailink-cache-ttl": "-1"}, "x-ailink-cache-ttl"),
        ({}, {"x-portkey-cache": "clever"}, "x-portkey-cache"),
        ({}, {"x-ailink-cache-namespace": "n" * 200}, "x-ailink-cache-namespace"),
    ],
)
def test_bad_controls(
    gateway: Gateway, keys: dict[str, str], body: dict[str, Any], headers: dict[str, str], param: str
) -> None:
    refused = post(gateway, keys, Ask(chat("m", "bad", **body), headers=headers))
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == param


def test_errors_are_not_kept(gateway: Gateway, keys: dict[str, str], provider: MockProvider) -> None:
    provider.set_defaults("status=500")
    try:
        assert post(gateway, keys, Ask(chat("m", "fails"))).status_code >= 500
    finally:
        provider.set_defaults("")
    again = post(gateway, keys, Ask(chat("m", "fails")))
    assert (again.status_code, again.headers["x-ailink-cache"]) == (200, "miss")


def test_other_guardrails_are_another_question(gateway: Gateway, keys: dict[str, str]) -> None:
    """Reloaded last, as it changes the file for good."""
    ask = Ask(chat("pii", "rules change"))
    post(gateway, keys, ask)
    assert post(gateway, keys, ask).headers["x-ailink-cache"] == "hit"
    written = gateway.file.read_text()
    gateway.reconfigure(written.replace("action: redact", "action: mask"))
    assert post(gateway, keys, ask).headers["x-ailink-cache"] == "miss"
    gateway.reconfigure(written)
    assert post(gateway, keys, ask).headers["x-ailink-cache"] == "hit"


def embed(gateway: Gateway, keys: dict[str, str], *inputs: str) -> httpx.Response:
    body = {"model": "embeds", "input": list(inputs)}
    return post(gateway, keys, Ask(body, path="/v1/embeddings")).raise_for_status()


def test_embeddings_are_cached_by_input(
    gateway: Gateway, keys: dict[str, str], provider: MockProvider
) -> None:
    one = embed(gateway, keys, "first", "second")
    mark = provider.mark()
    both = embed(gateway, keys, "third", "second", "first")
    [asked] = provider.requests(since=mark)
    assert asked.json()["input"] == ["third"]
    data = {item["index"]: item["embedding"] for item in both.json()["data"]}
    known = [item["embedding"] for item in one.json()["data"]]
    assert (data[1], data[2]) == (known[1], known[0])
    mark = provider.mark()
    all_known = embed(gateway, keys, "second", "third")
    assert (all_known.headers["x-ailink-cache"], provider.requests(since=mark)) == ("hit", [])
    assert [item["embedding"] for item in all_known.json()["data"]] == [data[1], data[0]]
    assert json.loads(all_known.text)["usage"]["prompt_tokens"] > 0

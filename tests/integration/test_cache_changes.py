"""What changes between two equal requests: rights that are taken, guardrails and policies that change. The
answer that is kept is given again only where it still would be.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from tests.harness import Gateway, Key, MockProvider, chat, make_config, make_deployment, make_model

RULES: list[dict[str, Any]] = [
    {"name": "pii", "presets": ["pii"], "scan": ["input"], "action": "redact"},
    {"name": "words", "words": ["bluebird"], "scan": ["output"], "action": "mask"},
    {"name": "stops", "words": ["bluebird"], "scan": ["output"], "action": "block"},
    {"name": "spare", "words": ["cuckoo"], "scan": ["input", "output"], "action": "flag"},
]


def settings(provider: MockProvider) -> dict[str, Any]:
    at = make_deployment(provider, "echo")
    models = [
        make_model("m", at, cache={"scope": "team"}),
        make_model("guarded", at, guardrails=["pii", "words"], cache={"scope": "team"}),
    ]
    return make_config(*models, cache={"enabled": True, "ttl": "1h"}, guardrails=RULES)


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("gateway"), settings(provider)) as running:
        yield running


@pytest.fixture
def member(gateway: Gateway) -> Callable[[], tuple[str, Key]]:
    """A key of a team of its own."""

    def made() -> tuple[str, Key]:
        team = gateway.call("/team/new", {"team_alias": "changes"})["team_id"]
        return team, gateway.mint(team_id=team)

    return made


def ask(gateway: Gateway, key: Key, text: str, model: str = "m", **more: Any) -> httpx.Response:
    return gateway.http.post("/v1/chat/completions", json=chat(model, text, **more), headers=key.bearer)


def told(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    return str(response.headers["x-ailink-cache"])


TAKEN: dict[str, tuple[str, dict[str, Any], int]] = {
    "the key is blocked": ("/key/block", {}, 401),
    "the key is deleted": ("/key/delete", {}, 401),
    "the model is taken": ("/key/update", {"models": ["guarded"]}, 403),
    "the endpoint is taken": ("/key/update", {"allowed_routes": ["/v1/embeddings"]}, 403),
    "the address is taken": ("/key/update", {"allowed_ips": ["192.0.2.1"]}, 403),
    "the team is blocked": ("/team/block", {}, 401),
    "the model is taken from the team": ("/team/update", {"models": ["guarded"]}, 403),
}


@pytest.mark.parametrize("name", TAKEN)
def test_no_right_no_answer(gateway: Gateway, provider: MockProvider, member: Any, name: str) -> None:
    path, body, status = TAKEN[name]
    team, key = member()
    other = gateway.mint(team_id=team)
    assert (told(ask(gateway, key, name)), told(ask(gateway, key, name))) == ("miss", "hit")
    mark = provider.mark()
    subject = {"team_id": team} if path.startswith("/team") else {"key": key.secret}
    gateway.call(path, {"keys": [key.secret]} if path == "/key/delete" else {**subject, **body})
    for stream in (False, True):
        refused = ask(gateway, key, name, stream=stream)
        assert refused.status_code == status, refused.text
        assert "x-ailink-cache" not in refused.headers
    assert provider.requests(since=mark) == []
    if not path.startswith("/team"):
        # It is kept for those who still may.
        assert told(ask(gateway, other, name)) == "hit"


@pytest.mark.parametrize("holder", ["key", "team"])
def test_guardrails_of_who_asks(gateway: Gateway, member: Any, holder: str) -> None:
    """They look at what comes out of the cache: one answer, for each as his guardrails would have it."""
    team, key = member()
    text = f"the bluebird of a {holder}"

    def said(who: Key) -> tuple[str, str]:
        answer = ask(gateway, who, text)
        return told(answer), answer.json()["choices"][0]["message"]["content"]

    assert said(key) == ("miss", text)
    subject = {"team_id": team} if holder == "team" else {"key": key.secret}
    masked = text.replace("bluebird", "****bird")
    gateway.call(f"/{holder}/update", {**subject, "guardrails": ["words"]})
    assert said(key) == ("hit", masked)
    other = gateway.mint(team_id=team)
    assert said(other) == ("hit", masked if holder == "team" else text)
    gateway.call(f"/{holder}/update", {**subject, "guardrails": ["stops"]})
    for stream in (False, True):
        refused = ask(gateway, key, text, stream=stream)
        assert "bluebird" not in refused.text
        assert stream or refused.status_code == 400
    gateway.call(f"/{holder}/update", {**subject, "guardrails": []})
    # What was refused is not kept any longer.
    assert (said(key), said(key)) == (("miss", text), ("hit", text))


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_kept_is_not_what_one_was_given(gateway: Gateway, member: Any, stream: bool) -> None:
    """The one whose answer is masked asks first; another of his team is not masked."""
    team, _ = member()
    guarded, free = gateway.mint(team_id=team, guardrails=["words"]), gateway.mint(team_id=team)
    text = f"the bluebird {stream}"
    first = ask(gateway, guarded, text, stream=stream)
    assert (told(first), "bluebird" in first.text) == ("miss", False)
    second = ask(gateway, free, text, stream=stream)
    assert told(second) in ("hit", "miss")
    if not stream:
        assert second.json()["choices"][0]["message"]["content"] == text
    again = ask(gateway, guarded, text)
    assert "bluebird" not in again.text


def without(config: dict[str, Any], name: str) -> None:
    config["models"][1]["guardrails"].remove(name)


CHANGED: dict[str, Callable[[dict[str, Any]], object]] = {
    "another action": lambda config: config["guardrails"][0].update(action="mask"),
    "other presets": lambda config: config["guardrails"][0].update(presets=["secrets"]),
    "other words": lambda config: config["guardrails"][1].update(words=["bluebird", "blackbird"]),
    "another side": lambda config: config["guardrails"][1].update(scan=["input", "output"]),
    "in shadow": lambda config: config["guardrails"][1].update(mode="shadow"),
    "one more": lambda config: config["models"][1]["guardrails"].append("spare"),
    "one less": lambda config: without(config, "words"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_guardrails_that_change(gateway: Gateway, provider: MockProvider, member: Any, name: str) -> None:
    _, key = member()
    text = f"guardrails: {name}"
    assert told(ask(gateway, key, text, "guarded")) == "miss"
    assert told(ask(gateway, key, text, "guarded")) == "hit"
    plain = settings(provider)
    changed = copy.deepcopy(plain)
    CHANGED[name](changed)
    gateway.reconfigure(changed)
    try:
        assert told(ask(gateway, key, text, "guarded")) == "miss"
    finally:
        gateway.reconfigure(plain)
    # As they were: the first answer is still the one that was looked at by them.
    assert told(ask(gateway, key, text, "guarded")) == "hit"


POLICIES: dict[str, tuple[dict[str, Any], str]] = {
    "refuses": ({"deny": {"status": 403, "message": "no"}}, "refused"),
    "goes around": ({"cache": {"enabled": False}}, "bypass"),
    "changes what is asked": ({"override": {"set": {"temperature": 0.25}}}, "miss"),
}


@pytest.mark.parametrize("name", POLICIES)
def test_policies_that_change(gateway: Gateway, provider: MockProvider, member: Any, name: str) -> None:
    action, expected = POLICIES[name]
    _, key = member()
    text = f"a policy {name}"
    assert (told(ask(gateway, key, text)), told(ask(gateway, key, text))) == ("miss", "hit")
    plain = settings(provider)
    policy = {"name": "new", "when": "model == 'm'", "phase": "pre", "then": [action]}
    gateway.reconfigure({**plain, "policies": [policy], "defaults": {"policies": ["new"]}})
    try:
        now = ask(gateway, key, text)
        assert ("refused" if now.status_code == 403 else told(now)) == expected
    finally:
        gateway.reconfigure(plain)
    assert told(ask(gateway, key, text)) == "hit"

"""Which requests the cache takes for the same, over HTTP: pairs that must hit and pairs that must not."""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import httpx
import pytest
from tests.harness import (
    Gateway,
    MockProvider,
    chat,
    make_config,
    make_deployment,
    make_model,
    message,
    until,
)

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


class Ask(NamedTuple):
    body: Any
    key: str = "a"
    path: str = "/v1/chat/completions"
    headers: dict[str, str] = {}
    raw: bool = False


def on(model: str, key: str) -> Callable[[str], Ask]:
    return lambda mark: Ask(chat(model, mark), key)


def said(**more: Any) -> Callable[[str], Ask]:
    return lambda mark: Ask(chat("m", mark, **more))


def alone(**more: Any) -> Callable[[str], Ask]:
    """To a model whose deployments all speak OpenAI's format."""
    return lambda mark: Ask(chat("embeds", mark, **more))


def headed(**headers: str) -> Callable[[str], Ask]:
    return lambda mark: Ask(
        chat("m", mark), headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


def text(template: str) -> Callable[[str], Ask]:
    """A body as it is written; `@` is what is said."""
    return lambda mark: Ask(template.replace("@", mark).encode(), raw=True)


def claude(**more: Any) -> Callable[[str], Ask]:
    return lambda mark: Ask(message("m", mark, **more), path="/v1/messages")


def gemini(path: str = "/v1beta/models/m:generateContent", **more: Any) -> Callable[[str], Ask]:
    return lambda mark: Ask({"contents": [{"role": "user", "parts": [{"text": mark}]}], **more}, path=path)


def answer(path: str, **more: Any) -> Callable[[str], Ask]:
    return lambda mark: Ask({"model": "m", **more, **({"input": mark} if "embed" in path else {})}, path=path)


def rerank(**more: Any) -> Callable[[str], Ask]:
    body = {"model": "m", "documents": ["a", "b"], **more}
    return lambda mark: Ask({"query": mark, **body}, path="/v1/rerank")


PLAIN = said()
SYSTEM = {"role": "system", "content": "s"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
TOOL_2 = {"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}
ROUND = text('{"model":"m","messages":[{"role":"user","content":"@"}],"temperature":1,"n":1}')

HITS: dict[str, tuple[Callable[[str], Ask], Callable[[str], Ask]]] = {
    "the same": (PLAIN, PLAIN),
    "an alias": (PLAIN, on("m-alias", "a")),
    "white space": (text('{"model":"m","messages":[{"role":"user","content":"@"}]}'), PLAIN),
    "order of members": (text('{"messages":[{"content":"@","role":"user"}],"model":"m"}'), PLAIN),
    "1.0 is 1": (
        ROUND,
        text(
            '{"model":"m","n":1,"messages":[{"role":"user","content":"@"}],"temperature":1.0}'.replace(
                "1.0e0", "1"
            )
        ),
    ),
    "0.70 is 7e-1": (
        text('{"model":"m","temperature":0.70,"messages":[{"role":"user","content":"@"}]}'),
        text('{"model":"m","temperature":7e-1,"messages":[{"role":"user","content":"@"}]}'),
    ),
    "escapes": (
        text('{"model":"m","messages":[{"role":"user","content":"\\u0061@"}]}'),
        text('{"model":"m","messages":[{"role":"user","content":"a@"}]}'),
    ),
    "null is nothing": (PLAIN, said(temperature=None)),
    "user": (PLAIN, said(user="somebody")),
    "metadata": (PLAIN, said(metadata={"a": "b"})),
    "stored or not": (PLAIN, said(store=True)),
    "prompt_cache_key": (PLAIN, said(prompt_cache_key="k")),
    "as a stream": (PLAIN, said(stream=True, stream_options={"include_usage": True})),
    "a stream's": (said(stream=True, stream_options={"include_usage": True}), PLAIN),
    "a stream with its usage": (said(stream=True), said(stream=True, stream_options={"include_usage": True})),
    "a stream without its usage": (
        said(stream=True, stream_options={"include_usage": True}),
        said(stream=True),
    ),
    "LiteLLM's ttl": (said(cache={"ttl": 60}), PLAIN),
    "Anthropic's metadata": (claude(), claude(metadata={"user_id": "u"})),
    "Anthropic's stream": (claude(), claude(stream=True)),
    "Google's stream": (gemini(), gemini("/v1beta/models/m:streamGenerateContent?alt=sse")),
    "Google's array": (gemini(), gemini("/v1beta/models/m:streamGenerateContent")),
    "the same path elsewhere": (PLAIN, lambda mark: Ask(chat("m", mark), path="/openai/v1/chat/completions")),
    "embeddings": (answer("/v1/embeddings"), answer("/v1/embeddings", user="u")),
    "rerank": (rerank(), rerank()),
    "keys of a team": (on("of-team", "t1"), on("of-team", "t1-too")),
    "keys of a user": (on("of-user", "u1"), on("of-user", "u1-too")),
    "teams of an organization": (on("of-org", "t1"), on("of-org", "t2")),
    "all keys": (on("shared", "a"), on("shared", "t3")),
    "the same namespace": (headed(x_ailink_cache_namespace="n"), headed(x_portkey_cache_namespace="n")),
    "a namespace in the body": (headed(x_ailink_cache_namespace="n"), said(cache={"namespace": "n"})),
    "young enough": (PLAIN, headed(cache_control="max-age=60")),
    "asked for": (
        lambda mark: Ask(chat("asked", mark, cache={"use-cache": True})),
        lambda mark: Ask(chat("asked", mark), headers={"x-portkey-cache": "simple"}),
    ),
    "what a refresh brought": (headed(cache_control="no-cache"), PLAIN),
}

MISSES: dict[str, tuple[Callable[[str], Ask], Callable[[str], Ask]]] = {
    "another text": (PLAIN, lambda mark: Ask(chat("m", f"{mark}."))),
    "another model": (PLAIN, on("other", "a")),
    "another key": (PLAIN, on("m", "b")),
    "a key of the same team": (on("m", "t1"), on("m", "t1-too")),
    "another team": (on("of-team", "t1"), on("of-team", "t2")),
    "without a team": (on("of-team", "a"), on("of-team", "b")),
    "another user": (on("of-user", "u1"), on("of-user", "u2")),
    "another organization": (on("of-org", "t1"), on("of-org", "t3")),
    "another namespace": (headed(x_ailink_cache_namespace="n"), headed(x_ailink_cache_namespace="m")),
    "no namespace": (headed(x_ailink_cache_namespace="n"), PLAIN),
    "a model of another namespace": (on("shared", "a"), on("apart", "a")),
    "temperature": (said(temperature=0), said(temperature=1)),
    "top_p": (PLAIN, said(top_p=0.5)),
    "max_tokens": (said(max_tokens=5), said(max_tokens=6)),
    "seed": (said(seed=9007199254740993), said(seed=9007199254740992)),
    "stop": (PLAIN, said(stop=["x"])),
    "n": (alone(), alone(n=2)),
    "logit_bias": (PLAIN, said(logit_bias={"1": 2})),
    "tools": (PLAIN, said(tools=[TOOL])),
    "other tools": (said(tools=[TOOL]), said(tools=[TOOL_2])),
    "order of tools": (said(tools=[TOOL, TOOL_2]), said(tools=[TOOL_2, TOOL])),
    "tool_choice": (said(tools=[TOOL]), said(tools=[TOOL], tool_choice="none")),
    "response_format": (PLAIN, said(response_format={"type": "json_object"})),
    "another schema": (said(response_format={"type": "json_object"}), said(response_format=SCHEMA)),
    "reasoning_effort": (PLAIN, said(reasoning_effort="high")),
    "an unknown parameter": (PLAIN, said(something_new=1)),
    "a system message": (
        PLAIN,
        lambda mark: Ask({"model": "m", "messages": [SYSTEM, *chat("m", mark)["messages"]]}),
    ),
    "another role": (
        PLAIN,
        lambda mark: Ask({"model": "m", "messages": [{"role": "system", "content": mark}]}),
    ),
    "a number for a text": (
        text('{"model":"m","messages":[{"role":"user","content":"@"}],"x":1}'),
        text('{"model":"m","messages":[{"role":"user","content":"@"}],"x":"1"}'),
    ),
    "structure in a text": (
        text('{"model":"m","messages":[{"role":"user","content":"@"}],"stop":["a","b"]}'),
        text('{"model":"m","messages":[{"role":"user","content":"@"}],"stop":["a\\",\\"b"]}'),
    ),
    "a beta of Anthropic's": (
        claude(),
        lambda mark: Ask(message("m", mark), path="/v1/messages", headers={"anthropic-beta": "b"}),
    ),
    "Anthropic's system": (claude(), claude(system="s")),
    "another endpoint": (PLAIN, claude()),
    "Google's config": (gemini(), gemini(generationConfig={"temperature": 0})),
    "dimensions": (answer("/v1/embeddings"), answer("/v1/embeddings", dimensions=8)),
    "top_n": (rerank(), rerank(top_n=1)),
    "other documents": (rerank(), rerank(documents=["b", "a"])),
    "with guardrails": (PLAIN, on("pii", "a")),
    "switched off": (on("uncached", "a"), on("uncached", "a")),
    "not asked for": (on("asked", "a"), on("asked", "a")),
    "not stored": (headed(cache_control="no-store"), PLAIN),
    "not stored, as LiteLLM says it": (said(cache={"no-store": True}), PLAIN),
    "refreshed": (PLAIN, headed(cache_control="no-cache")),
    "refreshed, as LiteLLM says it": (PLAIN, said(cache={"no-cache": True})),
    "refreshed, as Portkey says it": (PLAIN, headed(x_portkey_cache_force_refresh="true")),
}


def post(gateway: Gateway, keys: dict[str, str], ask: Ask) -> httpx.Response:
    headers = {"Authorization": f"Bearer {keys[ask.key]}", **ask.headers}
    if ask.raw:
        headers["content-type"] = "application/json"
        return gateway.http.post(ask.path, content=ask.body, headers=headers)
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

"""A guardrail that blocks and does not leave it at that: another model is asked, or the same one again."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.harness import Gateway, Key, MockProvider, chat, make_config, make_deployment, make_model
from tests.harness.listening import Call, Listening, Reply, drained

BIRD = "a bluebird sings"
NONE_OF_IT = {"contains": {"words": ["bluebird"], "operator": "none"}}


class Wavering(Listening):
    """Says what must not be said until it has been asked so often, by the number in the model's name."""

    def take(self) -> list[Call]:
        """The calls since the last time."""
        return drained(self.calls)

    def answer(self, call: Call) -> Reply:
        asked = call.json()
        same = [one for one in self.calls if one.json()["model"] == asked["model"]]
        text = BIRD if len(same) < int(asked["model"].rpartition("-")[2]) else "all is well"
        usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
        head = {"id": "c", "created": 1, "model": asked["model"]}
        if not asked.get("stream"):
            choice = {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
            whole = {**head, "object": "chat.completion", "choices": [choice], "usage": usage}
            return Reply(200, whole)
        pieces = [{"role": "assistant", "content": text[:8]}, {"content": text[8:]}, {}]
        events = [
            {
                **head,
                "object": "chat.completion.chunk",
                "choices": [{"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}],
            }
            for delta in pieces
        ]
        told = "".join(f"data: {json.dumps(one)}\n\n" for one in [*events, {**events[-1], "usage": usage}])
        return Reply(200, f"{told}data: [DONE]\n\n", {"content-type": "text/event-stream"})


@pytest.fixture(scope="module")
def wavering() -> Iterator[Wavering]:
    with Wavering() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(
    provider: MockProvider, wavering: Wavering, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    def at(name: str, rule: str, text: str = BIRD, **more: Any) -> dict[str, Any]:
        return make_model(
            name, make_deployment(provider, f"text={text}", model=name), guardrails=[rule], **more
        )

    def word(name: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "words": ["bluebird"], **more}

    tries = [
        make_model(
            f"{rule}-{count}", make_deployment(wavering.url, model=f"{rule}-{count}"), guardrails=[rule]
        )
        for rule in ("again", "again-checked")
        for count in (2, 9)
    ]
    config = make_config(
        *tries,
        at("asked", "in-else", fallbacks=["house"]),
        at("asked-checked", "in-else-checked", content_policy_fallbacks=["house"]),
        at("alone", "in-else"),
        at("says", "out-else", fallbacks=["says-too", "fine"]),
        at("says-checked", "out-else-checked", fallbacks=["fine"]),
        at("says-only", "out-else", fallbacks=["says-too"]),
        make_model("says-too", make_deployment(provider, f"text={BIRD}", model="says-too")),
        make_model("fine", make_deployment(provider, "text=all is well", model="fine")),
        make_model("house", make_deployment(provider, "text=at home", model="house")),
        guardrails=[
            word("in-else", action="fallback"),
            {"name": "in-else-checked", "checks": [NONE_OF_IT], "action": "fallback"},
            word("out-else", action="fallback", scan=["output"]),
            {"name": "out-else-checked", "checks": [NONE_OF_IT], "action": "fallback", "scan": ["output"]},
            word("again", action="retry", scan=["output"]),
            {"name": "again-checked", "checks": [NONE_OF_IT], "action": "retry", "scan": ["output"]},
        ],
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(gateway: Gateway, key: Key, model: str, text: str = "hello", **more: Any) -> httpx.Response:
    return gateway.http.post("/v1/chat/completions", json=chat(model, text, **more), headers=key.bearer)


def said(answer: httpx.Response) -> str:
    if not answer.headers["content-type"].startswith("text/event-stream"):
        return str(answer.json()["choices"][0]["message"]["content"])
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: {")]
    choices = [choice for line in lines for choice in json.loads(line)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


@pytest.mark.parametrize("model", ["asked", "asked-checked"])
def test_a_request_goes_to_the_model_that_stands_in(gateway, key, provider, model) -> None:
    assert said(ask(gateway, key, model)) == BIRD
    mark = provider.mark()
    answer = ask(gateway, key, model, f"hear: {BIRD}")
    assert (answer.status_code, said(answer)) == (200, "at home"), answer.text
    assert [one.json()["model"].split("?")[0] for one in provider.requests(mark)] == ["house"]
    stream = ask(gateway, key, model, f"hear: {BIRD}", stream=True)
    assert said(stream) == "at home"


def test_without_one_it_is_refused(gateway, key, provider) -> None:
    mark = provider.mark()
    refused = ask(gateway, key, "alone", BIRD)
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "content_policy_violation"
    assert provider.requests(mark) == []


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["says", "says-checked"])
def test_an_answer_of_another_model_takes_its_place(gateway, key, model, stream) -> None:
    answer = ask(gateway, key, model, stream=stream)
    assert (answer.status_code, said(answer)) == (200, "all is well"), answer.text
    assert "bluebird" not in answer.text


@pytest.mark.parametrize("stream", [False, True])
def test_the_rule_holds_for_who_stands_in(gateway, key, stream) -> None:
    refused = ask(gateway, key, "says-only", stream=stream)
    assert refused.status_code == 400, refused.text
    assert "bluebird" not in refused.text


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("rule", ["again", "again-checked"])
def test_another_answer_is_asked_for(gateway, wavering, rule, stream) -> None:
    key = gateway.mint()
    wavering.take()
    answer = ask(gateway, key, f"{rule}-2", stream=stream)
    assert (answer.status_code, said(answer)) == (200, "all is well"), answer.text
    assert len(wavering.take()) == 2
    refused = ask(gateway, key, f"{rule}-9", stream=stream)
    assert refused.status_code == 400, refused.text
    assert len(wavering.take()) == 3
    # Every answer was paid for.
    rows = gateway.spend_logs(api_key=key.token)
    assert len(rows) == 5

"""What policies know of a stream when it is over: what it said, its whole, its tokens, what it came to. The
same in every dialect, for those who only tell and for those who refuse.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from tests.dialects import DIALECTS, Ask
from tests.harness import (
    Gateway,
    Key,
    MockProvider,
    chat,
    make_config,
    make_deployment,
    make_model,
    until,
)
from tests.harness.canned import CannedProvider, answer

ROWS = {
    "chat": "openai",
    "responses": "responses",
    "messages": "anthropic",
    "gemini": "gemini",
    "cohere": "cohere",
    "converse": "bedrock",
}
WHOLE = {
    "chat": ("response.body.choices[0].message.content", "seven words"),
    "responses": ("response.body.output[0].content[0].text", "seven words"),
    "messages": ("response.body.content[0].text", "seven words"),
    "gemini": ("response.body.candidates[0].content.parts[0].text", "seven words"),
    "cohere": ("response.body.message.content[0].text", "seven words"),
    "converse": ("response.body.output.message.content[0].text", "seven words"),
}
SAYS = "text=seven words;usage=50:20"
SPOKEN = [name for name in DIALECTS if name != "converse"]


def fields(dialect: str) -> list[str]:
    return ["response.text", "tokens.input", "tokens.output", "cost.actual", WHOLE[dialect][0]]


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    price = {"input_per_million": 1, "output_per_million": 2}
    policies: list[dict[str, Any]] = []
    models = []
    for dialect in SPOKEN:
        deployment = make_deployment(provider, SAYS, dialect=ROWS[dialect], model=f"ends-{dialect}")
        for phase in ("async", "post"):
            name = f"{dialect}-{phase}"
            told = {"log": {"message": f"end of {name}", "fields": fields(dialect)}}
            policies.append({"name": name, "phase": phase, "then": [told]})
        whole, text = WHOLE[dialect]
        refusals = {
            "text": f"response.text.contains('{text}')",
            "whole": f"{whole}.contains('{text}')",
            "tokens": "tokens.output == 20 && tokens.input == 50",
            "cost": "cost.actual > 0.00008 && cost.actual < 0.0001",
        }
        for field, when in refusals.items():
            deny = {"deny": {"status": 451, "message": f"too much {field}"}}
            policies.append({"name": f"{dialect}-{field}", "phase": "post", "when": when, "then": [deny]})
        models += [
            make_model(
                f"{dialect}-{name}", deployment, price=price, policies=[f"{dialect}-{one}" for one in names]
            )
            for name, names in {"told": ["async", "post"], **{field: [field] for field in refusals}}.items()
        ]
    slow = make_deployment(provider, "events=400;gap=20ms", model="leaves")
    left = {"log": {"message": "end of left", "fields": ["tokens.output", "cost.actual"]}}
    policies += [
        {"name": "left", "phase": "async", "then": [left]},
        {"name": "blank", "phase": "post", "then": [{"redact": {"fields": ["choices[0].message.content"]}}]},
    ]
    models += [
        make_model("left", slow, price=price, policies=["left"]),
        make_model("blank", make_deployment(provider), policies=["blank"]),
    ]
    with Gateway(tmp_path_factory.mktemp("ends"), make_config(*models, policies=policies)) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(gateway: Gateway, key: Key, dialect: str, model: str, *, stream: bool) -> Any:
    spoken = DIALECTS[dialect]
    body = spoken.write(Ask("hello", stream=stream), model)
    return gateway.http.post(spoken.path(model, stream), json=body, headers=key.bearer)


def line(gateway: Gateway, name: str, before: int) -> dict[str, str]:
    """The values that the latest line of a policy tells."""

    def found() -> list[str]:
        return re.findall(rf"policy [\w-]+: end of {name} ([^\n]*)", gateway.log[before:])

    (values,) = until(lambda: len(found()) == 1 and found(), f"a line of {name}")
    return dict(re.findall(r"([\w.\[\]]+)=(.*?)(?= [\w.\[\]]+=|$)", values.partition(" kind=")[0]))


@pytest.mark.parametrize("dialect", SPOKEN)
def test_the_end_of_a_stream_tells_what_a_whole_answer_tells(
    gateway: Gateway, key: Key, dialect: str
) -> None:
    told = {}
    for stream in (False, True):
        before = len(gateway.log)
        assert ask(gateway, key, dialect, f"{dialect}-told", stream=stream).status_code == 200
        lines = [line(gateway, f"{dialect}-{phase}", before) for phase in ("async", "post")]
        assert lines[0] == lines[1]
        told[stream] = lines[0]
    assert told[True] == told[False]
    assert told[True]["response.text"] == "seven words"
    assert told[True][WHOLE[dialect][0]] == "seven words"
    assert (told[True]["tokens.input"], told[True]["tokens.output"]) == ("50", "20")
    assert float(told[True]["cost.actual"]) == pytest.approx(0.00009)


@pytest.mark.parametrize("field", ["text", "whole", "tokens", "cost"])
@pytest.mark.parametrize("dialect", SPOKEN)
def test_a_stream_is_refused_for_what_it_came_to(
    gateway: Gateway, key: Key, dialect: str, field: str
) -> None:
    for stream in (False, True):
        answer = ask(gateway, key, dialect, f"{dialect}-{field}", stream=stream)
        assert answer.status_code == 451, (stream, answer.text)
        assert f"too much {field}" in answer.text
        assert "seven" not in answer.text


def test_of_a_stream_that_is_left_the_estimate_is_told(gateway: Gateway, key: Key) -> None:
    before = len(gateway.log)
    body = chat("left", stream=True)
    with gateway.http.stream("POST", "/v1/chat/completions", json=body, headers=key.bearer) as answer:
        next(answer.iter_bytes())
    told = line(gateway, "left", before)
    assert 0 < float(told["tokens.output"]) < 400
    assert float(told["cost.actual"]) > 0


def test_fields_that_a_stream_does_not_have_are_no_way_around(gateway: Gateway, key: Key) -> None:
    assert ask(gateway, key, "chat", "blank", stream=False).status_code == 200
    refused = ask(gateway, key, "chat", "blank", stream=True)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "stream"


UNREADABLE = (
    'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,'
    '"delta":{"role":"assistant","content":"fine"}}]}\n\n'
    'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"name":"delete_all"\n\n'
    "data: [DONE]\n\n"
)
OLD_CALL = (
    'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,'
    '"delta":{"role":"assistant","function_call":{"name":"delete_all","arguments":"{}"}}}]}\n\n'
    "data: [DONE]\n\n"
)
SCOPE = {"tool_scope": {"blocked": ["delete_*"]}}
INSISTING = {
    "scope": ("post", SCOPE),
    "cut": ("post", {"redact": {"presets": ["cards"], "label": "CARD"}}),
    "text": ("post", {"deny": {"status": 451, "message": "no"}}),
    "watched": ("stream", SCOPE),
}


@pytest.fixture(scope="module")
def canned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with CannedProvider() as provider:
        models, policies = [], []
        for name, stream in (("unreadable", UNREADABLE), ("old", OLD_CALL)):
            provider.answers[name] = answer(stream.encode(), content_type="text/event-stream")
            for rule, (phase, action) in INSISTING.items():
                one = {"name": f"{name}-{rule}", "phase": phase, "then": [action]}
                if rule == "text":
                    one["when"] = "response.text.contains('nothing like it')"
                policies.append(one)
                deployment = make_deployment(provider.base(name), model=f"{name}-{rule}")
                models.append(make_model(f"{name}-{rule}", deployment, policies=[f"{name}-{rule}"]))
        policies.append({"name": "shade", "phase": "post", "mode": "shadow", "then": [SCOPE]})
        models.append(make_model("shade", make_deployment(provider.base("unreadable")), policies=["shade"]))
        config = make_config(*models, policies=policies)
        with Gateway(tmp_path_factory.mktemp("canned"), config) as running:
            yield running


def test_a_stream_that_cannot_be_read_is_withheld(canned: Gateway) -> None:
    """Where a policy might have had to refuse it: nobody knows what it calls or says."""
    key = canned.mint()
    for rule in INSISTING:
        refused = ask(canned, key, "chat", f"unreadable-{rule}", stream=True)
        assert refused.status_code == (200 if rule == "watched" else 502), (rule, refused.text)
        assert "cannot be read" in refused.text, rule
        assert "policy_denied" in refused.text, rule
        assert "delete_all" not in refused.text, rule
    passed = ask(canned, key, "chat", "shade", stream=True)
    assert (passed.status_code, "delete_all" in passed.text) == (200, True), passed.text


def test_calls_of_the_older_form_are_calls(canned: Gateway) -> None:
    key = canned.mint()
    refused = ask(canned, key, "chat", "old-scope", stream=True)
    assert (refused.status_code, "delete_all" in refused.text) == (403, True), refused.text
    watched = ask(canned, key, "chat", "old-watched", stream=True)
    assert "policy_denied" in watched.text, watched.text
    assert '"function_call"' not in watched.text

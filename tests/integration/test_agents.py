"""Coding agents: requests recorded from their published clients (prompts taken out), replayed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.harness import Gateway, Key, MockProvider, events_of, make_config, make_deployment, make_model

RECORDED = Path(__file__).parent / "agents"
AGENTS = {
    "claude_code": ("anthropic", "/v1/messages", "message_stop"),
    "codex": ("openai", "/v1/responses", "response.completed"),
    "gemini_cli": ("gemini", "/v1beta/models/up:streamGenerateContent", "usageMetadata"),
    "opencode": ("openai", "/v1/chat/completions", "[DONE]"),
    "opencode_responses": ("openai", "/v1/responses", "response.completed"),
}


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def model(name: str, dialect: str) -> Any:
        return make_model(name, make_deployment(provider, model="up", dialect=dialect))

    config = make_config(
        model("claude", "anthropic"), model("gpt-5.2", "openai"), model("gemini-2.5-pro", "gemini")
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


@pytest.mark.parametrize("agent", AGENTS)
def test_an_agent(gateway: Gateway, key: Key, provider: MockProvider, agent: str) -> None:
    recorded = json.loads((RECORDED / f"{agent}.json").read_text())["requests"]
    _, path, last = AGENTS[agent]
    credential = {"x-goog-api-key": key.secret} if agent == "gemini_cli" else key.bearer
    for request in recorded:
        if "upgrade" in request["headers"]:
            # See `test_turns.py`.
            continue
        mark = provider.mark()
        answer = gateway.http.request(
            request["method"],
            request["path"],
            json=request["body"],
            headers={
                **request["headers"],
                **credential,
            },
        )
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert last in answer.text
        assert len(events_of(answer.content)) > 1
        (seen,) = provider.requests(mark)
        assert seen.path == path
        # Nothing but the model's name is another.
        expected = request["body"] if "model" not in request["body"] else {**request["body"], "model": "up"}
        assert seen.json() == expected
        for name in ("anthropic-beta", "anthropic-version"):
            assert seen.headers.get(name) == request["headers"].get(name)
        assert key.secret not in str(seen)

"""No route is a way around a guardrail: every row of the endpoint table with a key that has one. And what
cannot be looked at, under each setting.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.harness import Gateway, MockProvider, chat, make_config, make_deployment, make_model
from tests.integration.test_endpoints import PLANE as EVERY
from tests.integration.test_endpoints import ROWS, UPLOADS, placed, request_of

from ailink import _core

# Paths of providers' own have tests of theirs (test_pass_through.py).
PLANE = [row for row in EVERY if row[3] != "pass_through"]
REACH = {operation: (request, answer) for operation, request, answer in _core.guard_reach()}
PAGE = Path(__file__).parents[2] / "docs/guardrails.md"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
LEVELS = ("whole", "block", "allow")


def rule(name: str, **settings: Any) -> dict[str, Any]:
    return {"name": name, "words": ["bluebird"], "scan": ["input"], **settings}


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    dialects = ("openai", "anthropic", "gemini", "cohere", "bedrock")
    everywhere = [make_deployment(provider, model="up", dialect=dialect) for dialect in dialects]
    config = make_config(
        make_model("m", *everywhere),
        guardrails=[
            {"name": "all-in", "patterns": ["[a-z]"], "scan": ["input"]},
            {"name": "all-out", "patterns": ["[a-z]"], "scan": ["output"]},
            {"name": "checked-in", "checks": [{"regexMatch": {"rule": "[a-z]", "not": True}}]},
            *(rule(level, unscannable=level) for level in LEVELS),
            *(rule(f"out-{level}", scan=["output"], unscannable=level) for level in LEVELS),
            rule("told", action="flag"),
            rule("shadowed", mode="shadow", unscannable="block"),
            {"name": "checks-whole", "checks": [{"contains": {"words": ["bluebird"], "operator": "none"}}]},
        ],
        routing={"translation": "never"},
    )
    with Gateway(tmp_path_factory.mktemp("unscannable"), config) as running:
        yield running


@pytest.fixture(scope="module")
def keys(gateway: Gateway) -> dict[str, dict[str, str]]:
    names = ("all-in", "all-out", "checked-in", "told", "shadowed", "checks-whole")
    named = [*names, *LEVELS, *(f"out-{level}" for level in LEVELS)]
    return {name: gateway.mint(guardrails=[name]).bearer for name in named}


def sent(
    gateway: Gateway, row: tuple[str, str, str, str], headers: dict[str, str], **more: Any
) -> httpx.Response:
    method, pattern, _, operation = row
    in_path = "{model}" in pattern or "{rest}" in pattern
    body = {**request_of(operation, None if in_path else "m"), **more}
    return gateway.http.request(method, placed(pattern, "m"), **body, headers=headers)


def test_every_row_is_known() -> None:
    """Whoever adds a row says in `guard/unseen.rs`, or here, how guardrails hold for it."""
    other = {"models", "health", "stored", "turns", "approvals", "ended"}
    assert {row[3] for row in ROWS if row[2] == "plane"} - other <= set(REACH)
    assert {row[2] for row in ROWS} == {"plane", "shell"}


@pytest.mark.parametrize("name", ["all-in", "checked-in"])
def test_no_route_lets_a_request_around(gateway, keys, provider, name):
    mark = provider.mark()
    passed = []
    for row in PLANE:
        answer = sent(gateway, row, keys[name])
        if answer.status_code != 400:
            passed.append((row[1], answer.status_code, answer.text[:200]))
    assert passed == []
    assert provider.requests(mark) == []


def test_no_route_lets_an_answer_around(gateway, keys):
    """What is no text, or not looked at, is numbers."""
    passed = []
    for row in PLANE:
        answer = sent(gateway, row, keys["all-out"])
        # A stream that has begun says so in its last event.
        refused = answer.status_code == 400 or "all-out" in answer.text
        if not refused and REACH[row[3]][1] != "numbers only":
            passed.append((row[1], answer.status_code, answer.text[:200]))
    assert passed == []


def test_uploads_without_a_prompt(gateway, keys, provider):
    """Nothing of them can be looked at: refused unless it is allowed."""
    for row in [row for row in PLANE if row[3] in UPLOADS]:
        for name, good in (
            ("whole", False),
            ("checks-whole", False),
            ("block", False),
            ("allow", True),
            ("told", True),
        ):
            answer = sent(gateway, row, keys[name], data={"model": "m"})
            # That a prompt is missing is the provider's to say.
            assert ("guardrail" in answer.text.lower()) is not good, (row[1], name, answer.text)
    # A prompt is looked at, the file beside it passes.
    row = next(row for row in PLANE if row[3] == "images_edits")
    assert sent(gateway, row, keys["whole"]).is_success
    assert sent(gateway, row, keys["block"]).status_code == 400


TOKENS = {"model": "m", "input": [[1, 2, 3]]}
WITH_IMAGE = [{"type": "text", "text": "what is it?"}, IMAGE]
CASES = [
    ("/v1/embeddings", TOKENS, {"whole": 400, "block": 400, "checks-whole": 400}),
    ("/v1/embeddings", TOKENS, {"allow": 200, "told": 200, "shadowed": 200}),
    ("/v1/embeddings", {"model": "m", "input": "words"}, {"whole": 200, "block": 200}),
    ("/v1/completions", {"model": "m", "prompt": [1, 2, 3]}, {"whole": 400, "block": 400, "allow": 200}),
    ("/v1/chat/completions", chat("m"), {"whole": 200, "block": 200}),
    ("/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": WITH_IMAGE}]},
     {"whole": 200, "block": 400, "allow": 200, "shadowed": 200}),
    ("/v1/chat/completions", chat("m", modalities=["text", "audio"]), {"out-whole": 200, "out-block": 400}),
    ("/v1/images/generations", {"model": "m", "prompt": "a bird"},
     {"whole": 200, "out-whole": 400, "out-block": 400, "out-allow": 200}),
    ("/v1/audio/speech", {"model": "m", "input": "a bird", "voice": "alloy"},
     {"whole": 200, "out-whole": 400, "out-block": 400, "out-allow": 200}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body", "wanted"), CASES, ids=[f"{path}-{number}" for number, (path, *_) in enumerate(CASES)]
)
def test_what_cannot_be_looked_at(gateway, keys, provider, path, body, wanted):
    for name, status in wanted.items():
        mark = provider.mark()
        answer = gateway.http.post(path, json=body, headers=keys[name])
        assert answer.status_code == status, (name, answer.text)
        if status == 400:
            error = answer.json()["error"]
            assert error["code"] == "content_policy_violation"
            assert "cannot look into" in error["message"], name
            assert provider.requests(mark) == []


def test_sessions(gateway, keys):
    upgrade = {
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    for name in ("checked-in", "checks-whole"):
        refused = gateway.http.get("/v1/realtime?model=m", headers={**upgrade, **keys[name]})
        assert refused.status_code == 403, refused.text
        assert refused.json()["error"]["code"] == "endpoint_access_denied"
    # Nobody serves sessions here, which is another answer (test_realtime_guardrails.py has one that is).
    for name in (*LEVELS, "out-whole", "told", "shadowed"):
        answer = gateway.http.get("/v1/realtime?model=m", headers={**upgrade, **keys[name]})
        assert "guardrail" not in answer.text, answer.text


def test_the_page_has_every_operation() -> None:
    table = PAGE.read_text().split("<!-- reach -->")[1].split("<!-- /reach -->")[0]
    told = {}
    for line in table.strip().splitlines()[2:]:
        names, request, answer = (cell.strip() for cell in line.strip("|").split("|"))
        told |= {name.strip("` "): (request, answer) for name in names.split(",")}
    asked = {row[3] for row in PLANE} | {"realtime", "bidi_generate_content", "pass_through"}
    assert told == {operation: REACH[operation] for operation in asked}

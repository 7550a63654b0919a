"""PDFs in requests: their texts are looked at in every dialect, and what has none follows the rule."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from tests.harness import Gateway, Key, MockProvider, make_config, make_deployment, make_model
from tests.harness.pdf import make_pdf

MAIL = "jane.doe@example.org"
GOOD, BAD = make_pdf(["a page without names"]), make_pdf(["page one", f"write to {MAIL}"])
BLIND, BROKEN = make_pdf(["words", ""]), b"%PDF-1.7\n" + bytes(range(256)) * 4
TEXT = "What does it say?"


def rule(name: str, action: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "presets": ["email"], "scan": ["input"], "action": action, **more}


RULES = [
    rule("block", "block"),
    rule("redact", "redact"),
    rule("flag", "flag", unscannable="whole"),
    rule("strict", "block", unscannable="block"),
    rule("open", "block", unscannable="allow"),
    rule("shadow", "block", mode="shadow"),
    {"name": "checked", "checks": [{"contains": {"words": ["bluebird"], "operator": "none"}}],
     "unscannable": "block"},
]  # fmt: skip


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    models = [
        make_model(dialect, make_deployment(provider, dialect=dialect))
        for dialect in ("openai", "anthropic", "gemini", "bedrock")
    ]
    with Gateway(tmp_path_factory.mktemp("documents"), make_config(*models, guardrails=RULES)) as running:
        yield running


@pytest.fixture(scope="module")
def keys(gateway: Gateway) -> dict[str, Key]:
    return {rule["name"]: gateway.mint(guardrails=[rule["name"]]) for rule in RULES}


def encoded(document: bytes) -> str:
    return base64.b64encode(document).decode()


def chat(document: bytes, *parts: dict[str, Any]) -> dict[str, Any]:
    file = {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{encoded(document)}"}
    content = [{"type": "text", "text": TEXT}, {"type": "file", "file": file}, *parts]
    return {"model": "openai", "messages": [{"role": "user", "content": content}]}


def responses(document: bytes) -> dict[str, Any]:
    data = f"data:application/pdf;base64,{encoded(document)}"
    content = [
        {"type": "input_text", "text": TEXT},
        {"type": "input_file", "filename": "a.pdf", "file_data": data},
    ]
    return {"model": "openai", "input": [{"role": "user", "content": content}]}


def messages(document: bytes) -> dict[str, Any]:
    source = {"type": "base64", "media_type": "application/pdf", "data": encoded(document)}
    content = [{"type": "document", "source": source}, {"type": "text", "text": TEXT}]
    return {"model": "anthropic", "max_tokens": 9, "messages": [{"role": "user", "content": content}]}


def gemini(document: bytes) -> dict[str, Any]:
    data = {"mimeType": "application/pdf", "data": encoded(document)}
    return {"contents": [{"role": "user", "parts": [{"text": TEXT}, {"inlineData": data}]}]}


def converse(document: bytes) -> dict[str, Any]:
    part = {"document": {"format": "pdf", "name": "a", "source": {"bytes": encoded(document)}}}
    return {"messages": [{"role": "user", "content": [{"text": TEXT}, part]}]}


DIALECTS = {
    "chat": ("/v1/chat/completions", chat, "messages[0].content[1].file.file_data"),
    "responses": ("/v1/responses", responses, "input[0].content[1].file_data"),
    "messages": ("/v1/messages", messages, "messages[0].content[0].source.data"),
    "gemini": ("/v1beta/models/gemini:generateContent", gemini, "contents[0].parts[1].inlineData.data"),
    "converse": ("/model/bedrock/converse", converse, "messages[0].content[1].document.source.bytes"),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_text_of_a_document_is_looked_at(gateway, keys, provider, dialect) -> None:
    path, body, place = DIALECTS[dialect]
    mark = provider.mark()
    for name in ("block", "redact", "strict"):
        refused = gateway.http.post(path, json=body(BAD), headers=keys[name].bearer)
        assert refused.status_code == 400, (name, refused.text)
        assert f"EMAIL in {place}" in refused.text, name
        assert MAIL not in refused.text
    assert provider.requests(mark) == []
    for name in ("block", "redact", "strict"):
        passed = gateway.http.post(path, json=body(GOOD), headers=keys[name].bearer)
        assert passed.status_code == 200, (name, passed.text)
    for name in ("open", "shadow", "flag"):
        passed = gateway.http.post(path, json=body(BAD), headers=keys[name].bearer)
        assert passed.status_code == 200, (name, passed.text)


def test_what_cannot_be_read_follows_the_rule(gateway, keys) -> None:
    for document, why in ((BLIND, "no text"), (BROKEN, "not valid")):
        refused = gateway.http.post(
            "/v1/chat/completions", json=chat(document), headers=keys["strict"].bearer
        )
        assert refused.status_code == 400, refused.text
        assert why in refused.json()["error"]["message"]
        assert refused.json()["error"]["param"] == DIALECTS["chat"][2]
        for name in ("block", "open"):
            passed = gateway.http.post("/v1/chat/completions", json=chat(document), headers=keys[name].bearer)
            assert passed.status_code == 200, (name, passed.text)
    # Checks are not made of documents.
    refused = gateway.http.post("/v1/chat/completions", json=chat(GOOD), headers=keys["checked"].bearer)
    assert refused.status_code == 400, refused.text


def test_all_documents_of_a_request_are_looked_at(gateway, keys) -> None:
    def part(number: int, document: bytes) -> dict[str, Any]:
        data = f"data:application/pdf;base64,{encoded(document)}"
        return {"type": "file", "file": {"filename": f"{number}.pdf", "file_data": data}}

    many = [part(number, make_pdf([f"page {number}"])) for number in range(4)]
    body = chat(GOOD, *many, part(9, BAD))
    refused = gateway.http.post("/v1/chat/completions", json=body, headers=keys["block"].bearer)
    assert "messages[0].content[6].file.file_data" in refused.text
    passed = gateway.http.post("/v1/chat/completions", json=chat(GOOD, *many), headers=keys["block"].bearer)
    assert passed.status_code == 200, passed.text
    too_many = [part(number, make_pdf([f"page {number}"])) for number in range(17)]
    refused = gateway.http.post(
        "/v1/chat/completions", json=chat(GOOD, *too_many), headers=keys["block"].bearer
    )
    assert (refused.status_code, "16 documents" in refused.text) == (400, True)

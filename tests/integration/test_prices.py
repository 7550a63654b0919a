"""Cost by the shipped prices, end to end: what providers say they used, and what the ledger says it cost.

Expected amounts are computed by hand from the providers' price pages (US dollars per million tokens), not by
the code under test.
"""

import json
import struct
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.harness import Gateway, Key, MockProvider, make_config, make_model
from tests.integration.test_providers import HELLO

from ailink.pricing.files import encoded, from_litellm

M = Decimal(10) ** -6


class Case(NamedTuple):
    provider: str
    path: str
    model: str
    answer: Any
    cost: Decimal
    body: dict[str, Any]


CHAT = {"messages": HELLO}
GENERATE = {"contents": [{"parts": [{"text": "hello"}]}]}


def openai(usage: Any, **more: Any) -> Any:
    return {"id": "x", "object": "chat.completion", "choices": [], "usage": usage, **more}


def chat(provider: str, model: str, cost: Decimal, usage: Any, **more: Any) -> Case:
    return Case(provider, "/v1/chat/completions", model, openai(usage, **more), cost, CHAT)


def claude(cost: Decimal, **usage: Any) -> Case:
    answer = {"id": "m", "type": "message", "content": [], "usage": usage}
    body = {"messages": HELLO, "max_tokens": 9}
    return Case("anthropic", "/v1/messages", "claude-sonnet-4-5", answer, cost, body)


def gemini(model: str, cost: Decimal, **usage: Any) -> Case:
    path = "/v1beta/models/{name}:generateContent"
    return Case("gemini", path, model, {"candidates": [], "usageMetadata": usage}, cost, GENERATE)


CASES = {
    "cached": chat(
        "openai",
        "gpt-4o-mini",
        600 * Decimal("0.15") * M + 400 * Decimal("0.075") * M + 500 * Decimal("0.60") * M,
        {"prompt_tokens": 1000, "completion_tokens": 500, "prompt_tokens_details": {"cached_tokens": 400}},
    ),
    "priority": chat(
        "openai",
        "gpt-4o",
        1000 * Decimal("4.25") * M + 100 * 17 * M,
        {"prompt_tokens": 1000, "completion_tokens": 100},
        service_tier="priority",
    ),
    "the standard after all": chat(
        "openai",
        "gpt-4o",
        1000 * Decimal("2.50") * M + 100 * 10 * M,
        {"prompt_tokens": 1000, "completion_tokens": 100},
        service_tier="default",
    ),
    "flex, cached, reasoning": chat(
        "openai",
        "gpt-5",
        (600 * Decimal("0.625") + 400 * Decimal("0.0625") + 300 * 5) * M,
        {
            "prompt_tokens": 1000,
            "completion_tokens": 300,
            "prompt_tokens_details": {"cached_tokens": 400},
            "completion_tokens_details": {"reasoning_tokens": 200},
        },
        service_tier="flex",
    ),
    "sound in and out": chat(
        "openai",
        "gpt-audio",
        (100 * Decimal("2.50") + 50 * 10 + 1000 * 32 + 400 * 64) * M,
        {
            "prompt_tokens": 1100,
            "completion_tokens": 450,
            "prompt_tokens_details": {"audio_tokens": 1000},
            "completion_tokens_details": {"audio_tokens": 400},
        },
    ),
    "reasoning with a price of its own": chat(
        "dashscope",
        "qwen-plus-2025-07-14",
        (1000 * Decimal("0.4") + 200 * Decimal("1.2") + 300 * 4) * M,
        {
            "prompt_tokens": 1000,
            "completion_tokens": 500,
            "completion_tokens_details": {"reasoning_tokens": 300},
        },
    ),
    "above 32k": chat(
        "dashscope",
        "qwen3-coder-plus",
        (40_000 * Decimal("1.8") + 100 * 9) * M,
        {"prompt_tokens": 40_000, "completion_tokens": 100},
    ),
    "cache writes for 5 minutes and an hour, searches": claude(
        (100 * 3 + 1000 * Decimal("0.30") + 2000 * Decimal("3.75") + 1000 * 6 + 50 * 15) * M
        + 2 * Decimal("0.01"),
        input_tokens=100,
        output_tokens=50,
        cache_read_input_tokens=1000,
        cache_creation_input_tokens=3000,
        cache_creation={"ephemeral_5m_input_tokens": 2000, "ephemeral_1h_input_tokens": 1000},
        server_tool_use={"web_search_requests": 2},
    ),
    "batch": claude(
        (1000 * Decimal("1.50") + 1000 * Decimal("7.50")) * M,
        input_tokens=1000,
        output_tokens=1000,
        service_tier="batch",
    ),
    "below 200k": gemini(
        "gemini-2.5-pro",
        (200_000 * Decimal("1.25") + 1000 * 10) * M,
        promptTokenCount=200_000,
        candidatesTokenCount=1000,
        totalTokenCount=201_000,
    ),
    "above 200k": gemini(
        "gemini-2.5-pro",
        (150_000 * Decimal("2.50") + 100_000 * Decimal("0.25") + 1000 * 15) * M,
        promptTokenCount=250_000,
        cachedContentTokenCount=100_000,
        candidatesTokenCount=1000,
        totalTokenCount=251_000,
    ),
    "sound and thoughts": gemini(
        "gemini-2.5-flash",
        (100 * Decimal("0.30") + 1000 * 1 + 300 * Decimal("2.50")) * M,
        promptTokenCount=1100,
        promptTokensDetails=[
            {"modality": "TEXT", "tokenCount": 100},
            {"modality": "AUDIO", "tokenCount": 1000},
        ],
        candidatesTokenCount=100,
        thoughtsTokenCount=200,
        totalTokenCount=1400,
    ),
    "an image drawn": gemini(
        "gemini-2.5-flash-image",
        (10 * Decimal("0.30") + 1290 * 30) * M,
        promptTokenCount=10,
        candidatesTokenCount=1290,
        candidatesTokensDetails=[{"modality": "IMAGE", "tokenCount": 1290}],
        totalTokenCount=1300,
    ),
    "images by tokens": Case(
        "openai",
        "/v1/images/generations",
        "gpt-image-1",
        {
            "data": [],
            "usage": {
                "input_tokens": 50,
                "output_tokens": 1000,
                "total_tokens": 1050,
                "input_tokens_details": {"text_tokens": 40, "image_tokens": 10},
            },
        },
        (40 * 5 + 10 * 10 + 1000 * 40) * M,
        {"prompt": "a cat"},
    ),
    "images by number": Case(
        "aiml",
        "/v1/images/generations",
        "flux/kontext-max/text-to-image",
        {"data": [{"url": "a"}, {"url": "b"}]},
        2 * Decimal("0.104"),
        {"prompt": "a cat", "n": 2},
    ),
    "sound by seconds": Case(
        "openai",
        "/v1/audio/transcriptions",
        "whisper-1",
        {"text": "hello", "usage": {"type": "duration", "seconds": 90}},
        90 * Decimal("0.006") / 60,
        {},
    ),
    "speech by characters": Case(
        "openai", "/v1/audio/speech", "tts-1", b"ID3", 1000 * 15 * M, {"input": "é" * 1000, "voice": "alloy"}
    ),
    "searches of documents": Case(
        "cohere",
        "/v1/rerank",
        "rerank-v3.5",
        {"results": [], "meta": {}},
        Decimal("0.002"),
        {"query": "a", "documents": ["b"]},
    ),
    "cached sound and pictures": chat(
        "openai",
        "gpt-realtime",
        (200 * 4 + 100 * Decimal("0.40") + 300 * 32 + 200 * Decimal("0.40")) * M
        + (150 * 5 + 50 * Decimal("0.50") + 60 * 16 + 40 * 64) * M,
        {
            "prompt_tokens": 1000,
            "completion_tokens": 100,
            "prompt_tokens_details": {
                "cached_tokens": 350,
                "audio_tokens": 500,
                "image_tokens": 200,
                "cached_tokens_details": {"text_tokens": 100, "audio_tokens": 200, "image_tokens": 50},
            },
            "completion_tokens_details": {"audio_tokens": 40},
        },
    ),
    "priority, cached": chat(
        "openai",
        "gpt-4o",
        (600 * Decimal("4.25") + 400 * Decimal("2.125") + 100 * 17) * M,
        {"prompt_tokens": 1000, "completion_tokens": 100, "prompt_tokens_details": {"cached_tokens": 400}},
        service_tier="priority",
    ),
    "flex, above 272k, cached": chat(
        "openai",
        "gpt-5.4",
        (200_000 * Decimal("2.50") + 100_000 * Decimal("0.25") + 100 * Decimal("11.25")) * M,
        {
            "prompt_tokens": 300_000,
            "completion_tokens": 100,
            "prompt_tokens_details": {"cached_tokens": 100_000},
        },
        service_tier="flex",
    ),
    "written to the cache, above 272k": chat(
        "openai",
        "gpt-5.6",
        (100_000 * 8 + 200_000 * 10 + 100 * 30) * M,
        {
            "prompt_tokens": 300_000,
            "completion_tokens": 100,
            "prompt_tokens_details": {"cache_write_tokens": 200_000},
        },
    ),
    "priority, written to the cache, above 272k": chat(
        "openai",
        "gpt-5.6",
        (100_000 * 16 + 100_000 * 20 + 100_000 * Decimal("1.60") + 100 * 60) * M,
        {
            "prompt_tokens": 300_000,
            "completion_tokens": 100,
            "prompt_tokens_details": {"cache_write_tokens": 100_000, "cached_tokens": 100_000},
        },
        service_tier="priority",
    ),
    "reasoning with a price of its own, above 256k": chat(
        "dashscope",
        "qwen-plus-2025-07-28",
        (300_000 * Decimal("1.2") + 200 * Decimal("3.6") + 300 * 12) * M,
        {
            "prompt_tokens": 300_000,
            "completion_tokens": 500,
            "completion_tokens_details": {"reasoning_tokens": 300},
        },
    ),
    "batch, cached, written for 5 minutes and an hour": claude(
        (100 * Decimal("1.50") + 1000 * Decimal("0.15") + 2000 * Decimal("1.875")) * M
        + (1000 * 3 + 50 * Decimal("7.50")) * M,
        input_tokens=100,
        output_tokens=50,
        cache_read_input_tokens=1000,
        cache_creation_input_tokens=3000,
        cache_creation={"ephemeral_5m_input_tokens": 2000, "ephemeral_1h_input_tokens": 1000},
        service_tier="batch",
    ),
    "cached sound": gemini(
        "gemini-2.5-flash",
        (100 * Decimal("0.30") + 600 * 1 + 400 * Decimal("0.10") + 100 * Decimal("2.50")) * M,
        promptTokenCount=1100,
        promptTokensDetails=[
            {"modality": "TEXT", "tokenCount": 100},
            {"modality": "AUDIO", "tokenCount": 1000},
        ],
        cachedContentTokenCount=400,
        cacheTokensDetails=[{"modality": "AUDIO", "tokenCount": 400}],
        candidatesTokenCount=100,
        totalTokenCount=1200,
    ),
    "ElevenLabs by characters": Case(
        "elevenlabs",
        "/v1/audio/speech",
        "eleven_multilingual_v2",
        b"ID3",
        Decimal("0.08"),
        {"input": "é" * 1000, "voice": "Rachel"},
    ),
    "Deepgram by seconds": Case(
        "deepgram",
        "/v1/audio/transcriptions",
        "nova-3",
        {"text": "hello", "usage": {"type": "duration", "seconds": 600}},
        600 * Decimal("71.67") * M,
        {},
    ),
    "free at home": chat("vllm", "anything", Decimal(0), {"prompt_tokens": 1000, "completion_tokens": 500}),
}


class Setup(NamedTuple):
    gateway: Gateway
    key: Key


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    names = {f"case-{index}": case for index, case in enumerate(CASES.values())}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            answer = names[self.path.split("/")[1]].answer
            kind = "audio/mpeg" if isinstance(answer, bytes) else "application/json"
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        models = [
            make_model(
                name,
                {
                    "provider": case.provider,
                    "model": case.model,
                    "api_key": "k-provider",
                    "base_url": f"{url}/{name}",
                },
            )
            for name, case in names.items()
        ]
        # Not in the catalogue of providers, but in that of prices.
        sound = {"audio_speech": "/audio/speech", "audio_transcriptions": "/audio/transcriptions"}
        own = {
            name: {
                "dialect": "openai",
                "base_url": url,
                "auth": {"scheme": "bearer"},
                "operations": sound,
                "price_family": name,
            }
            for name in ("elevenlabs", "deepgram")
        }
        config = make_config(*models, providers=own)
        with Gateway(tmp_path_factory.mktemp("gateway"), config) as gateway:
            yield Setup(gateway, gateway.mint())
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("title", CASES)
def test_cost(setup: Setup, title: str) -> None:
    case = CASES[title]
    name = f"case-{list(CASES).index(title)}"
    body = {"model": name, **case.body}
    sent: dict[str, Any] = {"json": body}
    if "transcriptions" in case.path:
        sent = {"data": body, "files": {"file": ("a.mp3", b"sound")}}
    path = case.path.replace("{name}", name)
    answer = setup.gateway.http.post(path, headers=setup.key.bearer, **sent)
    assert answer.status_code == 200, answer.text
    (row,) = setup.gateway.attempts_of(answer.headers["x-request-id"])
    assert Decimal(row["spend"]) == case.cost


def test_facts_of_models(setup: Setup) -> None:
    """The list of models tells what is known about them, behind OpenAI's own members."""
    setup_headers = setup.key.bearer
    listed = setup.gateway.http.get("/v1/models", headers=setup_headers).json()["data"]
    mini = next(model for model in listed if model["id"] == "case-0")
    assert list(mini)[:4] == ["id", "object", "created", "owned_by"]
    assert (mini["context_window"], mini["max_output_tokens"]) == (128_000, 16_384)
    assert {"tools", "vision"} <= set(mini["capabilities"])
    assert setup.gateway.http.get("/v1/models/case-0", headers=setup_headers).json() == mini
    unknown = next(model for model in listed if model["owned_by"] == "vllm")
    assert unknown.keys() == {"id", "object", "created", "owned_by", "mode"}
    ending = next(model for model in listed if model["owned_by"] == "anthropic")
    assert ending["deprecation_date"] == "2026-11-30"
    assert "claude-sonnet-4-5) e" in setup.gateway.log
    info = {entry["model_name"]: entry["model_info"] for entry in setup.gateway.call("/model/info")["data"]}
    assert (info["case-0"]["max_input_tokens"], info["case-0"]["max_output_tokens"]) == (128_000, 16_384)
    assert info[ending["id"]]["deprecation_date"] == "2026-11-30"


def test_an_imported_price_stands_over_the_catalogue(tmp_path: Path, provider: MockProvider) -> None:
    directory = tmp_path / "gateway"
    directory.mkdir()
    entry = {"litellm_provider": "openai", "mode": "chat", "input_cost_per_request": 0.5}
    made = from_litellm(json.dumps({"gpt-4o": entry}).encode(), "2026-01-01")
    (directory / "prices.json").write_bytes(encoded(made))
    place = {
        "provider": "openai",
        "model": "gpt-4o",
        "api_key": "k-provider",
        "base_url": f"{provider.url}/v1",
    }
    config = make_config(make_model("m", place), prices=["prices.json"])
    with Gateway(directory, config) as gateway:
        body = {"model": "m", "messages": HELLO}
        answer = gateway.http.post("/v1/chat/completions", headers=gateway.mint().bearer, json=body)
        assert (answer.status_code, answer.headers["x-ailink-cost"]) == (200, "0.5")
        (info,) = (row["model_info"] for row in gateway.call("/model/info")["data"])
        assert info["price_version"] == made.version


def _wave(seconds: int) -> bytes:
    """Silence: 8 bits, 8 kHz, one channel."""
    size = 8_000 * seconds
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8_000, 8_000, 1, 8)
    return b"".join(
        [
            struct.pack("<4sI4s", b"RIFF", size + 36, b"WAVE"),
            form,
            b"data",
            struct.pack("<I", size),
            bytes(size),
        ]
    )


@pytest.mark.parametrize(
    ("title", "more", "most"),
    [
        # 100 s, of which the provider bills 90.
        ("sound by seconds", {}, 100 * Decimal("0.006") / 60),
        ("speech by characters", {}, 1000 * 15 * M),
        ("images by number", {}, 2 * Decimal("0.104")),
        # Whose quality the provider may choose: 6,240 tokens each.
        ("images by tokens", {"n": 3}, 3 * 6_240 * 40 * M),
        ("images by tokens", {"n": 3, "quality": "low", "size": "1024x1024"}, 3 * 272 * 40 * M),
    ],
)
def test_what_is_no_text_is_set_aside_at_its_worst_and_settled(
    setup: Setup, title: str, more: dict[str, Any], most: Decimal
) -> None:
    case = CASES[title]
    name = f"case-{list(CASES).index(title)}"
    body = {"model": name, **case.body, **more}
    sent: dict[str, Any] = {"json": body}
    if "transcriptions" in case.path:
        sent = {"data": body, "files": {"file": ("a.wav", _wave(100))}}
    # Its text costs a little too.
    poor = setup.gateway.mint(max_budget=float(most) * 0.99)
    refused = setup.gateway.http.post(case.path, headers=poor.bearer, **sent)
    assert refused.status_code == 422, refused.text
    assert refused.json()["error"]["code"] == "budget_exceeded"
    rich = setup.gateway.mint(max_budget=float(most) * 1.02 + 0.0001)
    answer = setup.gateway.http.post(case.path, headers=rich.bearer, **sent)
    assert answer.status_code == 200, answer.text
    (row,) = setup.gateway.attempts_of(answer.headers["x-request-id"])
    assert Decimal(row["spend"]) == case.cost
    spent = setup.gateway.call("/key/info", key=rich.secret)["info"]["spend"]
    assert Decimal(str(spent)) == case.cost

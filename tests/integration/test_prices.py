"""Cost by the shipped prices, end to end: what providers say they used, and what the ledger says it cost.

Expected amounts are computed by hand from the providers' price pages (US dollars per million tokens), not by
the code under test. Every kind of price that the shipped data names has a case: a new one fails the last test
of the table until it has one.
"""

import json
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest
from tests.harness import Gateway, Key, MockProvider, make_config, make_model
from tests.integration.test_providers import HELLO

from ailink.pricing import RATES, UNITS, Price, load
from ailink.pricing.files import encoded, from_litellm
from ailink.providers.registry import Registry

M = Decimal(10) ** -6


class Case(NamedTuple):
    provider: str
    path: str
    model: str
    answer: Any
    cost: Decimal
    body: dict[str, Any]
    headers: dict[str, str] = {}


CHAT = {"messages": HELLO}
GENERATE = {"contents": [{"parts": [{"text": "hello"}]}]}


def openai(usage: Any, **more: Any) -> Any:
    return {"id": "x", "object": "chat.completion", "choices": [], "usage": usage, **more}


def chat(provider: str, model: str, cost: Decimal, usage: Any, **more: Any) -> Case:
    return Case(provider, "/v1/chat/completions", model, openai(usage, **more), cost, CHAT)


def claude(cost: Decimal, model: str = "claude-sonnet-4-5", **usage: Any) -> Case:
    answer = {"id": "m", "type": "message", "content": [], "usage": usage}
    body = {"messages": HELLO, "max_tokens": 9}
    return Case("anthropic", "/v1/messages", model, answer, cost, body)


def gemini(model: str, cost: Decimal, tier: str | None = None, **usage: Any) -> Case:
    """`tier`: as the Gemini API tells it, in the head. Vertex AI says `trafficType` in the usage."""
    path = "/v1beta/models/{name}:generateContent"
    headers = {"x-gemini-service-tier": tier} if tier else {}
    return Case("gemini", path, model, {"candidates": [], "usageMetadata": usage}, cost, GENERATE, headers)


HEARD = {
    "promptTokenCount": 1300,
    "promptTokensDetails": [
        {"modality": "TEXT", "tokenCount": 300},
        {"modality": "AUDIO", "tokenCount": 1000},
    ],
    "cachedContentTokenCount": 600,
    "cacheTokensDetails": [
        {"modality": "TEXT", "tokenCount": 200},
        {"modality": "AUDIO", "tokenCount": 400},
    ],
    "candidatesTokenCount": 50,
    "thoughtsTokenCount": 50,
    "totalTokenCount": 1400,
}
"""100 tokens of text, 600 of sound, 200 and 400 of them cached; 50 of text and 50 of thoughts."""


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
    "written to the cache for 5 minutes and an hour, above 100k": claude(
        (50_000 * Decimal("0.50") + 20_000 * Decimal("0.05") + 30_000 * Decimal("0.625")) * M
        + (10_000 * 1 + 100 * Decimal("2.50")) * M,
        model="claude-haiku-5-5",
        input_tokens=50_000,
        output_tokens=100,
        cache_read_input_tokens=20_000,
        cache_creation_input_tokens=40_000,
        cache_creation={"ephemeral_5m_input_tokens": 30_000, "ephemeral_1h_input_tokens": 10_000},
    ),
    "batch, written to the cache for 5 minutes and an hour, above 100k": claude(
        (50_000 * Decimal("0.25") + 20_000 * Decimal("0.025") + 30_000 * Decimal("0.3125")) * M
        + (10_000 * Decimal("0.50") + 100 * Decimal("1.25")) * M,
        model="claude-haiku-5-5",
        input_tokens=50_000,
        output_tokens=100,
        cache_read_input_tokens=20_000,
        cache_creation_input_tokens=40_000,
        cache_creation={"ephemeral_5m_input_tokens": 30_000, "ephemeral_1h_input_tokens": 10_000},
        service_tier="batch",
    ),
    "flex, cached sound and thoughts": gemini(
        "gemini-2.5-flash",
        (100 * Decimal("0.15") + 200 * Decimal("0.03") + 600 * Decimal("0.50") + 400 * Decimal("0.10")) * M
        + 100 * Decimal("1.25") * M,
        tier="flex",
        **HEARD,
    ),
    "priority, cached sound and thoughts": gemini(
        "gemini-2.5-flash",
        (100 * Decimal("0.54") + 200 * Decimal("0.054") + 600 * Decimal("1.80") + 400 * Decimal("0.18")) * M
        + 100 * Decimal("4.50") * M,
        trafficType="ON_DEMAND_PRIORITY",
        **HEARD,
    ),
    "priority was asked for, the standard was served": gemini(
        "gemini-2.5-pro",
        (1000 * Decimal("1.25") + 100 * 10) * M,
        tier="standard",
        promptTokenCount=1000,
        candidatesTokenCount=100,
        totalTokenCount=1100,
    ),
    "Google's batch, cached sound": chat(
        "google-batch",
        "gemini-2.5-flash",
        (100 * Decimal("0.15") + 200 * Decimal("0.03") + 600 * Decimal("0.50") + 400 * Decimal("0.10")) * M
        + 100 * Decimal("1.25") * M,
        {
            "prompt_tokens": 1300,
            "completion_tokens": 100,
            "prompt_tokens_details": {
                "cached_tokens": 600,
                "audio_tokens": 1000,
                "cached_tokens_details": {"text_tokens": 200, "audio_tokens": 400},
            },
        },
        service_tier="batch",
    ),
    "Google's batch, an image drawn": chat(
        "google-batch",
        "gemini-3-pro-image",
        (100 * 1 + 1120 * 60 + 10 * 6) * M,
        {
            "prompt_tokens": 100,
            "completion_tokens": 1130,
            "completion_tokens_details": {"image_tokens": 1120},
        },
        service_tier="batch",
    ),
    "batch, an image seen": Case(
        "openai",
        "/v1/images/generations",
        "gpt-image-1",
        {
            "data": [],
            "service_tier": "batch",
            "usage": {
                "input_tokens": 50,
                "output_tokens": 0,
                "total_tokens": 50,
                "input_tokens_details": {"text_tokens": 40, "image_tokens": 10},
            },
        },
        (40 * Decimal("2.50") + 10 * 5) * M,
        {"prompt": "a cat"},
    ),
    "flex, written to the cache": chat(
        "openai",
        "gpt-5.6",
        (500 * 2 + 400 * Decimal("2.50") + 100 * Decimal("0.20") + 100 * 10) * M,
        {
            "prompt_tokens": 1000,
            "completion_tokens": 100,
            "prompt_tokens_details": {"cache_write_tokens": 400, "cached_tokens": 100},
        },
        service_tier="flex",
    ),
    "flex, written to the cache, above 272k": chat(
        "openai",
        "gpt-5.6",
        (100_000 * 4 + 200_000 * 5 + 100 * 15) * M,
        {
            "prompt_tokens": 300_000,
            "completion_tokens": 100,
            "prompt_tokens_details": {"cache_write_tokens": 200_000},
        },
        service_tier="flex",
    ),
    # Its name since the summer of 2026; answers of older models still say `priority`.
    "fast, written to the cache": chat(
        "openai",
        "gpt-5.6",
        (500 * 8 + 400 * 10 + 100 * Decimal("0.80") + 100 * 40) * M,
        {
            "prompt_tokens": 1000,
            "completion_tokens": 100,
            "prompt_tokens_details": {"cache_write_tokens": 400, "cached_tokens": 100},
        },
        service_tier="fast",
    ),
    "ultrafast": chat(
        "openai",
        "gpt-6.1-sol",
        (500 * 12 + 400 * 15 + 100 * Decimal("0.60") + 100 * 60) * M,
        {
            "prompt_tokens": 1000,
            "completion_tokens": 100,
            "prompt_tokens_details": {"cache_write_tokens": 400, "cached_tokens": 100},
        },
        service_tier="ultrafast",
    ),
    "ultrafast, above 272k": chat(
        "openai",
        "gpt-6.1-sol",
        (100_000 * 24 + 100_000 * 30 + 100_000 * Decimal("1.20") + 100 * 90) * M,
        {
            "prompt_tokens": 300_000,
            "completion_tokens": 100,
            "prompt_tokens_details": {"cache_write_tokens": 100_000, "cached_tokens": 100_000},
        },
        service_tier="ultrafast",
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
        {
            "metadata": {"duration": 599.2},
            "results": {"channels": [{"alternatives": [{"transcript": "hello"}]}]},
        },
        600 * Decimal("71.67") * M,
        {},
    ),
    "Deepgram by characters": Case(
        "deepgram",
        "/v1/audio/speech",
        "aura-2",
        b"ID3",
        1000 * 30 * M,
        {"input": "é" * 1000, "voice": "alloy"},
    ),
    # It does not say how long the recording was: five bytes are a second at most.
    "ElevenLabs by seconds": Case(
        "elevenlabs",
        "/v1/audio/transcriptions",
        "scribe_v2",
        {"text": "hello"},
        Decimal("61.1") * M,
        {},
    ),
    "free at home": chat("vllm", "anything", Decimal(0), {"prompt_tokens": 1000, "completion_tokens": 500}),
}


OWN = {
    # What batches cost, in answers that can say so.
    "google-batch": ("gemini", {"chat": "/chat/completions"}),
}
"""Providers of this table: price family and operations."""


class Setup(NamedTuple):
    gateway: Gateway
    key: Key


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A provider that answers beneath `/N` as the Nth case says."""
    cases = list(CASES.values())

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            case = cases[int(self.path.split("/")[1])]
            kind = "audio/mpeg" if isinstance(case.answer, bytes) else "application/json"
            body = case.answer if isinstance(case.answer, bytes) else json.dumps(case.answer).encode()
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            for name, value in case.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def configured(url: str, models: dict[str, tuple[int, str]], **more: Any) -> dict[str, Any]:
    """A configuration with models by name: the number of their case, and what its provider calls them."""
    cases = list(CASES.values())
    own = {
        name: {
            "dialect": "openai",
            "base_url": url,
            "auth": {"scheme": "bearer"},
            "operations": operations,
            "price_family": family,
        }
        for name, (family, operations) in OWN.items()
    }
    places = [
        make_model(
            name,
            {
                "provider": cases[number].provider,
                "model": model,
                "api_key": "k-provider",
                "base_url": f"{url}/{number}",
            },
        )
        for name, (number, model) in models.items()
    ]
    return make_config(*places, providers=own, **more)


def send(setup: Setup, case: Case, name: str) -> httpx.Response:
    body = {"model": name, **case.body}
    sent: dict[str, Any] = {"json": body}
    if "transcriptions" in case.path:
        sent = {"data": body, "files": {"file": ("a.mp3", b"sound")}}
    path = case.path.replace("{name}", name)
    answer = setup.gateway.http.post(path, headers=setup.key.bearer, **sent)
    assert answer.status_code == 200, answer.text
    return answer


def spent(setup: Setup, case: Case, name: str) -> Decimal:
    (row,) = setup.gateway.attempts_of(send(setup, case, name).headers["x-request-id"])
    return Decimal(row["spend"])


@pytest.fixture(scope="module")
def setup(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    models = {f"case-{number}": (number, case.model) for number, case in enumerate(CASES.values())}
    with Gateway(tmp_path_factory.mktemp("gateway"), configured(url, models)) as gateway:
        yield Setup(gateway, gateway.mint())


@pytest.mark.parametrize("title", CASES)
def test_cost(setup: Setup, title: str) -> None:
    case = CASES[title]
    assert spent(setup, case, f"case-{list(CASES).index(title)}") == case.cost


class Kind(NamedTuple):
    """A kind of price: of a service ("": the standard), of long prompts or of all, of a class or unit."""

    service: str
    long: bool
    name: str


def kinds_of(price: Price) -> Iterator[tuple[Kind, Price]]:
    """Each kind of price that an entry names, and the entry with that price a dollar higher."""

    def dearer(table: Any, name: str) -> Any:
        return msgspec.structs.replace(table, **{name: getattr(table, name) + 10**12})

    def levels(table: Any) -> Iterator[tuple[bool, str, Any]]:
        for name in RATES:
            if getattr(table, name) is not None:
                yield False, name, dearer(table, name)
            steps = [dearer(tier, name) if getattr(tier, name) is not None else tier for tier in table.tiers]
            if tuple(steps) != table.tiers:
                yield True, name, msgspec.structs.replace(table, tiers=tuple(steps))

    for name in UNITS:
        if getattr(price, name) is not None:
            yield Kind("", False, name), dearer(price, name)
    for long, name, changed in levels(price):
        yield Kind("", long, name), changed
    for service, special in price.services.items():
        for long, name, changed in levels(special):
            services = price.services | {service: changed}
            yield Kind(service, long, name), msgspec.structs.replace(price, services=services)


def test_every_kind_of_price_has_a_case(url: str, tmp_path: Path) -> None:
    """What a case is about is found out: a kind of price is in it when its cost changes with that price."""
    shipped = load()
    families = {row.id: row.price_family for row in Registry.builtin()}
    families |= {name: family for name, (family, _) in OWN.items()}
    known = {Kind("", False, name) for name in (*RATES, *UNITS)}
    for models in shipped.by_provider.values():
        for model in models.values():
            known |= {kind for kind, _ in kinds_of(model.price)} if model.price else set()
    tables: dict[str, dict[str, Any]] = {}
    models_of: dict[str, tuple[int, str]] = {}
    tried = []
    for number, case in enumerate(CASES.values()):
        family = families[case.provider] or ""
        model = shipped.model(family, case.model)
        for kind, price in kinds_of(model.price) if model and model.price else ():
            name = f"{number}-{len(tried)}"
            tables.setdefault(family, {})[name] = msgspec.structs.replace(model, price=price)
            models_of[name] = (number, name)
            tried.append((kind, case, name))
    changed = msgspec.structs.replace(shipped, version="dearer", by_provider=tables)
    (tmp_path / "prices.json").write_bytes(encoded(changed))
    config = configured(url, models_of, prices=["prices.json"])
    with Gateway(tmp_path, config) as gateway, ThreadPoolExecutor(4) as pool:
        setup = Setup(gateway, gateway.mint())
        found = pool.map(lambda one: (one[0], spent(setup, one[1], one[2]) != one[1].cost), tried)
        covered = {kind for kind, differs in found if differs}
    assert known - covered == set()


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


@pytest.mark.parametrize("tier", ["fast", "priority"])
def test_what_is_urgent_is_set_aside_at_its_price(setup: Setup, tier: str) -> None:
    """100 tokens of the answer are 0.2 cents, and 0.4 where they are to come fast."""
    name = f"case-{list(CASES).index('fast, written to the cache')}"
    poor = setup.gateway.mint(max_budget=0.003)
    body = {"model": name, "messages": HELLO, "max_tokens": 100}

    def asked(**more: Any) -> int:
        answer = setup.gateway.http.post("/v1/chat/completions", headers=poor.bearer, json={**body, **more})
        return answer.status_code

    assert asked(service_tier=tier) == 422
    assert asked(service_tier="flex") == 200


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

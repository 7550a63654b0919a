"""Embeddings and rankings across the shapes of their providers, by official clients."""

import base64
import struct
from collections.abc import Iterator
from typing import Any

import cohere
import openai
import pytest
from google import genai
from google.genai import types
from tests.harness import Gateway, Key, MockProvider, make_config, make_deployment, make_model

TITAN, COHERE = "amazon.titan-embed-text-v2:0", "cohere.embed-v4:0"
PRICE = {"input_per_million": 1}
EMBEDDERS = ["gpt", "goog", "vertex", "cohere", "amazon-cohere"]


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def at(row: str, model: str = "up", dialect: str = "openai") -> dict[str, Any]:
        return {**make_deployment(provider, model=model, dialect=dialect), "provider": row}

    def ranker(operation: str, path: str) -> dict[str, Any]:
        return {"dialect": "openai", "base_url": provider.url, "operations": {operation: path}}

    config = make_config(
        make_model("gpt", make_deployment(provider), price=PRICE),
        make_model("goog", make_deployment(provider, dialect="gemini"), price=PRICE),
        make_model("vertex", at("only-predict", "text-embedding-005", "gemini"), price=PRICE),
        make_model("cohere", at("only-embed", dialect="cohere"), price=PRICE),
        make_model("titan", make_deployment(provider, dialect="bedrock", model=TITAN), price=PRICE),
        make_model("amazon-cohere", make_deployment(provider, dialect="bedrock", model=COHERE), price=PRICE),
        make_model("busy", make_deployment(provider, "status=429;error_message=slow down", dialect="gemini")),
        make_model("broken", make_deployment(provider, "body=garbage", dialect="gemini")),
        make_model("claude", make_deployment(provider, dialect="anthropic")),
        make_model("rank-cohere", make_deployment(provider), price={"per_search": 0.002}),
        *[
            make_model(
                f"rank-{name}", {"provider": name, "base_url": provider.url, "model": "up", "api_key": "none"}
            )
            for name in ("voyage-like", "tei-like", "nim-like")
        ],
        make_model("rank-amazon", make_deployment(provider, dialect="bedrock", model="cohere.rerank-v3-5:0")),
        providers={
            "only-predict": {
                "dialect": "gemini",
                "base_url": provider.url,
                "operations": {"predict": "/v1beta/models/{model}:predict"},
            },
            "only-embed": {
                "dialect": "cohere",
                "base_url": provider.url,
                "operations": {"cohere_embed": "/v2/embed"},
            },
            "voyage-like": ranker("voyage_rerank", "/v1/rerank"),
            "tei-like": ranker("tei_rerank", "/rerank"),
            "nim-like": ranker("nim_ranking", "/v1/ranking"),
        },
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


@pytest.fixture(scope="module")
def gpt(gateway: Gateway, key: Key) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key.secret, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def co(gateway: Gateway, key: Key) -> Iterator[cohere.ClientV2]:
    with cohere.ClientV2(api_key=key.secret, base_url=gateway.url) as client:
        yield client


@pytest.mark.parametrize("model", EMBEDDERS)
def test_openai_embeds_at_everybody(gpt: openai.OpenAI, model: str) -> None:
    floats = gpt.embeddings.create(model=model, input=["a", "b"], dimensions=8, encoding_format="float")
    # The client asks for base64 by itself and unpacks it.
    packed = gpt.embeddings.create(model=model, input=["a", "b"], dimensions=8)
    assert [item.index for item in floats.data] == [0, 1]
    assert len(floats.data[0].embedding) == 8
    assert floats.data[0].embedding != floats.data[1].embedding
    for one, other in zip(floats.data, packed.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
    assert floats.usage.prompt_tokens > 0


def test_packed_vectors_are_little_endian_floats(gateway: Gateway, key: Key) -> None:
    body = {"model": "goog", "input": "a", "dimensions": 4, "encoding_format": "base64"}
    answer = gateway.http.post("/v1/embeddings", json=body, headers=key.bearer).json()
    plain = gateway.http.post(
        "/v1/embeddings", json={**body, "encoding_format": "float"}, headers=key.bearer
    ).json()
    unpacked = struct.unpack("<4f", base64.b64decode(answer["data"][0]["embedding"]))
    assert unpacked == pytest.approx(plain["data"][0]["embedding"], abs=1e-6)


def test_titan_takes_one_text(gateway: Gateway, gpt: openai.OpenAI) -> None:
    one = gpt.embeddings.create(model="titan", input="a", dimensions=8)
    assert len(one.data[0].embedding) == 8
    with pytest.raises(openai.BadRequestError, match="more than one input per request"):
        gpt.embeddings.create(model="titan", input=["a", "b"])


@pytest.mark.parametrize("model", [*EMBEDDERS, "titan"])
def test_google_embeds_at_everybody(gateway: Gateway, key: Key, model: str) -> None:
    google = genai.Client(api_key=key.secret, http_options=types.HttpOptions(base_url=gateway.url))
    config = types.EmbedContentConfig(output_dimensionality=8, task_type="RETRIEVAL_QUERY")
    texts: Any = ["a"] if model == "titan" else ["a", "b"]
    answer = google.models.embed_content(model=model, contents=texts, config=config)
    assert answer.embeddings is not None
    assert [len(one.values or []) for one in answer.embeddings] == [8] * len(texts)
    body = {"content": {"parts": [{"text": "a"}]}, "outputDimensionality": 8}
    single = gateway.http.post(f"/v1beta/models/{model}:embedContent", json=body, headers=key.bearer)
    assert len(single.json()["embedding"]["values"]) == 8


@pytest.mark.parametrize("model", EMBEDDERS)
def test_cohere_embeds_at_everybody(co: cohere.ClientV2, model: str) -> None:
    answer = co.embed(
        model=model,
        texts=["a", "b"],
        input_type="search_query",
        embedding_types=["float"],
        output_dimension=8,
    )
    assert [len(vector) for vector in answer.embeddings.float_ or []] == [8, 8]
    assert answer.texts == ["a", "b"]


def test_what_cannot_be_said_is_told(gateway: Gateway, key: Key) -> None:
    def post(path: str, body: dict[str, Any]) -> Any:
        return gateway.http.post(path, json=body, headers=key.bearer)

    answer = post("/v1/embeddings", {"model": "goog", "input": "a", "user": "u", "truncate": "END"})
    assert answer.status_code == 200
    assert answer.headers["x-ailink-dropped"] == "user, truncate"
    refused = [
        ({"model": "goog", "input": [[1, 2]]}, "input", "texts as tokens"),
        ({"model": "goog", "input": "a", "dimensions": "x"}, "dimensions", "a whole number"),
        ({"model": "goog", "input": []}, "input", "nothing to embed"),
    ]
    for body, parameter, text in refused:
        answer = post("/v1/embeddings", body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, parameter), answer.text
        assert text in answer.json()["error"]["message"]
    types_ = post("/v2/embed", {"model": "goog", "texts": ["a"], "embedding_types": ["int8"]})
    assert types_.status_code == 400
    assert "embedding_types" in types_.json()["message"]
    none = post("/v1/embeddings", {"model": "claude", "input": "a"})
    assert none.status_code == 400
    assert "no deployment" in none.json()["error"]["message"]


def test_failures_are_told_in_the_callers_words(gateway: Gateway, key: Key) -> None:
    body = {"model": "busy", "input": "a"}
    busy = gateway.http.post("/v1/embeddings", json=body, headers=key.bearer)
    assert (busy.status_code, busy.json()["error"]["message"]) == (429, "slow down")
    broken = gateway.http.post("/v1/embeddings", json={**body, "model": "broken"}, headers=key.bearer)
    assert (broken.status_code, broken.json()["error"]["code"]) == (502, "upstream_invalid_response")


@pytest.mark.parametrize(
    "model", ["rank-cohere", "rank-voyage-like", "rank-tei-like", "rank-nim-like", "rank-amazon"]
)
def test_rankings_have_one_shape(gateway: Gateway, key: Key, co: cohere.ClientV2, model: str) -> None:
    body = {"model": model, "query": "q", "documents": ["a", "b", "c"], "top_n": 2, "return_documents": True}
    for path in ("/v1/rerank", "/v2/rerank"):
        answer = gateway.http.post(path, json=body, headers=key.bearer)
        assert answer.status_code == 200, answer.text
        results = answer.json()["results"]
        assert len(results) == 2
        scores = [result["relevance_score"] for result in results]
        assert scores == sorted(scores, reverse=True)
        assert [result["document"]["text"] for result in results] == [
            "abc"[result["index"]] for result in results
        ]
    ranked = co.rerank(model=model, query="q", documents=["a", "b", "c"], top_n=1)
    assert len(ranked.results) == 1


def test_the_ledger_knows_what_was_reported(gateway: Gateway, provider: MockProvider) -> None:
    key = gateway.mint()

    def post(path: str, body: dict[str, Any]) -> Any:
        answer = gateway.http.post(path, json=body, headers=key.bearer)
        assert answer.status_code == 200
        return answer

    titan = post("/v1/embeddings", {"model": "titan", "input": "some text"})
    count = titan.json()["usage"]["prompt_tokens"]
    assert float(titan.headers["x-ailink-cost"]) == pytest.approx(count / 1e6)
    ranked = post("/v1/rerank", {"model": "rank-cohere", "query": "q", "documents": ["a"]})
    assert float(ranked.headers["x-ailink-cost"]) == pytest.approx(0.002)

"""Images of Google's and Bedrock's models, asked for by OpenAI's client."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from tests.harness import AWS_KEY, Gateway, make_config, make_model, until
from tests.harness.canned import CannedProvider

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0").decode()
PRICES: dict[str, Any] = {
    "image": {"per_image": 0.04},
    "tokens": {"input_per_million": 0.3, "output_per_million": 2.5, "image_output_per_million": 30},
}
ANSWERS: dict[str, Any] = {
    "imagen": {
        "predictions": [
            {"bytesBase64Encoded": PNG, "mimeType": "image/png", "prompt": "a better cat"},
            {"bytesBase64Encoded": PNG, "mimeType": "image/png"},
        ]
    },
    "filtered": {"predictions": [{"raiFilteredReason": "not allowed"}]},
    "gemini": {
        "candidates": [
            {
                "content": {
                    "role": "model",
                    "parts": [
                        {"text": "draft", "thought": True},
                        {"inlineData": {"mimeType": "image/jpeg", "data": JPEG}},
                    ],
                },
                "finishReason": "STOP",
            }
        ],
        "usageMetadata": {
            "promptTokenCount": 7,
            "candidatesTokenCount": 1290,
            "totalTokenCount": 1297,
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}],
        },
    },
    "canvas": {"images": [PNG], "error": None},
    "stability": {"images": [JPEG], "finish_reasons": [None], "seeds": [3]},
}


@pytest.fixture(scope="module")
def canned() -> Iterator[CannedProvider]:
    with CannedProvider() as provider:
        for name, answer in ANSWERS.items():
            body = json.dumps(answer).encode()
            head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            provider.answers[name] = head.encode() + body
        yield provider


@pytest.fixture(scope="module")
def gateway(canned: CannedProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    def google(name: str, model: str, price: Any) -> Any:
        deployment = {"provider": "gemini", "base_url": canned.base(name), "api_key": "k", "model": model}
        return make_model(name, {**deployment, "price": price})

    def amazon(name: str, model: str) -> Any:
        place = {"region": "us-east-1", "api_key": AWS_KEY, "base_url": canned.base(name)}
        return make_model(name, {"provider": "bedrock", "model": model, "price": PRICES["image"], **place})

    config = make_config(
        google("imagen", "imagen-4.0-generate-001", PRICES["image"]),
        google("filtered", "imagen-4.0-generate-001", PRICES["image"]),
        google("gemini", "gemini-2.5-flash-image", PRICES["tokens"]),
        amazon("canvas", "amazon.nova-canvas-v1:0"),
        amazon("stability", "stability.sd3-5-large-v1:0"),
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


def ask(gateway: Gateway, model: str, **more: Any) -> tuple[Any, dict[str, Any]]:
    """The client's answer, and the row in the ledger."""
    key = gateway.mint()
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key.secret, max_retries=0) as client:
        answer = client.images.generate(model=model, prompt="a cat", **more)

    def found() -> list[dict[str, Any]]:
        return gateway.spend_logs(api_key=key.token)

    (row,) = until(found, "a row")
    return answer, row


def sent(canned: CannedProvider, name: str) -> Any:
    return json.loads(canned.requests[name][-1].split(b"\r\n\r\n", 1)[1])


def test_imagen(gateway: Gateway, canned: CannedProvider) -> None:
    answer, row = ask(gateway, "imagen", n=2, size="1792x1024", output_format="jpeg", user="u")
    assert [image.b64_json for image in answer.data] == [PNG, PNG]
    assert answer.data[0].revised_prompt == "a better cat"
    assert sent(canned, "imagen") == {
        "instances": [{"prompt": "a cat"}],
        "parameters": {"sampleCount": 2, "aspectRatio": "16:9", "outputOptions": {"mimeType": "image/jpeg"}},
    }
    assert canned.requests["imagen"][-1].startswith(
        b"POST /imagen/v1beta/models/imagen-4.0-generate-001:predict "
    )
    assert row["spend"] == "0.08"


def test_gemini(gateway: Gateway, canned: CannedProvider) -> None:
    answer, row = ask(gateway, "gemini", size="1024x1024", response_format="url")
    assert answer.data[0].url == f"data:image/jpeg;base64,{JPEG}"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (7, 1290)
    assert sent(canned, "gemini")["generationConfig"] == {
        "responseModalities": ["IMAGE"],
        "imageConfig": {"aspectRatio": "1:1"},
    }
    assert row["spend"] == "0.0387021"


def test_bedrock(gateway: Gateway, canned: CannedProvider) -> None:
    answer, row = ask(gateway, "canvas", size="512x768", quality="high")
    assert answer.data[0].b64_json == PNG
    assert sent(canned, "canvas") == {
        "taskType": "TEXT_IMAGE",
        "textToImageParams": {"text": "a cat"},
        "imageGenerationConfig": {"numberOfImages": 1, "quality": "premium", "width": 512, "height": 768},
    }
    assert row["spend"] == "0.04"
    answer, _ = ask(gateway, "stability", extra_body={"negative_prompt": "dogs", "aspect_ratio": "21:9"})
    assert answer.data[0].b64_json == JPEG
    assert sent(canned, "stability") == {
        "prompt": "a cat",
        "negative_prompt": "dogs",
        "aspect_ratio": "21:9",
    }


def test_what_cannot_be(gateway: Gateway) -> None:
    with pytest.raises(openai.BadRequestError, match="several images") as refused:
        ask(gateway, "gemini", n=2)
    assert refused.value.param == "n"
    with pytest.raises(openai.BadRequestError, match="size"):
        ask(gateway, "imagen", size="large")
    with pytest.raises(openai.InternalServerError, match="not allowed"):
        ask(gateway, "filtered")


def test_what_is_lost_is_told(gateway: Gateway) -> None:
    key = gateway.mint()
    body = {"model": "gemini", "prompt": "x", "style": "vivid", "size": "1000x900", "output_format": "png"}
    answer = gateway.http.post("/v1/images/generations", json=body, headers=key.bearer)
    assert set(answer.headers["x-ailink-dropped"].split(", ")) == {"style", "size", "output_format"}

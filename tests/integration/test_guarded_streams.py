"""Guarded streams as the official SDKs read them: redacted, stopped, and held, in every dialect."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NamedTuple

import anthropic
import boto3
import cohere
import openai
import pytest
from botocore.config import Config
from botocore.exceptions import EventStreamError
from google import genai
from google.genai import errors as google_errors
from tests.harness import Gateway, MockProvider, make_config, make_deployment, make_model

CARD = "4111 1111 1111 1111"
SAYS = {
    "card": f"text=pay with {CARD} today please",
    "word": "text=see the bluebird over there now",
}
MODELS = {
    "redacted": ("card", {"presets": ["cards"], "action": "redact"}),
    "masked": ("card", {"presets": ["cards"], "action": "mask"}),
    "stopped": ("word", {"words": ["bluebird"], "action": "block"}),
    "held": ("word", {"words": ["bluebird"], "action": "block", "stream": "hold"}),
}
DIALECTS = ["openai", "responses", "anthropic", "gemini", "cohere", "bedrock"]


class Heard(NamedTuple):
    """What a client makes of a stream."""

    text: str
    finish: str | None
    error: str | None


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = make_config(
        *(
            make_model(
                f"{dialect}-{name}",
                make_deployment(provider, SAYS[says], dialect=dialect, model=name),
                guardrails=[name],
            )
            for dialect in DIALECTS
            for name, (says, _) in MODELS.items()
        ),
        guardrails=[{"name": name, "scan": ["output"], **rule} for name, (_, rule) in MODELS.items()],
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def secret(gateway: Gateway) -> str:
    return gateway.mint().secret


def by_chat(gateway: Gateway, secret: str, model: str) -> Heard:
    text, finish = "", None
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=secret, max_retries=0) as client:
        try:
            for chunk in client.chat.completions.create(
                model=f"openai-{model}", messages=[{"role": "user", "content": "hi"}], stream=True
            ):
                for choice in chunk.choices:
                    text += choice.delta.content or ""
                    finish = choice.finish_reason or finish
        except openai.APIError as error:
            return Heard(text, finish, error.message)
    return Heard(text, finish, None)


def by_completions(gateway: Gateway, secret: str, model: str) -> Heard:
    text, finish = "", None
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=secret, max_retries=0) as client:
        try:
            for chunk in client.completions.create(model=f"openai-{model}", prompt="hi", stream=True):
                for choice in chunk.choices:
                    text += choice.text
                    finish = choice.finish_reason or finish
        except openai.APIError as error:
            return Heard(text, finish, error.message)
    return Heard(text, finish, None)


def by_responses(gateway: Gateway, secret: str, model: str) -> Heard:
    text, finish, error = "", None, None
    with (
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=secret, max_retries=0) as client,
        client.responses.stream(model=f"responses-{model}", input="hi") as stream,
    ):
        for event in stream:
            if event.type == "response.output_text.delta":
                text += event.delta
            elif event.type == "response.completed":
                finish = event.response.status
                assert event.response.output_text == text
            elif event.type == "response.incomplete":
                assert event.response.incomplete_details is not None
                finish = event.response.incomplete_details.reason
            elif event.type == "error":
                error = event.message
    return Heard(text, finish, error)


def by_messages(gateway: Gateway, secret: str, model: str) -> Heard:
    text, finish = "", None
    hi: Any = [{"role": "user", "content": "hi"}]
    with anthropic.Anthropic(base_url=gateway.url, api_key=secret, max_retries=0) as client:
        try:
            with client.messages.stream(model=f"anthropic-{model}", max_tokens=99, messages=hi) as stream:
                for event in stream:
                    if event.type == "text":
                        text += event.text
                    elif event.type == "message_delta":
                        finish = event.delta.stop_reason
        except anthropic.APIError as error:
            return Heard(text, finish, str(error))
    return Heard(text, finish, None)


def by_gemini(gateway: Gateway, secret: str, model: str) -> Heard:
    text, finish = "", None
    with closing(genai.Client(api_key=secret, http_options={"base_url": gateway.url})) as client:
        try:
            for chunk in client.models.generate_content_stream(model=f"gemini-{model}", contents="hi"):
                for candidate in chunk.candidates or []:
                    for part in (candidate.content and candidate.content.parts) or []:
                        text += part.text or ""
                    finish = candidate.finish_reason.value if candidate.finish_reason else finish
        except google_errors.APIError as error:
            return Heard(text, finish, str(error))
    return Heard(text, finish, None)


def by_cohere(gateway: Gateway, secret: str, model: str) -> Heard:
    text, finish, error = "", None, None
    hi: Any = [{"role": "user", "content": "hi"}]
    with cohere.ClientV2(api_key=secret, base_url=gateway.url) as client:
        for event in client.chat_stream(model=f"cohere-{model}", messages=hi):
            if event.type == "content-delta":
                text += event.delta.message.content.text
            elif event.type == "message-end":
                finish, error = event.delta.finish_reason, event.delta.error
    return Heard(text, finish, error)


def by_converse(gateway: Gateway, secret: str, model: str) -> Heard:
    made = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=gateway.url,
        aws_access_key_id="unused",
        aws_secret_access_key="unused",
        config=Config(retries={"total_max_attempts": 1}),
    )
    made.meta.events.register(
        "before-send", lambda request, **_: request.headers.__setitem__("Authorization", f"Bearer {secret}")
    )
    text, finish = "", None
    hi: Any = [{"role": "user", "content": [{"text": "hi"}]}]
    with closing(made) as client:
        answer = client.converse_stream(modelId=f"bedrock-{model}", messages=hi)
        with closing(answer["stream"]) as stream:
            try:
                for event in stream:
                    text += event.get("contentBlockDelta", {}).get("delta", {}).get("text", "")
                    finish = event.get("messageStop", {}).get("stopReason", finish)
            except EventStreamError as error:
                return Heard(text, finish, str(error))
    return Heard(text, finish, None)


Client = Callable[[Gateway, str, str], Heard]
CLIENTS: dict[str, tuple[Client, str, str]] = {
    # What a good and what a stopped answer end with.
    "chat": (by_chat, "stop", "content_filter"),
    "completions": (by_completions, "stop", "content_filter"),
    "responses": (by_responses, "completed", "content_filter"),
    "messages": (by_messages, "end_turn", "refusal"),
    "gemini": (by_gemini, "STOP", "SAFETY"),
    "cohere": (by_cohere, "COMPLETE", "ERROR"),
    "converse": (by_converse, "end_turn", "guardrail_intervened"),
}


@pytest.mark.parametrize("name", CLIENTS)
def test_what_is_cut_out_leaves_a_stream_that_the_sdk_reads(gateway: Gateway, secret: str, name: str):
    client, good, _ = CLIENTS[name]
    assert client(gateway, secret, "redacted") == Heard("pay with [CARD] today please", good, None)
    assert client(gateway, secret, "masked") == Heard("pay with **** **** **** 1111 today please", good, None)


@pytest.mark.parametrize("name", CLIENTS)
def test_what_blocks_ends_the_stream_with_reason_and_error(gateway: Gateway, secret: str, name: str):
    client, _, reason = CLIENTS[name]
    heard = client(gateway, secret, "stopped")
    assert (heard.text, heard.finish) == ("see the ", reason)
    assert "Guardrail 'stopped' blocked this answer" in str(heard.error)
    assert "bluebird" not in str(heard.error)


@pytest.mark.parametrize("name", CLIENTS)
def test_of_what_is_held_nothing_leaves(gateway: Gateway, secret: str, name: str):
    client, _, reason = CLIENTS[name]
    heard = client(gateway, secret, "held")
    assert (heard.text, heard.finish) == ("", reason)
    assert "Guardrail 'held' blocked this answer" in str(heard.error)


def test_what_was_found_is_reported_for_every_dialect(gateway: Gateway, secret: str):
    before = reported(gateway)
    for client, _, _ in CLIENTS.values():
        client(gateway, secret, "stopped")
    assert reported(gateway) - before == len(CLIENTS)


def reported(gateway: Gateway) -> int:
    rules: list[dict[str, Any]] = gateway.call("/guardrails/report", rule="stopped")["rules"]
    return sum(int(row["output"]) for row in rules)

"""Guardrails in realtime sessions: what the caller sends, what is answered, and sound by its transcript."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.harness import Gateway, Key, MockProvider, make_config, make_deployment, make_model, until
from tests.integration.test_realtime import CREATE, dial, event, refusal, until_event
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

MAIL = "jane.doe@example.org"
ANSWER = f"write to {MAIL} today"
WRITTEN = {"type": "session.update", "session": {"audio": {"input": {"transcription": {"model": "w"}}}}}
COMMIT = {"type": "input_audio_buffer.commit"}


def rule(name: str, side: str, action: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "presets": ["email"], "scan": [side], "action": action, **more}


RULES = [
    rule("in-block", "input", "block"),
    rule("in-redact", "input", "redact"),
    rule("in-strict", "input", "block", unscannable="block"),
    rule("in-open", "input", "block", unscannable="allow"),
    rule("in-flag", "input", "flag"),
    rule("out-block", "output", "block"),
    rule("out-hold", "output", "block", stream="hold"),
    rule("out-redact", "output", "redact"),
    rule("out-strict", "output", "redact", unscannable="block"),
    rule("out-open", "output", "redact", unscannable="allow"),
    rule("out-shadow", "output", "block", mode="shadow"),
    {"name": "words", "words": ["today"], "scan": ["output"], "action": "redact", "label": "WHEN"},
    {"name": "checked", "checks": [{"contains": {"words": ["bluebird"], "operator": "none"}}]},
]


@pytest.fixture(scope="module")
def gateway(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    deployment = make_deployment(provider, f"text={ANSWER}", model="up-rt")
    config = make_config(
        make_model("rt", deployment),
        make_model("two", deployment, guardrails=["out-redact", "words"]),
        make_model("calm", make_deployment(provider, "text=all is well", model="up-rt")),
        guardrails=RULES,
    )
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as running:
        yield running


@pytest.fixture(scope="module")
def keys(gateway: Gateway) -> dict[str, Key]:
    return {rule["name"]: gateway.mint(guardrails=[rule["name"]]) for rule in RULES}


def say(text: str, **more: Any) -> dict[str, Any]:
    content = [{"type": "input_text", "text": text}]
    return {
        "type": "conversation.item.create",
        "item": {"type": "message", "role": "user", "content": content},
        **more,
    }


def sound(words: str) -> dict[str, Any]:
    return {"type": "input_audio_buffer.append", "audio": base64.b64encode(words.encode()).decode()}


async def send(socket: ClientConnection, *events: dict[str, Any]) -> None:
    for one in events:
        await socket.send(json.dumps(one))


async def rest(socket: ClientConnection) -> tuple[list[dict[str, Any]], int | None]:
    """All events to the end of a session, and the code it was closed with."""
    events = []
    try:
        while True:
            events.append(await event(socket))
    except ConnectionClosed as closed:
        return events, closed.rcvd.code if closed.rcvd else None


async def response(socket: ClientConnection) -> list[dict[str, Any]]:
    """The events of one response."""
    await send(socket, CREATE)
    events = [await until_event(socket, "response.created")]
    while events[-1]["type"] != "response.done":
        events.append(await event(socket))
    return events


def spoken(events: list[dict[str, Any]], kind: str = "response.output_text.delta") -> str:
    return "".join(one["delta"] for one in events if one["type"] == kind)


def whole(events: list[dict[str, Any]]) -> str:
    (content,) = events[-1]["response"]["output"][0]["content"]
    return str(content.get("text") or content["transcript"])


def verdicts(gateway: Gateway, name: str, key: Key) -> list[dict[str, Any]]:
    latest = gateway.call("/guardrails/report")["latest"]
    return [one for one in latest if one["rule"] == name and one["key"] == key.id]


async def test_what_the_caller_writes_is_looked_at(gateway, keys) -> None:
    async with dial(gateway, keys["in-block"].secret) as socket:
        await until_event(socket, "session.created")
        await send(socket, say(f"to {MAIL}", event_id="mine"))
        told = await until_event(socket, "error")
        assert told["error"]["code"] == "content_policy_violation"
        assert told["error"]["event_id"] == "mine"
        assert told["error"]["param"] == "item.content[0].text"
        assert MAIL not in str(told)
        for forbidden in (
            {"type": "session.update", "session": {"instructions": f"You are {MAIL}."}},
            {"type": "response.create", "response": {"instructions": f"Greet {MAIL}."}},
            {"type": "what.nobody.knows", "deep": [{"er": f"m\u0430il {MAIL}"}]},
        ):
            await send(socket, forbidden)
            assert (await event(socket))["type"] == "error"
        await socket.send("no JSON")
        assert (await event(socket))["error"]["code"] == "invalid_json"
        await socket.send('{"type":"response.create","response":{"a":1,"a":2}}')
        assert (await event(socket))["error"]["code"] == "invalid_json"
        # The session goes on, and nothing of it has arrived.
        await send(socket, say("nothing special"))
        added = await until_event(socket, "conversation.item.added")
        assert added["item"]["content"][0]["text"] == "nothing special"
        assert (await response(socket))[-1]["type"] == "response.done"
    assert {one["side"] for one in verdicts(gateway, "in-block", keys["in-block"])} == {"input"}


async def test_what_the_caller_writes_is_rewritten(gateway, keys) -> None:
    async with dial(gateway, keys["in-redact"].secret) as socket:
        await send(socket, say(f"to {MAIL}"))
        added = await until_event(socket, "conversation.item.added")
        assert added["item"]["content"][0]["text"] == "to [EMAIL]"
    async with dial(gateway, keys["in-flag"].secret) as socket:
        await send(socket, say(f"to {MAIL}"))
        added = await until_event(socket, "conversation.item.added")
        assert added["item"]["content"][0]["text"] == f"to {MAIL}"
    until(lambda: len(verdicts(gateway, "in-flag", keys["in-flag"])) == 1, "it is told once")


async def test_bytes_that_are_no_text_end_the_session(gateway, keys) -> None:
    async with dial(gateway, keys["in-block"].secret) as socket:
        await until_event(socket, "session.created")
        await socket.send(b"\xff\xfe")
        assert (await rest(socket))[1] == 1003


async def test_sound_is_looked_at_by_its_transcript(gateway, keys) -> None:
    async with dial(gateway, keys["in-block"].secret) as socket:
        await until_event(socket, "session.created")
        await send(socket, sound("fine"))
        told = await until_event(socket, "error")
        assert "transcription" in told["error"]["message"]
        # What is sent behind the update waits for the provider to say that it writes.
        await send(socket, WRITTEN, sound("all is fine"), COMMIT)
        kinds = [(await event(socket))["type"] for _ in range(5)]
        part = "conversation.item.input_audio_transcription.delta"
        done = "conversation.item.input_audio_transcription.completed"
        assert kinds == ["session.updated", "input_audio_buffer.committed", part, part, done]
        # It cannot be switched off again.
        await send(
            socket, {"type": "session.update", "session": {"audio": {"input": {"transcription": None}}}}
        )
        assert (await event(socket))["error"]["param"] == "session"
        await send(socket, sound(f"to {MAIL}"), COMMIT)
        events, code = await rest(socket)
        assert [one["type"] for one in events] == ["input_audio_buffer.committed", "error"]
        assert (events[-1]["error"]["code"], code) == ("content_policy_violation", 1008)
        assert MAIL not in str(events)


async def test_transcripts_are_rewritten(gateway, keys) -> None:
    async with dial(gateway, keys["in-redact"].secret) as socket:
        await send(socket, WRITTEN, sound(f"to {MAIL}"), COMMIT)
        await until_event(socket, "input_audio_buffer.committed")
        told = await event(socket)
        assert told["transcript"] == "to [EMAIL]"
        assert told["type"] == "conversation.item.input_audio_transcription.completed"


async def test_sound_follows_unscannable(gateway, keys) -> None:
    async with dial(gateway, keys["in-strict"].secret) as socket:
        await send(socket, WRITTEN, sound("fine"))
        told = await until_event(socket, "error")
        assert "cannot look into sound" in told["error"]["message"]
        image = [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]
        await send(socket, {**say(""), "item": {"type": "message", "role": "user", "content": image}})
        told = await until_event(socket, "error")
        assert told["error"]["param"] == "item.content[0].image_url"
    async with dial(gateway, keys["in-open"].secret) as socket:
        await send(socket, sound("fine"), COMMIT)
        await until_event(socket, "input_audio_buffer.committed")
        # Its text is looked at all the same.
        await send(socket, say(f"to {MAIL}"))
        assert (await event(socket))["type"] == "error"


async def test_answers_are_looked_at(gateway, keys) -> None:
    async with dial(gateway, keys["out-redact"].secret) as socket:
        for _ in range(2):
            events = await response(socket)
            assert spoken(events) == whole(events) == "write to [EMAIL] today"
            assert "jane" not in str(events)
    async with dial(gateway, keys["out-redact"].secret, "model=two") as socket:
        events = await response(socket)
        assert spoken(events) == whole(events) == "write to [EMAIL] [WHEN]"
    for name, before in (("out-block", "write to "), ("out-hold", "")):
        async with dial(gateway, keys[name].secret) as socket:
            await send(socket, CREATE)
            events, code = await rest(socket)
            assert (spoken(events), code) == (before, 1008), events
            assert events[-1]["error"]["code"] == "content_policy_violation"
            assert "jane" not in str(events)
    async with dial(gateway, keys["out-shadow"].secret) as socket:
        assert MAIL in whole(await response(socket))
    (told,) = verdicts(gateway, "out-shadow", keys["out-shadow"])
    assert (told["shadow"], told["side"]) == (True, "output")


@pytest.mark.parametrize("name", ["out-redact", "out-block", "out-strict", "out-open"])
async def test_sound_of_answers_waits_for_what_it_says(gateway, keys, name) -> None:
    audio = {"type": "session.update", "session": {"output_modalities": ["audio"]}}
    kinds = ("response.output_audio.delta", "response.output_audio_transcript.delta")
    async with dial(gateway, keys[name].secret) as socket:
        await send(socket, audio)
        await until_event(socket, "session.updated")
        if name in {"out-block", "out-strict"}:
            await send(socket, CREATE)
            events, code = await rest(socket)
            assert [one["type"] for one in events] == ["response.created", "error"]
            assert code == 1008
            return
        events = await response(socket)
        assert spoken(events, kinds[1]) == whole(events) == "write to [EMAIL] today"
        # Where something was cut out, what says it is not heard.
        assert bool(spoken(events, kinds[0])) == (name == "out-open")


async def test_sound_that_says_nothing_forbidden_is_heard(gateway, keys) -> None:
    audio = {"type": "session.update", "session": {"output_modalities": ["audio"]}}
    async with dial(gateway, keys["out-redact"].secret, "model=calm") as socket:
        await send(socket, audio)
        await until_event(socket, "session.updated")
        events = await response(socket)
        assert spoken(events, "response.output_audio.delta")
        assert spoken(events, "response.output_audio_transcript.delta") == "all is well"


async def test_checks_are_not_made_in_sessions(gateway, keys) -> None:
    refused = await refusal(dial(gateway, keys["checked"].secret))
    assert refused.status_code == 403
    assert "checks" in refused.body.decode()

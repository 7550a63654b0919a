"""The bytes that go in and come out: the same for every system, whatever its model is called."""

import json
from dataclasses import dataclass

# Prose of no meaning, ASCII, without characters that JSON must escape.
WORDS = (
    "The courier left the harbour before dawn and followed the river road past the mill, counting bridges, "
    "while the town behind her woke to bells, carts and the smell of bread. "
)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Size of a chat request: bytes of the whole body, number of messages, streamed or not."""

    size: int
    messages: int
    stream: bool = False


SMALL = Shape(size=1024, messages=2)
LARGE = Shape(size=16 * 1024, messages=11)
STREAM = Shape(size=1024, messages=2, stream=True)


def chat(model: str, shape: Shape) -> bytes:
    """A chat completion request of exactly `shape.size` bytes."""
    body: dict[str, object] = {"model": model, "temperature": 0.7, "max_tokens": 256}
    if shape.stream:
        # Asked for by the client, so that systems that need usage for accounting have nothing to insert or
        # hide.
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    roles = ["system", *(("user", "assistant") * shape.messages)[: shape.messages - 1]]
    empty = len(_encode(body | {"messages": [{"role": role, "content": ""} for role in roles]}))
    room = shape.size - empty
    if room < shape.messages:
        raise ValueError(f"{shape.size} bytes are too few for {shape.messages} messages")
    share, rest = divmod(room, shape.messages)
    lengths = [share + (index < rest) for index in range(shape.messages)]
    contents = ((WORDS * (length // len(WORDS) + 1))[:length] for length in lengths)
    messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
    return _encode(body | {"messages": messages})


def canned_reply(model: str, size: int = 1200) -> bytes:
    """A chat completion of exactly `size` bytes, with usage."""
    answer = (WORDS * (size // len(WORDS) + 1))[:size]
    excess = len(_encode(_completion(model, answer))) - size
    return _encode(_completion(model, answer[: len(answer) - excess]))


def _completion(model: str, content: str) -> dict[str, object]:
    return {
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "object": "chat.completion",
        "created": 1767225600,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 213,
            "completion_tokens": 187,
            "total_tokens": 400,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "service_tier": "default",
        "system_fingerprint": "fp_44709d6fcb",
    }


def _encode(body: dict[str, object]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()

"""Pairs of requests that the cache must take for the same, and pairs that it must tell apart.

The models are those of `tests/integration/test_cache.py`. Every pair says the same text but for what it is
about.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from tests.harness.config import chat, message


class Ask(NamedTuple):
    body: Any
    key: str = "a"
    path: str = "/v1/chat/completions"
    headers: dict[str, str] = {}
    raw: bool = False
    files: Any = None


def on(model: str, key: str) -> Callable[[str], Ask]:
    return lambda mark: Ask(chat(model, mark), key)


def said(**more: Any) -> Callable[[str], Ask]:
    return lambda mark: Ask(chat("m", mark, **more))


def alone(**more: Any) -> Callable[[str], Ask]:
    """To a model whose deployments all speak OpenAI's format."""
    return lambda mark: Ask(chat("embeds", mark, **more))


def headed(**headers: str) -> Callable[[str], Ask]:
    return lambda mark: Ask(
        chat("m", mark), headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


def text(template: str) -> Callable[[str], Ask]:
    """A body as it is written; `@` is what is said."""
    return lambda mark: Ask(template.replace("@", mark).encode(), raw=True)


def claude(**more: Any) -> Callable[[str], Ask]:
    return lambda mark: Ask(message("m", mark, **more), path="/v1/messages")


def gemini(path: str = "/v1beta/models/m:generateContent", **more: Any) -> Callable[[str], Ask]:
    return lambda mark: Ask({"contents": [{"role": "user", "parts": [{"text": mark}]}], **more}, path=path)


def answer(path: str, **more: Any) -> Callable[[str], Ask]:
    return lambda mark: Ask({"model": "m", **more, **({"input": mark} if "embed" in path else {})}, path=path)


def rerank(**more: Any) -> Callable[[str], Ask]:
    body = {"model": "m", "documents": ["a", "b"], **more}
    return lambda mark: Ask({"query": mark, **body}, path="/v1/rerank")


def picture(**more: Any) -> Callable[[str], Ask]:
    return lambda mark: Ask({"model": "embeds", "prompt": mark, **more}, path="/v1/images/generations")


def upload(path: str, name: str = "a.bin", content: str = "", **fields: str) -> Callable[[str], Ask]:
    """A form; what it says goes into its file, behind `content`."""
    member = "image" if "images" in path else "file"

    def ask(mark: str) -> Ask:
        file = (name, f"{content}{mark}".encode(), "application/octet-stream")
        return Ask({"model": "embeds", **fields}, path=path, files={member: file})

    return ask


def heard(**fields: str) -> Callable[[str], Ask]:
    return upload("/v1/audio/transcriptions", "sound.wav", **fields)


def responses(**more: Any) -> Callable[[str], Ask]:
    return lambda mark: Ask({"model": "m", "input": mark, **more}, path="/v1/responses")


def converse(tail: str = "converse", **more: Any) -> Callable[[str], Ask]:
    said = {"role": "user", "content": [{"text": "@"}]}
    return lambda mark: Ask(
        {"messages": [{**said, "content": [{"text": mark}]}], **more}, path=f"/bedrock/model/m/{tail}"
    )


def cohere(**more: Any) -> Callable[[str], Ask]:
    return lambda mark: Ask(chat("m", mark, **more), path="/v2/chat")


def moderation(**more: Any) -> Callable[[str], Ask]:
    return lambda mark: Ask({"model": "embeds", "input": mark, **more}, path="/v1/moderations")


PLAIN = said()
SYSTEM = {"role": "system", "content": "s"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
TOOL_2 = {"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}
ROUND = text('{"model":"m","messages":[{"role":"user","content":"@"}],"temperature":1,"n":1}')

HITS: dict[str, tuple[Callable[[str], Ask], Callable[[str], Ask]]] = {
    "the same": (PLAIN, PLAIN),
    "an alias": (PLAIN, on("m-alias", "a")),
    "white space": (text('{"model":"m","messages":[{"role":"user","content":"@"}]}'), PLAIN),
    "order of members": (text('{"messages":[{"content":"@","role":"user"}],"model":"m"}'), PLAIN),
    "1.0 is 1": (
        ROUND,
        text(
            '{"model":"m","n":1,"messages":[{"role":"user","content":"@"}],"temperature":1.0}'.replace(
                "1.0e0", "1"
            )
        ),
    ),
    "0.70 is 7e-1": (
        text('{"model":"m","temperature":0.70,"messages":[{"role":"user","content":"@"}]}'),
        text('{"model":"m","temperature":7e-1,"messages":[{"role":"user","content":"@"}]}'),
    ),
    "escapes": (
        text('{"model":"m","messages":[{"role":"user","content":"\\u0061@"}]}'),
        text('{"model":"m","messages":[{"role":"user","content":"a@"}]}'),
    ),
    "null is nothing": (PLAIN, said(temperature=None)),
    "user": (PLAIN, said(user="somebody")),
    "metadata": (PLAIN, said(metadata={"a": "b"})),
    "stored or not": (PLAIN, said(store=True)),
    "prompt_cache_key": (PLAIN, said(prompt_cache_key="k")),
    "as a stream": (PLAIN, said(stream=True, stream_options={"include_usage": True})),
    "a stream's": (said(stream=True, stream_options={"include_usage": True}), PLAIN),
    "a stream with its usage": (said(stream=True), said(stream=True, stream_options={"include_usage": True})),
    "a stream without its usage": (
        said(stream=True, stream_options={"include_usage": True}),
        said(stream=True),
    ),
    "LiteLLM's ttl": (said(cache={"ttl": 60}), PLAIN),
    "Anthropic's metadata": (claude(), claude(metadata={"user_id": "u"})),
    "Anthropic's stream": (claude(), claude(stream=True)),
    "Google's stream": (gemini(), gemini("/v1beta/models/m:streamGenerateContent?alt=sse")),
    "Google's array": (gemini(), gemini("/v1beta/models/m:streamGenerateContent")),
    "the same path elsewhere": (PLAIN, lambda mark: Ask(chat("m", mark), path="/openai/v1/chat/completions")),
    "embeddings": (answer("/v1/embeddings"), answer("/v1/embeddings", user="u")),
    "rerank": (rerank(), rerank()),
    "a picture": (picture(), picture(user="u")),
    "a transcription": (heard(), heard(user="u")),
    "a file of another name": (
        heard(language="de"),
        upload("/v1/audio/transcriptions", "b.wav", language="de"),
    ),
    "a translation of sound": (upload("/v1/audio/translations"), upload("/v1/audio/translations")),
    "an edit": (upload("/v1/images/edits", prompt="p"), upload("/v1/images/edits", "b.png", prompt="p")),
    "a variation": (upload("/v1/images/variations"), upload("/v1/images/variations", user="u")),
    "Responses": (responses(), responses(metadata={"a": "b"}, user="u", safety_identifier="s")),
    "Responses as a stream": (responses(), responses(stream=True)),
    "a stream of Responses": (responses(stream=True), responses()),
    "Converse": (converse(), converse(requestMetadata={"a": "b"})),
    "Converse as a stream": (converse(), converse("converse-stream")),
    "a stream of Converse": (converse("converse-stream"), converse()),
    "Cohere as a stream": (cohere(), cohere(stream=True)),
    "a moderation": (moderation(), moderation(user="u")),
    "rerank as Cohere writes it": (rerank(top_n=1), rerank(top_n=1.0)),
    "keys of a team": (on("of-team", "t1"), on("of-team", "t1-too")),
    "keys of a user": (on("of-user", "u1"), on("of-user", "u1-too")),
    "teams of an organization": (on("of-org", "t1"), on("of-org", "t2")),
    "all keys": (on("shared", "a"), on("shared", "t3")),
    "the same namespace": (headed(x_ailink_cache_namespace="n"), headed(x_portkey_cache_namespace="n")),
    "a namespace in the body": (headed(x_ailink_cache_namespace="n"), said(cache={"namespace": "n"})),
    "young enough": (PLAIN, headed(cache_control="max-age=60")),
    "asked for": (
        lambda mark: Ask(chat("asked", mark, cache={"use-cache": True})),
        lambda mark: Ask(chat("asked", mark), headers={"x-portkey-cache": "simple"}),
    ),
    "what a refresh brought": (headed(cache_control="no-cache"), PLAIN),
}

MISSES: dict[str, tuple[Callable[[str], Ask], Callable[[str], Ask]]] = {
    "another text": (PLAIN, lambda mark: Ask(chat("m", f"{mark}."))),
    "another model": (PLAIN, on("other", "a")),
    "another key": (PLAIN, on("m", "b")),
    "a key of the same team": (on("m", "t1"), on("m", "t1-too")),
    "another team": (on("of-team", "t1"), on("of-team", "t2")),
    "without a team": (on("of-team", "a"), on("of-team", "b")),
    "another user": (on("of-user", "u1"), on("of-user", "u2")),
    "another organization": (on("of-org", "t1"), on("of-org", "t3")),
    "another namespace": (headed(x_ailink_cache_namespace="n"), headed(x_ailink_cache_namespace="m")),
    "no namespace": (headed(x_ailink_cache_namespace="n"), PLAIN),
    "a model of another namespace": (on("shared", "a"), on("apart", "a")),
    "temperature": (said(temperature=0), said(temperature=1)),
    "top_p": (PLAIN, said(top_p=0.5)),
    "max_tokens": (said(max_tokens=5), said(max_tokens=6)),
    "seed": (said(seed=9007199254740993), said(seed=9007199254740992)),
    "stop": (PLAIN, said(stop=["x"])),
    "n": (alone(), alone(n=2)),
    "logit_bias": (PLAIN, said(logit_bias={"1": 2})),
    "tools": (PLAIN, said(tools=[TOOL])),
    "other tools": (said(tools=[TOOL]), said(tools=[TOOL_2])),
    "order of tools": (said(tools=[TOOL, TOOL_2]), said(tools=[TOOL_2, TOOL])),
    "tool_choice": (said(tools=[TOOL]), said(tools=[TOOL], tool_choice="none")),
    "response_format": (PLAIN, said(response_format={"type": "json_object"})),
    "another schema": (said(response_format={"type": "json_object"}), said(response_format=SCHEMA)),
    "reasoning_effort": (PLAIN, said(reasoning_effort="high")),
    "an unknown parameter": (PLAIN, said(something_new=1)),
    "a system message": (
        PLAIN,
        lambda mark: Ask({"model": "m", "messages": [SYSTEM, *chat("m", mark)["messages"]]}),
    ),
    "another role": (
        PLAIN,
        lambda mark: Ask({"model": "m", "messages": [{"role": "system", "content": mark}]}),
    ),
    "a number for a text": (
        text('{"model":"m","messages":[{"role":"user","content":"@"}],"x":1}'),
        text('{"model":"m","messages":[{"role":"user","content":"@"}],"x":"1"}'),
    ),
    "structure in a text": (
        text('{"model":"m","messages":[{"role":"user","content":"@"}],"stop":["a","b"]}'),
        text('{"model":"m","messages":[{"role":"user","content":"@"}],"stop":["a\\",\\"b"]}'),
    ),
    "a beta of Anthropic's": (
        claude(),
        lambda mark: Ask(message("m", mark), path="/v1/messages", headers={"anthropic-beta": "b"}),
    ),
    "Anthropic's system": (claude(), claude(system="s")),
    "another endpoint": (PLAIN, claude()),
    "Google's config": (gemini(), gemini(generationConfig={"temperature": 0})),
    "dimensions": (answer("/v1/embeddings"), answer("/v1/embeddings", dimensions=8)),
    "top_n": (rerank(), rerank(top_n=1)),
    "other documents": (rerank(), rerank(documents=["b", "a"])),
    "another query of documents": (rerank(), lambda mark: rerank()(f"{mark}?")),
    "return_documents": (rerank(), rerank(return_documents=True)),
    "another prompt of a picture": (picture(), lambda mark: picture()(f"{mark}?")),
    "a picture's size": (picture(size="256x256"), picture(size="512x512")),
    "a picture's quality": (picture(), picture(quality="hd")),
    "how many pictures": (picture(), picture(n=2)),
    "a picture as data": (picture(), picture(response_format="b64_json")),
    "another sound": (heard(), upload("/v1/audio/transcriptions", "sound.wav", content="x")),
    "a transcription's language": (heard(language="de"), heard(language="en")),
    "a transcription's format": (heard(), heard(response_format="text")),
    "a transcription's prompt": (heard(), heard(prompt="names: Ada")),
    "a transcription, a translation": (heard(), upload("/v1/audio/translations", "sound.wav")),
    "another edit": (upload("/v1/images/edits", prompt="p"), upload("/v1/images/edits", prompt="q")),
    "another picture to edit": (
        upload("/v1/images/edits", prompt="p"),
        upload("/v1/images/edits", content="x", prompt="p"),
    ),
    "Responses' instructions": (responses(), responses(instructions="i")),
    "Responses' store": (responses(), responses(store=True)),
    "Responses' reasoning": (responses(), responses(reasoning={"effort": "high"})),
    "Responses, chat": (responses(), PLAIN),
    "Converse's system": (converse(), converse(system=[{"text": "s"}])),
    "Converse's tokens": (
        converse(inferenceConfig={"maxTokens": 5}),
        converse(inferenceConfig={"maxTokens": 6}),
    ),
    "Converse, chat": (converse(), PLAIN),
    "Cohere's documents": (cohere(), cohere(documents=["d"])),
    "Cohere's temperature": (cohere(temperature=0.1), cohere(temperature=0.2)),
    "another moderation": (moderation(), lambda mark: moderation()(f"{mark}?")),
    "with guardrails": (PLAIN, on("pii", "a")),
    "switched off": (on("uncached", "a"), on("uncached", "a")),
    "not asked for": (on("asked", "a"), on("asked", "a")),
    "not stored": (headed(cache_control="no-store"), PLAIN),
    "not stored, as LiteLLM says it": (said(cache={"no-store": True}), PLAIN),
    "refreshed": (PLAIN, headed(cache_control="no-cache")),
    "refreshed, as LiteLLM says it": (PLAIN, said(cache={"no-cache": True})),
    "refreshed, as Portkey says it": (PLAIN, headed(x_portkey_cache_force_refresh="true")),
}

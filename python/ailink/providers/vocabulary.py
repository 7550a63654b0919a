"""The closed vocabulary of provider rows. A provider that these words cannot describe needs a new word here
and in the data plane, not an exception in code."""

from typing import Final, Literal, get_args

Operation = Literal[
    "chat",
    "completions",
    "embeddings",
    "messages",
    "count_tokens",
    "moderations",
    "images_generations",
    "images_edits",
    "images_variations",
    "audio_speech",
    "audio_transcriptions",
    "audio_translations",
    "rerank",
    "fim",
    "responses",
    "generate_content",
    "stream_generate_content",
    "gemini_count_tokens",
    "embed_content",
    "batch_embed_contents",
    "cohere_chat",
    "cohere_embed",
    "converse",
    "converse_stream",
    "voyage_rerank",
    "tei_rerank",
    "nim_ranking",
    "predict",
    "invoke",
    "responses_input_tokens",
    "vertex_count_tokens",
    "realtime",
    "messages_stream",
    "invoke_stream",
    "pass_through",
    "bidi_generate_content",
]
"""What can be asked of a model."""

Dialect = Literal["openai", "anthropic", "gemini", "cohere", "bedrock"]
"""The wire format that a deployment speaks."""

AuthScheme = Literal["bearer", "token", "header", "query", "sigv4", "none"]
"""Where a credential goes: `Authorization: Bearer …` or `Token …`, a header of its own, a query parameter,
nowhere; or it signs the request (AWS Signature Version 4)."""

Cloud = Literal["aws", "google", "azure", "ibm", "oauth"]
"""Whose identities there are; `oauth`: any server's of OAuth 2."""

StreamUsage = Literal["inject", "builtin", "none"]
"""How a stream tells its token usage: only when asked by `stream_options`, always, or never."""

ErrorClass = Literal[
    "bad_request",
    "authentication",
    "not_found",
    "timeout",
    "rate_limit",
    "content_policy",
    "context_window",
    "server_error",
]
"""What a refusal is for retries, fallbacks and health."""

PATH_CHARACTERS: Final = r"[A-Za-z0-9._~!$&'()*+,;=:@/%-]"
"""What the path of a URL is made of (RFC 3986, 3.3)."""

SUFFIX: Final = rf"^/(?:{PATH_CHARACTERS}|[?{{}}])*\Z"
"""The path of an operation behind the base URL, query and placeholders too. `/../`: beside the base."""

Setting = Literal["account", "api_version", "project", "region"]
"""What a deployment can say about its place; fills the placeholder of the same name."""

SETTINGS: Final[tuple[Setting, ...]] = get_args(Setting)

UPLOADS: Final[frozenset[Operation]] = frozenset(
    {"audio_transcriptions", "audio_translations", "images_edits", "images_variations"}
)
"""Operations whose requests are forms: parameter rules do not reach into them."""

CARRIERS: Final = frozenset({"model", "messages", "prompt", "input", "query", "documents", "stream"})
"""Parameters that carry the request itself; no rule may speak about them."""

DIALECT_OPERATIONS: Final[dict[Dialect, frozenset[Operation]]] = {
    "anthropic": frozenset({"messages", "messages_stream", "count_tokens"}),
    "cohere": frozenset({"cohere_chat", "cohere_embed"}),
    "gemini": frozenset(
        {
            "generate_content",
            "stream_generate_content",
            "gemini_count_tokens",
            "embed_content",
            "batch_embed_contents",
            "predict",
            "vertex_count_tokens",
            "bidi_generate_content",
        }
    ),
    "bedrock": frozenset({"converse", "converse_stream", "invoke", "invoke_stream"}),
}
"""Operations that only one dialect has; all others are OpenAI's or its neighbours'."""

OWN: Final[frozenset[Operation]] = frozenset(
    {
        "voyage_rerank",
        "tei_rerank",
        "nim_ranking",
        "predict",
        "invoke",
        "vertex_count_tokens",
        "messages_stream",
        "pass_through",
    }
)
"""Providers' own shapes, which no client asks for by a path: other operations are rewritten to them."""

OPERATIONS: Final[tuple[Operation, ...]] = get_args(Operation)

"""What the author of a provider writes: a class with the calls that it serves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

Body = Mapping[str, Any]
"""A request or an answer in OpenAI's format."""


class ProviderError(Exception):
    """The caller is answered with this status and message."""

    def __init__(self, status: int, message: str, *, code: str | None = None) -> None:
        if not 400 <= status <= 599:
            raise ValueError(f"{status} is not the status of an error")
        self.status = status
        self.message = message
        self.code = code
        super().__init__(message)


class Provider:
    """A provider. Made once for each `providers` entry that names it, with the entry's `options`. All calls
    run in one event loop in a thread of its own, so that nothing it does can hold up anything else.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options

    async def chat(self, request: Body) -> Body | str:
        """A chat completion: the whole answer, or just its text. `request["model"]` is the deployment's name.

        Raises ProviderError.
        """
        raise ProviderError(501, "This provider does not answer whole; ask for a stream.")

    def chat_stream(self, request: Body) -> AsyncIterator[Body | str]:
        """The same as a stream: chunks, or just pieces of text. Without one of its own, the answer in one
        piece. The iterator is closed when the caller leaves.

        Raises ProviderError.
        """
        return self._in_one(request)

    async def embeddings(self, request: Body) -> Body:
        """Embeddings of `request["input"]`. Raises ProviderError."""
        raise ProviderError(501, "This provider makes no embeddings.")

    async def close(self) -> None:
        """Called when the configuration does not name it any more, and at the end."""

    async def _in_one(self, request: Body) -> AsyncIterator[Body | str]:
        answer = await self.chat(request)
        if isinstance(answer, str):
            yield answer
            return
        choices = [
            {"index": choice["index"], "delta": choice["message"], "finish_reason": choice["finish_reason"]}
            for choice in answer["choices"]
        ]
        yield {**answer, "object": "chat.completion.chunk", "choices": choices}

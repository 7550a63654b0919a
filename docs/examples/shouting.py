"""A provider in Python: it says what it is told, louder."""

from collections.abc import AsyncIterator

from ailink.plugins import Provider, ProviderError


class Shouting(Provider):
    async def chat(self, request):
        text = request["messages"][-1]["content"]
        if not isinstance(text, str):
            raise ProviderError(400, "Only text can be shouted.", code="no_text")
        return text.upper() + self.options.get("mark", "!")

    async def chat_stream(self, request) -> AsyncIterator[str]:
        for word in (await self.chat(request)).split():
            yield word + " "

"""Official clients and LangChain, run in an environment of its own. Arguments: URL, key."""

import sys
from collections.abc import Callable

import groq
from groq import Groq
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from mistralai.client import Mistral
from mistralai.client.errors import SDKError
from pydantic import BaseModel

URL, KEY = sys.argv[1:]
ASK = [{"role": "user", "content": "hello"}]
CALL = [{"role": "user", "content": "please call the tool"}]
SCHEMA = {"type": "object", "required": ["place"], "properties": {"place": {"type": "string"}}}
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "Of a place", "parameters": SCHEMA},
}


def refused(call: Callable[[], object]) -> Exception:
    """What a call fails with."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - each client has its own
        return error
    raise AssertionError("no error")


class Trip(BaseModel):
    place: str
    days: int


def mistral() -> None:
    client = Mistral(api_key=KEY, server_url=URL)
    answer = client.chat.complete(model="gpt", messages=ASK)
    assert answer.choices[0].message.content
    assert answer.usage.total_tokens > 0
    pieces = [event.data.choices[0].delta.content for event in client.chat.stream(model="gpt", messages=ASK)]
    assert "".join(piece or "" for piece in pieces)
    told = client.chat.complete(model="claude", messages=CALL, tools=[WEATHER])
    assert told.choices[0].message.tool_calls[0].function.name == "weather"
    parsed = client.chat.parse(model="json", messages=ASK, response_format=Trip)
    assert parsed.choices[0].message.parsed == Trip(place="Oslo", days=2)
    for name in ("gpt", "vectors", "gem"):
        found = client.embeddings.create(model=name, inputs=["one", "two"])
        assert found.id
        assert [len(one.embedding) > 0 for one in found.data] == [True, True]
    error = refused(lambda: client.chat.complete(model="nothing", messages=ASK))
    assert isinstance(error, SDKError)
    assert error.status_code == 404


def groq_client() -> None:
    client = Groq(api_key=KEY, base_url=URL, max_retries=0)
    assert client.chat.completions.create(model="gpt", messages=ASK).choices[0].message.content
    stream = client.chat.completions.create(model="gem", messages=ASK, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    told = client.chat.completions.create(model="gpt", messages=CALL, tools=[WEATHER])
    assert told.choices[0].message.tool_calls[0].function.name == "weather"
    form = {"type": "json_schema", "json_schema": {"name": "trip", "schema": Trip.model_json_schema()}}
    said = client.chat.completions.create(model="json", messages=ASK, response_format=form)
    assert Trip.model_validate_json(said.choices[0].message.content).days == 2
    assert client.models.list().data
    error = refused(lambda: client.chat.completions.create(model="nothing", messages=ASK))
    assert isinstance(error, groq.NotFoundError)
    assert error.body["error"]["code"] == "model_not_found"


def langchain(model) -> None:
    assert model("gpt").invoke("hello").content
    pieces = list(model("gpt").stream("hello"))
    assert "".join(str(piece.text) for piece in pieces)
    assert any(piece.usage_metadata for piece in pieces)
    told = model("claude").bind_tools([WEATHER]).invoke("please call the tool")
    assert told.tool_calls[0]["name"] == "weather"
    assert "nothing" in str(refused(lambda: model("nothing").invoke("hello")))


def langchain_openai() -> None:
    def model(name: str) -> ChatOpenAI:
        return ChatOpenAI(model=name, base_url=f"{URL}/v1", api_key=KEY, max_retries=0, stream_usage=True)

    langchain(model)
    assert model("json").with_structured_output(Trip).invoke("plan") == Trip(place="Oslo", days=2)
    new = ChatOpenAI(model="gpt", base_url=f"{URL}/v1", api_key=KEY, use_responses_api=True, max_retries=0)
    assert new.invoke("hello").text
    embedding = OpenAIEmbeddings(
        model="gpt", base_url=f"{URL}/v1", api_key=KEY, check_embedding_ctx_length=False
    )
    assert embedding.embed_query("x")


def langchain_anthropic() -> None:
    langchain(lambda name: ChatAnthropic(model=name, base_url=URL, api_key=KEY, max_tokens=64, max_retries=0))


for run in (mistral, groq_client, langchain_openai, langchain_anthropic):
    run()
    print(run.__name__, flush=True)

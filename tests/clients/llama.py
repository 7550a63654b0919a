"""LlamaIndex, which needs an older OpenAI client: run in an environment of its own. Arguments: URL, key."""

import sys

import openai
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike

URL, KEY = sys.argv[1:]
ASK = [ChatMessage(role="user", content="hello")]


def model(name: str) -> OpenAILike:
    return OpenAILike(
        model=name,
        api_base=f"{URL}/v1",
        api_key=KEY,
        is_chat_model=True,
        is_function_calling_model=True,
        max_retries=0,
    )


def weather(place: str) -> str:
    """The weather of a place."""
    return place


def llama_index() -> None:
    assert model("gpt").chat(ASK).message.content
    assert "".join(piece.delta or "" for piece in model("claude").stream_chat(ASK))
    call = model("gpt")
    told = call.chat_with_tools([FunctionTool.from_defaults(fn=weather)], user_msg="please call the tool")
    assert call.get_tool_calls_from_response(told)[0].tool_name == "weather"
    try:
        model("nothing").chat(ASK)
    except openai.NotFoundError as error:
        refusal = str(error)
    assert "nothing" in refusal


llama_index()
print("llama_index")

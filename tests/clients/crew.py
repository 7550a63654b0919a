"""CrewAI, in an environment of its own: agents with tools and structured results. Arguments: URL, key."""

import os
import sys
from contextlib import redirect_stdout

os.environ.update(CREWAI_DISABLE_TELEMETRY="true", CREWAI_TRACING_ENABLED="false", OTEL_SDK_DISABLED="true")

from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool
from pydantic import BaseModel

URL, KEY = sys.argv[1:]
called: list[str] = []


class Trip(BaseModel):
    place: str
    days: int


@tool("weather")
def weather(place: str) -> str:
    """The weather of a place."""
    called.append(place)
    return "sunny"


def model(name: str, **more: object) -> LLM:
    return LLM(model=name, provider="openai", base_url=f"{URL}/v1", api_key=KEY, max_retries=0, **more)


def crew(llm: LLM, ask: str, **more: object):
    agent = Agent(role="guide", goal="answer", backstory="a guide", llm=llm, max_iter=2)
    task = Task(description=ask, expected_output="an answer", agent=agent, **more)
    return Crew(agents=[agent], tasks=[task]).kickoff()


def crewai() -> None:
    assert model("gpt").call("hello")
    assert model("claude", stream=True).call("hello")
    done = crew(model("claude"), "say hello")
    assert done.raw
    assert done.token_usage.total_tokens > 0
    crew(model("gpt"), "please call the tool", tools=[weather])
    assert called
    assert crew(model("json"), "plan a trip", output_pydantic=Trip).pydantic == Trip(place="Oslo", days=2)
    try:
        model("nothing").call("hello")
    except Exception as error:  # noqa: BLE001 - it has a kind of its own for each refusal
        refusal = str(error)
    assert "nothing" in refusal


with redirect_stdout(sys.stderr):
    crewai()
print("crewai")

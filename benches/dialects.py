"""What a format costs that is passed on as it is: CPU time of the gateway per request and per event of a
stream, for each dialect whose provider speaks it too, beside OpenAI chat in the same rounds.

`python -m benches.dialects [--seconds 3] [--rounds 5] [--only messages,gemini]`, on a machine that does
nothing else; six minutes with a release build. The bar is 3 % more than chat, whole and streamed; the exit
code is 1 when it is missed. Requests are of 1 KiB; answers have 1 KiB of text; streams 64 pieces of it, 5 ms
apart, 100 at a time.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
from tests.harness import Gateway, Key, MockProvider, make_config, make_deployment, make_model
from tests.promises.generator import generator

from benches.strategies import cpu_seconds, tell

BAR: Final = 1.03
CHAT: Final = "chat"
TEXT: Final = ("The courier followed the river road past the mill, counting bridges. " * 16)[:900]
WHOLE: Final = "bytes=1024"
STREAM: Final = "bytes=1024;events=64;ttft=25;gap=5"
WARM_S: Final = 0.5


@dataclass(frozen=True)
class Format:
    """How a client asks, and what answers."""

    path: str
    body: Callable[[str, bool], Mapping[str, Any]]
    dialect: str
    ends: str
    """What stands in every whole answer."""
    done: str
    """What stands in every stream."""
    stream_path: str = ""
    settings: Mapping[str, Any] | None = None

    def address(self, model: str, stream: bool) -> str:
        path = self.stream_path if stream and self.stream_path else self.path
        return path.format(model=model)


def turns(content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


def chat(model: str, stream: bool) -> Mapping[str, Any]:
    usage = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    return {"model": model, "messages": turns(TEXT), "max_tokens": 256, **usage}


def messages(model: str, stream: bool) -> Mapping[str, Any]:
    return {"model": model, "messages": turns(TEXT), "max_tokens": 256, "stream": stream}


def responses(model: str, stream: bool) -> Mapping[str, Any]:
    return {"model": model, "input": TEXT, "max_output_tokens": 256, "store": False, "stream": stream}


def cohere(model: str, stream: bool) -> Mapping[str, Any]:
    return {"model": model, "messages": turns(TEXT), "max_tokens": 256, "stream": stream}


def gemini(model: str, stream: bool) -> Mapping[str, Any]:
    del model, stream
    contents = [{"role": "user", "parts": [{"text": TEXT}]}]
    return {"contents": contents, "generationConfig": {"maxOutputTokens": 256}}


def converse(model: str, stream: bool) -> Mapping[str, Any]:
    del model, stream
    return {"messages": turns([{"text": TEXT}]), "inferenceConfig": {"maxTokens": 256}}


GEMINI: Final = "/v1beta/models/{model}"
FORMATS: Final[Mapping[str, Format]] = {
    CHAT: Format("/v1/chat/completions", chat, "openai", '"choices"', "[DONE]"),
    "messages": Format("/v1/messages", messages, "anthropic", '"content"', "message_stop"),
    "responses": Format("/v1/responses", responses, "responses", '"output"', "response.completed"),
    "cohere": Format("/v2/chat", cohere, "cohere", '"message"', "message-end"),
    "gemini": Format(
        f"{GEMINI}:generateContent", gemini, "gemini", '"candidates"', "usageMetadata",
        f"{GEMINI}:streamGenerateContent?alt=sse",
    ),
    # With a bearer key: what AWS signatures cost is not the format's.
    "converse": Format(
        "/bedrock/model/{model}/converse", converse, "bedrock", '"output"', "messageStop",
        "/bedrock/model/{model}/converse-stream", {"api_key": "bedrock-api-key"},
    ),
}  # fmt: skip


def name(format_: str, stream: bool) -> str:
    return f"{format_}-stream" if stream else format_


class Bench:
    """One gateway in front of one provider, and what it spends on each format."""

    def __init__(self, gateway: Gateway, key: Key, directory: Path) -> None:
        self._gateway = gateway
        self._key = key
        self._directory = directory
        self._events: dict[str, int] = {}

    def check(self, format_: str, stream: bool) -> None:
        """Asks once, looks at the answer, and counts the events of a stream."""
        shape, model = FORMATS[format_], name(format_, stream)
        answer = httpx.post(
            f"{self._gateway.url}{shape.address(model, stream)}",
            json=shape.body(model, stream),
            headers=self._key.bearer,
            timeout=30,
        )
        if answer.status_code != 200 or (shape.done if stream else shape.ends).encode() not in answer.content:
            raise SystemExit(f"{model}: {answer.status_code} {answer.text[:300]}")
        mark = b":event-type" if format_ == "converse" else b"data:"
        self._events[model] = answer.content.count(mark) - answer.content.count(b"[DONE]") if stream else 1

    def measure(self, format_: str, stream: bool, seconds: float) -> float:
        """µs of CPU per request, or per event."""
        shape, model = FORMATS[format_], name(format_, stream)
        body = self._directory / f"{model}.json"
        body.write_text(json.dumps(shape.body(model, stream)))
        before = cpu_seconds(self._gateway.child.pid)
        run = generator(
            self._gateway, self._key, f"load-{model}", "--connections", "100" if stream else "32",
            "--duration", f"{seconds * 1000:.0f}ms", "--body", str(body),
            "--expect", shape.done if stream else shape.ends, "--any-end",
            *(("--expect-events", str(self._events[model])) if stream and format_ != "converse" else ()),
            path=shape.address(model, stream),
        ).start()  # fmt: skip
        report = run.report(seconds + 60)
        if report["errors"]:
            raise SystemExit(f"{model}: {report['errors']}")
        spent: float = cpu_seconds(self._gateway.child.pid) - before
        return spent / (int(report["sent"]) * self._events[model]) * 1e6


def config(provider: MockProvider, formats: list[str]) -> dict[str, Any]:
    price = {"input_per_million": 1, "output_per_million": 2}
    models = []
    for format_ in formats:
        shape = FORMATS[format_]
        for stream in (False, True):
            deployment = make_deployment(
                provider, STREAM if stream else WHOLE, dialect=shape.dialect, price=price,
                **(shape.settings or {}),
            )  # fmt: skip
            models.append(make_model(name(format_, stream), deployment))
    return make_config(*models, server={"threads": 1})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(FORMATS), help=f"some of {', '.join(FORMATS)}")
    options = parser.parse_args()
    formats = list(dict.fromkeys([CHAT, *options.only.split(",")]))
    if unknown := set(formats) - set(FORMATS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    cells = [(format_, stream) for stream in (False, True) for format_ in formats]
    found: dict[tuple[str, bool], list[float]] = {cell: [] for cell in cells}
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        with (
            MockProvider(directory / "provider") as provider,
            Gateway(directory / "gateway", config(provider, formats)) as gateway,
        ):
            bench = Bench(gateway, gateway.mint(rpm_limit=1_000_000_000), directory)
            for format_, stream in cells:
                bench.check(format_, stream)
                bench.measure(format_, stream, WARM_S)
            for turn in range(options.rounds):
                for (format_, stream), values in found.items():
                    values.append(bench.measure(format_, stream, options.seconds))
                    ratio = values[-1] / found[CHAT, stream][-1]
                    told = f"{name(format_, stream):18} {values[-1]:6.2f} µs  {ratio:.3f}"
                    tell(f"{turn + 1}/{options.rounds} {told}")
    sys.exit(0 if report(found) else 1)


def report(found: Mapping[tuple[str, bool], list[float]]) -> bool:
    """Prints each format beside chat; whether all are within the bar."""
    good = True
    for (format_, stream), values in found.items():
        ratios = sorted(value / one for value, one in zip(values, found[CHAT, stream], strict=True))
        ratio, unit = statistics.median(ratios), "event" if stream else "request"
        good &= ratio <= BAR
        print(
            f"{name(format_, stream):18} {statistics.median(values):6.2f} µs/{unit}  {ratio:.3f}"
            f" ({ratios[0]:.3f} to {ratios[-1]:.3f})  {BAR}: {'held' if ratio <= BAR else 'missed'}"
        )
    return good


if __name__ == "__main__":
    main()

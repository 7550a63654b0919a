"""Pages of examples that are run: YAML is configuration, HTTP fences are requests and their answers.

    ```yaml            what `ailink.yaml` says besides the models
    ```http            METHOD PATH, headers, a blank line, JSON
    ```http            HTTP/1.1 STATUS, headers, a blank line, JSON or lines
    ```http soon       the same; asked again until it comes
    ```json sent       what the provider got of the request before
    ```json says PATH  what the webhook at this path answers
    ```json told PATH  what it was told
    ```text log        a line of the gateway's log
    ```LANGUAGE file NAME   a file beside `ailink.yaml`
    ```console         `$ ailink …` and the lines it writes, however they are spaced

In what is expected `…` stands for anything, objects may have more members than are named (null: it is not
there), and `$NAME` takes a value for what follows.
"""

import json
import re
from contextlib import chdir
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from tests.harness.double import Double
from tests.harness.gateway import Gateway
from tests.harness.provider import MockProvider
from tests.harness.until import until
from typer.testing import CliRunner

from ailink.cli.app import build

FENCE = re.compile(r"^```(\w+)(?: ([^\n]*))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PROVIDER, WEBHOOK = "http://127.0.0.1:9000", "http://127.0.0.1:7000"
NAME = re.compile(r"\$([A-Z]+)")


class Block(NamedTuple):
    kind: str
    note: str
    text: str


class Page(NamedTuple):
    path: Path
    blocks: list[Block]

    @classmethod
    def read(cls, path: Path) -> "Page":
        return cls(path, [Block(kind, note, text) for kind, note, text in FENCE.findall(path.read_text())])

    def of(self, kind: str, note: str = "") -> list[Block]:
        return [block for block in self.blocks if block.kind == kind and block.note.startswith(note)]


class Reader:
    """Runs pages against one gateway."""

    def __init__(self, gateway: Gateway, provider: MockProvider, hook: Double) -> None:
        self._gateway = gateway
        self._provider = provider
        self._hook = hook
        self._known: dict[str, str] = {}

    def config(self, *pages: Page) -> str:
        """The YAML of pages, with the addresses that are there."""
        blocks = [block for page in pages for block in page.of("yaml") if not block.note]
        text = "\n".join(block.text for block in blocks)
        return text.replace(PROVIDER, self._provider.url).replace(WEBHOOK, self._hook.url)

    def run(self, page: Page) -> int:
        """How many requests were answered as the page says."""
        self._known = {"ADMIN": self._gateway.admin_key, "KEY": self._gateway.mint().secret}
        self._hook.answers.clear()
        for block in page.of("json", "told"):
            self._hook.answers[block.note.split()[1]] = {}
        for block in page.of("json", "says"):
            self._hook.answers[block.note.split()[1]] = json.loads(block.text)
        self._hook.take()
        count, request, sent = 0, "", None
        for block in page.blocks:
            match block.kind, block.note.split(" ")[0]:
                case _, "file":
                    (self._gateway.directory / block.note.split(" ")[1]).write_text(block.text)
                case "console", _:
                    self._console(block.text)
                case "http", note if block.text.startswith("HTTP/"):
                    self._exchange(request, block.text, sent, again=note == "soon")
                    count, sent = count + 1, None
                case "http", _:
                    request = block.text
                case "json", "sent":
                    sent = json.loads(self._filled(block.text))
        for block in page.blocks:
            match block.kind, block.note.split(" "):
                case "json", ["told", path]:
                    self._told(path, json.loads(block.text))
                case "text", ["log"]:
                    self._logged(block.text.strip())
        return count

    def _console(self, text: str) -> None:
        """Commands in the directory of the gateway, in this process; what they ask, they ask over HTTP."""
        env = {"AILINK_URL": self._gateway.url, "AILINK_KEY": self._gateway.admin_key}
        for part in text.split("$ ailink ")[1:]:
            command, *lines = part.strip().splitlines()
            with chdir(self._gateway.directory):
                run = CliRunner().invoke(build(), command.split(), env=env)
            written = [" ".join(line.split()) for line in run.output.splitlines() if line.strip()]
            fits(written, lines, command, {})
            assert len(written) == len(lines), run.output

    def _exchange(self, request: str, expected: str, sent: Any, *, again: bool) -> None:
        def right() -> bool:
            mark = self._provider.mark()
            self._compare(self._send(request), expected)
            if sent is not None:
                (seen,) = self._provider.requests(mark)
                fits(seen.json(), sent, "sent", {})
            return True

        def attempt() -> bool:
            try:
                return right()
            except AssertionError:
                return False

        if again:
            until(attempt, f"the answer to {request}")
        else:
            right()

    def _send(self, text: str) -> httpx.Response:
        head, body = halves(self._filled(text))
        method, path = head[0].split(" ")
        headers = dict(line.split(": ", 1) for line in head[1:])
        secret = self._known["KEY" if path.startswith("/v1/") else "ADMIN"]
        headers = {"Authorization": f"Bearer {secret}", "content-type": "application/json", **headers}
        return self._gateway.http.request(method, path, headers=headers, content=body)

    def _compare(self, response: httpx.Response, text: str) -> None:
        head, body = halves(text)
        told = f"{response.status_code} {dict(response.headers)}\n{response.text}"
        assert response.status_code == int(head[0].split(" ")[1]), told
        for line in head[1:]:
            name, value = line.split(": ", 1)
            fits(response.headers.get(name), value, name, {})
        if body.startswith("{"):
            fits(response.json(), json.loads(body), "body", self._known)
            return
        rest = response.text
        for line in body.splitlines():
            for part in filter(None, line.split("…")):
                assert part in rest, told
                rest = rest.split(part, 1)[1]

    def _logged(self, line: str) -> None:
        until(lambda: line in self._gateway.log, f"in the log: {line}")

    def _told(self, path: str, expected: Any) -> None:
        def heard() -> list[Any]:
            return [asked.body for asked in self._hook.asked if asked.path == path]

        fits(until(heard, f"{path} is told")[0], expected, path, {})

    def _filled(self, text: str) -> str:
        return NAME.sub(lambda found: self._known[found[1]], text)


def halves(text: str) -> tuple[list[str], str]:
    """The lines of a head, and the body."""
    head, _, body = text.strip().partition("\n\n")
    return head.splitlines(), body.strip()


def fits(found: Any, expected: Any, place: str, known: dict[str, str]) -> None:
    """Raises AssertionError with the place; fills `known` with values that are named."""
    if isinstance(expected, dict):
        assert isinstance(found, dict), f"{place}: {found!r}"
        for name, value in expected.items():
            fits(found.get(name), value, f"{place}.{name}", known)
    elif isinstance(expected, list):
        assert isinstance(found, list), f"{place}: {found!r}"
        assert len(found) >= len(expected) if expected else not found, f"{place}: {found!r}"
        for number, (one, value) in enumerate(zip(found, expected, strict=False)):
            fits(one, value, f"{place}[{number}]", known)
    elif isinstance(expected, str) and NAME.fullmatch(expected):
        assert isinstance(found, str), f"{place}: {found!r}"
        known[expected[1:]] = found
    elif isinstance(expected, str) and "…" in expected:
        pattern = ".*".join(re.escape(part) for part in expected.split("…"))
        assert re.fullmatch(pattern, "" if found is None else str(found), re.DOTALL), f"{place}: {found!r}"
    else:
        assert found == expected, f"{place}: {found!r} is not {expected!r}"

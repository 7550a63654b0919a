"""Guardrails written in Python: the worked example of the page, every verdict, failures, reloading."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tests.harness import Gateway, Key, MockProvider, chat, make_config, make_deployment, make_model, until

Json = dict[str, Any]
PAGE = (Path(__file__).parents[2] / "docs/guardrails.md").read_text().split("### In Python")[1]
EXAMPLE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
RULES = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0])["guardrails"]
MODULE = """
import asyncio, time
from pathlib import Path
from ailink.plugins import Guardrail, Verdict

class Odd(Guardrail):
    async def check(self, text, context):
        match text:
            case "fails": return Verdict.failed("as it was told")
            case "blocks": return Verdict.block("as it was told")
            case "flags": return Verdict.flag("as it was told")
            case "redacts": return Verdict.redact("something else")
            case "raises": raise KeyError("the text of a caller")
            case "nonsense": return "yes"
            case "hangs": await asyncio.sleep(3600)
            case "late": await asyncio.sleep(0.05)
            case "who":
                return Verdict.failed(f"{context.side} {context.role} {context.model} {context.key_alias}")

    async def close(self):
        Path(self.options["note"]).write_text("closed")

class Blocking(Guardrail):
    def check(self, text, context):
        time.sleep(3600)

class Unmade(Guardrail):
    def __init__(self, options):
        raise ValueError("no such place")
"""


def odd(name: str, note: Path, timeout: str = "20s", **settings: Any) -> Json:
    python = {"file": "guards/odd.py", "class": "Odd", "options": {"note": str(note)}, "timeout": timeout}
    return {"name": name, "checks": [{"python": python}], **settings}


def configured(provider: MockProvider, note: Path, *more: Json) -> Json:
    rules = [
        *RULES,
        odd("refuses", note),
        odd("lenient", note, on_error="skip"),
        odd("hurried", note, timeout="100ms"),
        odd("lenient-hurried", note, timeout="100ms", on_error="skip"),
        odd("tells", note, action="flag"),
        odd("cuts", note, action="redact"),
        odd("beside", note, run="during", action="redact"),
        odd("behind", note, run="async"),
        odd("answers", note, scan=["output"]),
        odd("shadowed", note, mode="shadow"),
        {
            "name": "stuck",
            "on_error": "skip",
            "checks": [{"python": {"file": "guards/odd.py", "class": "Blocking", "timeout": "50ms"}}],
        },
        *more,
    ]
    models = [
        make_model(
            f"{rule['name']}{suffix}",
            make_deployment(provider, script, model=suffix or "m"),
            guardrails=[rule["name"]],
        )
        for rule in rules
        for suffix, script in (("", ""), ("-blocks", "text=blocks"), ("-redacts", "text=redacts"))
    ]
    models.append(make_model("free", make_deployment(provider, model="free")))
    models.append(
        make_model(
            "tickets", make_deployment(provider, "text=see TCK-77 soon", model="t"), guardrails=["house"]
        )
    )
    return make_config(*models, guardrails=rules)


@pytest.fixture(scope="module")
def note(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("note") / "note"


@pytest.fixture(scope="module")
def gateway(
    provider: MockProvider, note: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("python-guardrails")
    (directory / "guards").mkdir()
    (directory / "guards/odd.py").write_text(MODULE)
    (directory / "house_rules.py").write_text(EXAMPLE)
    with Gateway(directory, configured(provider, note)) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint(key_alias="who-it-is")


def ask(gateway: Gateway, key: Key, model: str, text: str, **more: Any) -> httpx.Response:
    return gateway.http.post("/v1/chat/completions", json=chat(model, text, **more), headers=key.bearer)


def said(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def test_the_page_example(gateway, key, provider):
    refused = ask(gateway, key, "house", "write to Acme")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "content_policy_violation")
    assert "partners are not named here" in refused.json()["error"]["message"]
    mark = provider.mark()
    passed = ask(gateway, key, "house", "TCK-1, TCK-23 and TICK-4")
    assert passed.headers["x-ailink-guardrails"] == "house;input=redact"
    assert provider.requests(mark)[0].json()["messages"][0]["content"] == "[TICKET], [TICKET] and TICK-4"
    answer = ask(gateway, key, "tickets", "hello")
    assert (said(answer), answer.headers["x-ailink-guardrails"]) == (
        "see [TICKET] soon",
        "house;output=redact",
    )
    shouted = ask(gateway, key, "polite", "HELLO")
    assert (shouted.status_code, shouted.headers["x-ailink-guardrails"]) == (200, "polite;input=flag")
    assert "x-ailink-guardrails" not in ask(gateway, key, "polite", "hello").headers


def test_every_verdict(gateway, key, provider):
    def status(model: str, text: str) -> int:
        return ask(gateway, key, model, text).status_code

    assert [status("refuses", text) for text in ("fine", "late", "fails", "blocks")] == [200, 200, 400, 400]
    # What it says itself goes before the guardrail's action.
    assert ask(gateway, key, "refuses", "flags").headers["x-ailink-guardrails"] == "refuses;input=flag"
    mark = provider.mark()
    assert ask(gateway, key, "refuses", "redacts").headers["x-ailink-guardrails"] == "refuses;input=redact"
    assert provider.requests(mark)[0].json()["messages"][0]["content"] == "something else"
    assert ask(gateway, key, "tells", "fails").headers["x-ailink-guardrails"] == "tells;input=flag"
    assert [status("tells", "blocks"), status("cuts", "fails"), status("cuts", "redacts")] == [400, 400, 200]
    assert [status("shadowed", text) for text in ("fails", "blocks", "redacts", "raises")] == [200] * 4
    told = ask(gateway, key, "refuses", "who").json()["error"]["message"]
    assert told.endswith("input user refuses who-it-is")


def test_beside_and_behind(gateway, key, provider):
    # The request is gone: nothing can be put into it any more.
    assert ask(gateway, key, "beside", "redacts").status_code == 400
    assert [ask(gateway, key, "beside", text).status_code for text in ("fine", "blocks")] == [200, 400]
    before = verdicts(gateway, "behind")
    assert ask(gateway, key, "behind", "blocks").status_code == 200
    until(lambda: verdicts(gateway, "behind") == before + 1, "the verdict is counted")


def verdicts(gateway: Gateway, rule: str) -> float:
    found = gateway.metrics()
    return sum(
        value
        for name, value in found.items()
        if name.startswith("ailink_guardrail_verdicts") and f'"{rule}"' in name
    )


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_answers(gateway, key, stream):
    refused = ask(gateway, key, "answers-blocks", "hello", stream=stream)
    assert refused.status_code == 400, refused.text
    assert "as it was told" in refused.text
    assert ask(gateway, key, "answers", "blocks", stream=stream).status_code == 200
    changed = ask(gateway, key, "answers-redacts", "hello", stream=stream)
    if stream:
        assert changed.status_code == 400
    else:
        assert said(changed) == "something else"


def test_other_formats(gateway, key):
    body = {"model": "refuses", "input": "blocks"}
    assert gateway.http.post("/v1/embeddings", json=body, headers=key.bearer).status_code == 400
    body = {"model": "refuses", "max_tokens": 9, "messages": [{"role": "user", "content": "blocks"}]}
    assert gateway.http.post("/v1/messages", json=body, headers=key.bearer).status_code == 400


def test_what_fails_is_told_and_follows_on_error(gateway, key):
    def errors(rule: str) -> float:
        return gateway.metric("ailink_guardrail_check_errors_total", rule=rule)

    before = errors("refuses")
    for text, kind in (("raises", ""), ("nonsense", ""), ("hangs", "hurried")):
        refused = ask(gateway, key, kind or "refuses", text)
        assert refused.status_code == 400
        assert "The check could not be made" in refused.text
        lenient = "-".join(filter(None, ("lenient", kind)))
        assert ask(gateway, key, lenient, text).status_code == 200
    assert (errors("refuses"), errors("hurried")) == (before + 2, 1)
    log = gateway.log
    assert "guardrail refuses checks[0] failed: KeyError at" in log
    assert "the text of a caller" not in log
    # It answers again at once.
    assert ask(gateway, key, "refuses", "fine").status_code == 200


def test_one_that_blocks_holds_up_nothing(gateway, key):
    # After five failures it is not asked for a while, which takes no time.
    assert [ask(gateway, key, "stuck", "hello").status_code for _ in range(7)] == [200] * 7
    assert gateway.metric("ailink_guardrail_check_errors_total", rule="stuck") == 7
    assert ask(gateway, key, "refuses", "fine").status_code == 200


def test_results_and_report(gateway, key):
    headers = {**key.bearer, "x-ailink-hook-results": "true"}
    answer = gateway.http.post("/v1/chat/completions", json=chat("refuses", "blocks"), headers=headers)
    assert answer.status_code == 446
    (check,) = answer.json()["hook_results"]["before_request_hooks"][0]["checks"]
    assert (check["id"], check["data"]) == ("python", {"verdict": "block", "reason": "as it was told"})
    report = gateway.http.get("/guardrails/report", headers=gateway.admin).json()
    assert any(one["rule"] == "refuses" and one["action"] == "block" for one in report["latest"])


def test_a_changed_file_and_a_bad_one(gateway, key, note):
    file = gateway.directory / "guards/odd.py"
    note.unlink(missing_ok=True)
    file.write_text(MODULE.replace('"as it was told"', '"as it is told now"'))
    until(lambda: "as it is told now" in ask(gateway, key, "refuses", "fails").text, "the file is read again")
    until(note.exists, "the former one is closed")
    file.write_text("def broken(:\n")
    place = f"guardrails[{len(RULES)}].checks[0]: python: "

    def refused() -> bool:
        errors = str(gateway.details()["errors"])
        return "odd.py, line 1: " in errors and place in errors

    until(refused, f"the file is refused with its place: {gateway.details()['errors']}")
    assert "as it is told now" in ask(gateway, key, "refuses", "fails").text
    file.write_text(MODULE.replace("class Odd", "class Even"))
    until(lambda: "has no class Odd" in str(gateway.details()["errors"]), "the class is missed")
    assert "as it is told now" in ask(gateway, key, "refuses", "fails").text


def test_code_comes_from_files_only(gateway, key):
    """Neither a config object nor a policy of the API names a file."""
    config = {"input_guardrails": [{"python": {"file": "guards/odd.py", "class": "Odd"}, "deny": True}]}
    sent = {**key.bearer, "x-portkey-config": httpx.Response(200, json=config).text}
    refused = gateway.http.post("/v1/chat/completions", json=chat("free", "hello"), headers=sent)
    assert refused.status_code == 400, refused.text
    assert "cannot be used" in refused.text

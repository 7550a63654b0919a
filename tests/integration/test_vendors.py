"""Services that check texts, each against a double that answers as its documentation says."""

import json
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from tests.harness import Double, Gateway, Key, MockProvider, chat, make_config, make_deployment, make_model

Json = dict[str, Any]
GOOD, BAD = "a fine day", "a foul day by Anna"


class Case(NamedTuple):
    """`url`: the parameter that is the double's address. `body`: what a call for `GOOD` holds."""

    name: str
    url: str
    parameters: Json
    path: str
    header: tuple[str, str]
    body: Any
    good: Any
    bad: Any
    masked: Any = None
    """A reply that puts something else in the place of `BAD`."""
    output: str = ""
    """The path for answers; empty: the same."""
    sides: str = "io"


GOOGLE: Json = {"project": "p", "location": "l", "template": "t", "access_token": "k"}
JUDGE: Json = {"api_key": "k", "model": "judge-model"}
AZURE: Json = {"api_key": "k"}
AZURE_KEY = ("ocp-apim-subscription-key", "k")
AWS: Json = {"region": "eu-west-1", "access_key_id": "AKIDX", "secret_access_key": "s"}
SIGNED = ("authorization", "AWS4-HMAC-SHA256 Credential=AKIDX/")
BEARER = ("authorization", "Bearer k")


def said(text: str) -> Json:
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


def armor(state: str, **results: Any) -> Json:
    return {"sanitizationResult": {"filterMatchState": state, "filterResults": results}}


def bedrock(action: str, *outputs: str, policy: str = "ANONYMIZED") -> Json:
    found = [{"sensitiveInformationPolicy": {"piiEntities": [{"type": "NAME", "action": policy}]}}]
    return {
        "action": action,
        "outputs": [{"text": text} for text in outputs],
        "assessments": found if outputs else [],
    }


MASKED = "a foul day by [PERSON]"
PERSON = {"results": {"documents": [{"redactedText": MASKED, "entities": [{"category": "Person"}]}]}}
CASES = [
    Case("openai_moderation", "api_base", {"api_key": "k"}, "/moderations", BEARER,
         {"model": "omni-moderation-latest", "input": [GOOD]},
         {"results": [{"flagged": False}]}, {"results": [{"flagged": False}, {"flagged": True}]}),
    Case("mistral_moderation", "api_base", {"api_key": "k"}, "/moderations", BEARER, {"input": [GOOD]},
         {"results": [{"categories": {"pii": False, "law": False}}]},
         {"results": [{"categories": {"pii": True}}]}),
    Case("azure_content_safety", "endpoint", {**AZURE, "severity": 4, "categories": ["Hate"]},
         "/contentsafety/text:analyze?api-version=2024-09-01", AZURE_KEY,
         {"text": GOOD, "categories": ["Hate"], "outputType": "FourSeverityLevels"},
         {"categoriesAnalysis": [{"category": "Hate", "severity": 2}], "blocklistsMatch": []},
         {"categoriesAnalysis": [{"category": "Hate", "severity": 4}]}),
    Case("azure_prompt_shield", "endpoint", AZURE, "/contentsafety/text:shieldPrompt?api-version=2024-09-01",
         AZURE_KEY, {"userPrompt": GOOD, "documents": []},
         {"userPromptAnalysis": {"attackDetected": False}, "documentsAnalysis": []},
         {"userPromptAnalysis": {"attackDetected": True}}, sides="i"),
    Case("azure_protected_material", "endpoint", AZURE,
         "/contentsafety/text:detectProtectedMaterial?api-version=2024-09-01", AZURE_KEY, {"text": GOOD},
         {"protectedMaterialAnalysis": {"detected": False}},
         {"protectedMaterialAnalysis": {"detected": True}},
         sides="o"),
    Case("azure_pii", "endpoint", AZURE, "/language/:analyze-text?api-version=2024-11-01", AZURE_KEY,
         {"kind": "PiiEntityRecognition",
          "analysisInput": {"documents": [{"id": "1", "language": "en", "text": GOOD}]}},
         {"results": {"documents": [{"id": "1", "redactedText": GOOD, "entities": []}]}},
         PERSON, PERSON),
    Case("bedrock", "endpoint", {**AWS, "guardrail_id": "gr-1", "guardrail_version": "2"},
         "/guardrail/gr-1/version/2/apply", SIGNED, {"content": [{"text": {"text": GOOD}}]},
         bedrock("NONE"), bedrock("GUARDRAIL_INTERVENED", "Sorry.", policy="BLOCKED"),
         bedrock("GUARDRAIL_INTERVENED", MASKED)),
    Case("comprehend", "endpoint", AWS, "", ("x-amz-target", "Comprehend_20171127.DetectPiiEntities"),
         {"Text": GOOD, "LanguageCode": "en"}, {"Entities": []},
         {"Entities": [{"Type": "NAME", "Score": 0.9, "BeginOffset": 14, "EndOffset": 18}]},
         {"Entities": [{"Type": "PERSON", "Score": 0.9, "BeginOffset": 14, "EndOffset": 18}]}),
    Case("model_armor", "endpoint", GOOGLE,
         "/v1/projects/p/locations/l/templates/t:sanitizeUserPrompt", BEARER,
         {"userPromptData": {"text": GOOD}},
         armor("NO_MATCH_FOUND"),
         armor("MATCH_FOUND", rai={"raiFilterResult": {"matchState": "MATCH_FOUND"}}),
         armor("MATCH_FOUND", sdp={"sdpFilterResult": {"deidentifyResult": {"data": {"text": MASKED}}}}),
         output="/v1/projects/p/locations/l/templates/t:sanitizeModelResponse"),
    Case("panw_prisma_airs", "api_base", {"api_key": "k", "profile_name": "p"}, "/v1/scan/sync/request",
         ("x-pan-token", "k"), {"ai_profile": {"profile_name": "p"}, "contents": [{"prompt": GOOD}]},
         {"action": "allow", "category": "benign"}, {"action": "block", "category": "malicious"}),
    Case("prompt_security", "api_base", {"api_key": "k"}, "/api/protect", ("app-id", "k"), {"prompt": GOOD},
         {"result": {"action": "log", "prompt": {"passed": True}}},
         {"result": {"action": "block", "prompt": {"passed": False, "action": "block"}}},
         {"result": {"action": "modify", "prompt": {"action": "modify", "modified_text": MASKED}}}),
    Case("lakera", "api_base", {"api_key": "k", "project_id": "p"}, "/v2/guard", BEARER,
         {"messages": [{"role": "user", "content": GOOD}], "project_id": "p", "breakdown": True},
         {"flagged": False}, {"flagged": True}),
    Case("lasso", "api_base", {"api_key": "k"}, "/classify", ("lasso-api-key", "k"),
         {"messages": [{"role": "user", "content": GOOD}]},
         {"violations_detected": False}, {"violations_detected": True}),
    Case("aporia", "api_base", {"api_key": "k"}, "/validate", ("x-aporia-api-key", "k"),
         {"messages": [{"role": "user", "content": GOOD}], "validation_target": "prompt"},
         {"action": "passthrough"}, {"action": "block"}, {"action": "rephrase", "revised_response": MASKED}),
    Case("pillar", "api_base", {"api_key": "k"}, "/api/v1/scan/prompt", BEARER, {"message": GOOD},
         {"flagged": False}, {"flagged": True}, output="/api/v1/scan/response"),
    Case("pangea", "api_base", {"api_key": "k"}, "/v1/text/guard", BEARER,
         {"text": GOOD}, {"result": {"blocked": False, "transformed": False}},
         {"result": {"blocked": True}, "summary": "Prompt injection was found."},
         {"result": {"blocked": False, "transformed": True, "prompt_text": MASKED}}),
    Case("patronus", "api_base", {"api_key": "k", "evaluator": "lynx"}, "/v1/evaluate", ("x-api-key", "k"),
         {"evaluators": [{"evaluator": "lynx", "explain_strategy": "on-fail"}],
          "evaluated_model_output": GOOD},
         {"results": [{"evaluation_result": {"pass": True}}]},
         {"results": [{"evaluation_result": {"pass": False}}]}, sides="o"),
    Case("presidio", "analyzer", {"threshold": 0.5}, "/analyze", ("content-type", "application/json"),
         {"text": GOOD, "language": "en"}, [],
         [{"entity_type": "PERSON", "start": 14, "end": 18, "score": 0.8}],
         [{"entity_type": "PERSON", "start": 14, "end": 18, "score": 0.8},
          {"entity_type": "DATE", "start": 0, "end": 1, "score": 0.1}]),
    Case("generic_guardrail_api", "api_base", {"api_key": "k"}, "/beta/litellm_basic_guardrail_api",
         ("x-api-key", "k"), {"texts": [GOOD], "structured_messages": [{"role": "user", "content": GOOD}]},
         {"action": "NONE"}, {"action": "BLOCKED", "blocked_reason": "no foul days"},
         {"action": "GUARDRAIL_INTERVENED", "texts": [MASKED]}),
    Case("llamaguard", "api_base", JUDGE, "/chat/completions", BEARER,
         {"model": "judge-model", "messages": [{"role": "user", "content": GOOD}]},
         said("safe"), said("unsafe\nS1")),
    Case("judge", "api_base", {**JUDGE, "rule": "Be polite."}, "/chat/completions", BEARER,
         {"model": "judge-model", "temperature": 0}, said("PASS"), said("FAIL")),
    Case("groundedness", "api_base", JUDGE, "/chat/completions", BEARER, {"model": "judge-model"},
         said("pass."), said("Fail"), sides="o"),
    Case("relevance", "api_base", JUDGE, "/chat/completions", BEARER, {"model": "judge-model"},
         said("Pass"), said("FAIL"), sides="o"),
]  # fmt: skip
BY_NAME = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture(scope="module")
def double() -> Iterator[Double]:
    with Double() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(
    provider: MockProvider, double: Double, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    rules, models = [], []
    for case in CASES:
        scan = [name for name in ("input", "output") if name[0] in case.sides]
        for action in ("block", "redact"):
            name = f"{case.name}-{action}"
            # Paths tell the doubles of different guardrails apart, so that one's breaker is nobody else's.
            check = {
                case.name: {
                    **case.parameters,
                    case.url: f"{double.url}/{action}/{case.name}",
                    "timeout": "2s",
                }
            }
            rules.append({"name": name, "checks": [check], "action": action, "scan": scan})
            for said_name, text in (("good", GOOD), ("bad", BAD)):
                deployment = make_deployment(provider, f"text={text}", model=name)
                models.append(make_model(f"{name}-{said_name}", deployment, guardrails=[name]))
        late = {
            case.name: {**case.parameters, case.url: f"{double.url}/late/{case.name}", "timeout": "150ms"}
        }
        for on_error in ("fail", "skip"):
            name = f"{case.name}-late-{on_error}"
            rules.append({"name": name, "checks": [late], "scan": scan, "on_error": on_error})
            models.append(make_model(name, make_deployment(provider, model=name), guardrails=[name]))
    skipping = {"lakera": {"api_key": "k", "api_base": f"{double.url}/skip", "timeout": "500ms"}}
    rules.append({"name": "skipping", "checks": [skipping], "on_error": "skip"})
    rules.append({"name": "failing", "checks": [skipping]})
    models += [
        make_model(name, make_deployment(provider), guardrails=[name]) for name in ("skipping", "failing")
    ]
    config = make_config(*models, guardrails=rules)
    with Gateway(tmp_path_factory.mktemp("vendors"), config) as running:
        yield running


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> Key:
    return gateway.mint()


def ask(gateway: Gateway, key: Key, model: str, text: str, **more: Any) -> Any:
    return gateway.http.post("/v1/chat/completions", json=chat(model, text, **more), headers=key.bearer)


def holds(body: Any, wanted: Any) -> bool:
    """Whether `body` has everything that `wanted` has."""
    if isinstance(wanted, dict):
        return isinstance(body, dict) and all(holds(body.get(name), value) for name, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(body, list) and len(body) == len(wanted) and all(map(holds, body, wanted))
    return bool(body == wanted)


def answers(double: Double, case: Case, action: str, reply: Any) -> None:
    """By what is asked: what holds `BAD` is answered with `reply`."""

    def answer(body: Any) -> Any:
        return reply if BAD in json.dumps(body) else case.good

    for path in {case.path, case.output or case.path}:
        double.answers[f"/{action}/{case.name}{path}"] = answer
    double.status = 200
    double.take()


@BY_NAME
def test_a_service_is_asked_as_documented(gateway, key, double, provider, case):
    answers(double, case, "block", case.bad)
    passed = ask(gateway, key, f"{case.name}-block-good", GOOD)
    assert passed.status_code == 200, passed.text
    calls = double.take()
    assert len(calls) == len(case.sides)
    call = calls[0]
    assert call.path == f"/block/{case.name}{case.path}"
    name, value = case.header
    assert call.headers[name].startswith(value)
    assert holds(call.body, case.body), call.body
    if case.sides == "io":
        assert calls[1].path == f"/block/{case.name}{case.output or case.path}"
    if "i" in case.sides:
        mark = provider.mark()
        refused = ask(gateway, key, f"{case.name}-block-good", BAD)
        assert refused.status_code == 400, refused.text
        assert refused.json()["error"]["code"] == "content_policy_violation"
        assert "Anna" not in refused.text
        assert provider.requests(mark) == []
    if "o" in case.sides:
        for stream in (False, True):
            refused = ask(gateway, key, f"{case.name}-block-bad", GOOD, stream=stream)
            assert refused.status_code == 400, refused.text
            assert "Anna" not in refused.text


@pytest.mark.parametrize("case", [case for case in CASES if case.masked], ids=lambda case: case.name)
def test_what_a_service_puts_in_its_place_is_used(gateway, key, double, provider, case):
    answers(double, case, "redact", case.masked)
    if case.name != "aporia":
        mark = provider.mark()
        passed = ask(gateway, key, f"{case.name}-redact-good", BAD)
        assert passed.status_code == 200, passed.text
        assert provider.requests(mark)[0].json()["messages"][0]["content"] == MASKED
        assert passed.headers["x-ailink-guardrails"] == f"{case.name}-redact;input=redact"
    passed = ask(gateway, key, f"{case.name}-redact-bad", GOOD)
    assert passed.status_code == 200, passed.text
    assert passed.json()["choices"][0]["message"]["content"] == MASKED
    answers(double, case, "redact", case.bad)
    if case.name not in {"azure_pii", "comprehend", "presidio"}:
        assert ask(gateway, key, f"{case.name}-redact-good", BAD).status_code == 400


@BY_NAME
def test_a_reply_that_is_none_is_an_error(gateway, key, double, case):
    answers(double, case, "block", {"unexpected": True})
    model = f"{case.name}-block-good" if "i" in case.sides else f"{case.name}-block-bad"
    refused = ask(gateway, key, model, BAD)
    assert refused.status_code == 400, refused.text
    assert "The check could not be made" in refused.json()["error"]["message"]


@BY_NAME
def test_a_service_that_is_late_follows_on_error(gateway, key, double, case):
    over = threading.Event()
    for path in {case.path, case.output or case.path}:
        double.answers[f"/late/{case.name}{path}"] = lambda _: {"late": over.wait(5)}
    try:
        refused = ask(gateway, key, f"{case.name}-late-fail", GOOD)
        assert refused.status_code == 400, refused.text
        assert "The check could not be made" in refused.json()["error"]["message"]
        passed = ask(gateway, key, f"{case.name}-late-skip", GOOD)
        assert passed.status_code == 200, passed.text
        counted = gateway.metric("ailink_guardrail_check_errors_total", rule=f"{case.name}-late-skip")
        assert counted == len(case.sides)
    finally:
        over.set()


def test_a_service_that_fails_is_left_alone_for_a_while(gateway, key, double):
    double.take()
    statuses = [ask(gateway, key, "skipping", GOOD).status_code for _ in range(12)]
    assert statuses == [200] * 12
    assert 5 <= len(double.take()) < 12
    assert {ask(gateway, key, "failing", GOOD).status_code for _ in range(12)} == {400}
    assert 5 <= len(double.take()) < 12
    assert gateway.metric("ailink_guardrail_check_errors_total", rule="skipping") == 12

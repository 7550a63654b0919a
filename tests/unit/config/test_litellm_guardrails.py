"""Every guardrail name of LiteLLM's that is understood: the check and the parameters that it becomes."""

import json
from typing import Any

import pytest
import yaml

from ailink.config import check_identities
from ailink.config.litellm_guardrails import KINDS

Json = dict[str, Any]
KEY: Json = {"api_key": "k", "api_base": "https://x.example"}
OURS: Json = {"api_key": "k", "api_base": "https://x.example"}
AZURE: Json = {"api_key": "k", "endpoint": "https://x.example"}
AWS: Json = {"aws_region_name": "eu-west-1", "aws_access_key_id": "AKIDX", "aws_secret_access_key": "s"}
BEDROCK: Json = {"guardrailIdentifier": "g", "guardrailVersion": "2"}
ARMOR: Json = {"template_id": "t", "project_id": "p", "location": "l", "api_key": "token"}
PII: Json = {
    "presidio_analyzer_api_base": "https://x.example",
    "presidio_anonymizer_api_base": "https://y.example",
    "presidio_language": "de",
    "pii_entities_config": {"PERSON": "MASK", "CREDIT_CARD": "BLOCK"},
    "presidio_score_thresholds": {"ALL": 0.4, "PERSON": 0.8},
}
FOUND: Json = {
    "analyzer": "https://x.example",
    "language": "de",
    "entities": ["PERSON", "CREDIT_CARD"],
    "block": ["CREDIT_CARD"],
    "thresholds": {"PERSON": 0.8},
    "threshold": 0.4,
}
# Their name, their parameters, our check, our parameters.
TABLE: list[tuple[str, Json, str, Json]] = [
    ("aporia", KEY, "aporia", OURS),
    ("azure/prompt_shield", KEY, "azure_prompt_shield", AZURE),
    (
        "azure/text_moderations",
        {**KEY, "severity_threshold": 4, "categories": ["Hate"], "blocklistNames": ["b"]},
        "azure_content_safety",
        {**AZURE, "severity": 4, "categories": ["Hate"], "blocklists": ["b"]},
    ),
    (
        "bedrock",
        {**AWS, **BEDROCK},
        "bedrock",
        {
            "region": "eu-west-1",
            "access_key_id": "AKIDX",
            "secret_access_key": "s",
            "guardrail_id": "g",
            "guardrail_version": "2",
        },
    ),
    (
        "bedrock",
        {**AWS, **BEDROCK, "aws_role_name": "arn:aws:iam::1:role/guards", "aws_session_name": "me"},
        "bedrock",
        {
            "region": "eu-west-1",
            "guardrail_id": "g",
            "guardrail_version": "2",
            "identity": {
                "aws": {
                    "access_key_id": "AKIDX",
                    "secret_access_key": "s",
                    "role_arn": "arn:aws:iam::1:role/guards",
                    "session_name": "me",
                }
            },
        },
    ),
    (
        "generic_guardrail_api",
        {**KEY, "additional_provider_specific_params": {"a": 1}},
        "generic_guardrail_api",
        {**OURS, "additional_provider_specific_params": {"a": 1}},
    ),
    ("lakera", {"api_key": "k"}, "lakera", {"api_key": "k"}),
    (
        "lakera_v2",
        {**KEY, "project_id": "p", "breakdown": True},
        "lakera",
        {**OURS, "project_id": "p", "breakdown": True},
    ),
    ("lasso", KEY, "lasso", OURS),
    (
        "model_armor",
        ARMOR,
        "model_armor",
        {"template": "t", "project": "p", "location": "l", "access_token": "token"},
    ),
    (
        "openai_moderation",
        {"api_key": "k", "model": "omni"},
        "openai_moderation",
        {"api_key": "k", "model": "omni"},
    ),
    (
        "pangea",
        {**KEY, "pangea_input_recipe": "i", "pangea_output_recipe": "o"},
        "pangea",
        {**OURS, "recipe": "i", "output_recipe": "o"},
    ),
    (
        "panw_prisma_airs",
        {**KEY, "profile_name": "p", "app_name": "a"},
        "panw_prisma_airs",
        {**OURS, "profile_name": "p", "app_name": "a"},
    ),
    ("pillar", KEY, "pillar", OURS),
    ("presidio", PII, "presidio", FOUND),
    ("prompt_security", KEY, "prompt_security", OURS),
]


def converted(load: Any, *items: Json) -> Any:
    params = {"model": "openai/m", "api_base": "http://127.0.0.1:9/v1", "api_key": "k"}
    config = {"model_list": [{"model_name": "m", "litellm_params": params}], "guardrails": list(items)}
    return load(yaml.safe_dump(config, sort_keys=False), {}, "config.yaml")


def item(kind: str, mode: Any = "pre_call", **params: Any) -> Json:
    return {"guardrail_name": "rule", "litellm_params": {"guardrail": kind, "mode": mode, **params}}


def test_the_table_has_every_name() -> None:
    assert {kind for kind, *_ in TABLE} == set(KINDS)


@pytest.mark.parametrize(
    ("kind", "params", "check", "ours"), TABLE, ids=[f"{kind}-{len(params)}" for kind, params, *_ in TABLE]
)
def test_a_name(load: Any, kind: str, params: Json, check: str, ours: Json) -> None:
    found = converted(load, item(kind, **params))
    assert [str(note) for note in found.notes if "guardrails" in str(note)] == []
    (rule,) = found.config.guardrails
    (told,) = rule.checks
    assert json.loads(told) == {check: ours}
    assert (rule.scan, rule.run, rule.action) == (
        ("input",),
        "before",
        "redact" if kind == "presidio" else "block",
    )
    known = check_identities.identities(found.config.guardrails)
    assert list(known) == (["guardrail:rule:0"] if "identity" in ours else [])


@pytest.mark.parametrize(
    ("mode", "sides", "run"),
    [
        ("pre_call", ("input",), "before"),
        ("during_call", ("input",), "during"),
        ("post_call", ("output",), "before"),
        ("logging_only", ("input", "output"), "async"),
        (["pre_call", "post_call"], ("input", "output"), "before"),
    ],
)
def test_a_mode(load: Any, mode: Any, sides: tuple[str, ...], run: str) -> None:
    (rule,) = converted(load, item("lakera_v2", mode, api_key="k")).config.guardrails
    assert (rule.scan, rule.run) == (sides, run)


@pytest.mark.parametrize(
    ("params", "ours"),
    [
        ({"on_flagged_action": "monitor"}, {"action": "flag"}),
        ({"mask_request_content": True}, {"action": "redact"}),
        ({"unreachable_fallback": "fail_open"}, {"on_error": "skip"}),
        ({"fail_on_error": False}, {"on_error": "skip"}),
    ],
)
def test_what_is_said_besides(load: Any, params: Json, ours: Json) -> None:
    (rule,) = converted(load, item("lakera_v2", api_key="k", **params)).config.guardrails
    assert {name: getattr(rule, name) for name in ours} == ours


def test_secrets_are_a_preset_and_code_is_not_run(load: Any) -> None:
    (rule,) = converted(load, item("hide-secrets")).config.guardrails
    assert (rule.presets, rule.action) == (("secrets",), "redact")
    found = converted(load, item("custom_guardrail.MyGuardrail"))
    assert found.config.guardrails == ()
    assert "is not supported" in str([str(note) for note in found.notes])

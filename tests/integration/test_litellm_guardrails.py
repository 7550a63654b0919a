"""The `guardrails:` of a LiteLLM `config.yaml`, run as it stands."""

from collections.abc import Iterator

import pytest
import yaml
from tests.harness import Double, Gateway, MockProvider, chat


def rule(name: str, **params: object) -> dict[str, object]:
    return {"guardrail_name": name, "litellm_params": params}


@pytest.fixture(scope="module")
def double() -> Iterator[Double]:
    with Double() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(
    provider: MockProvider, double: Double, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    params = {"model": "openai/litellm-m", "api_base": f"{provider.url}/v1", "api_key": "k"}
    config = {
        "model_list": [{"model_name": "m", "litellm_params": params}],
        "guardrails": [
            rule(
                "pii", guardrail="presidio", mode="pre_call", default_on=True,
                presidio_analyzer_api_base="os.environ/PRESIDIO",
                presidio_anonymizer_api_base="http://unused",
                pii_entities_config={"PERSON": "MASK", "CREDIT_CARD": "BLOCK"},
                presidio_score_thresholds={"ALL": 0.4},
            ),
            rule("lakera", guardrail="lakera_v2", mode=["pre_call", "post_call"], api_key="k",
                 api_base=f"{double.url}/lakera", default_on=True),
            rule("secrets", guardrail="hide-secrets", mode="pre_call", default_on=True),
            rule("named", guardrail="openai_moderation", mode="post_call", api_key="k",
                 api_base=f"{double.url}/moderated"),
            rule("strange", guardrail="strange_vendor", mode="pre_call"),
            rule("classy", guardrail="file.ClassName", mode="pre_call"),
        ],
    }  # fmt: skip
    env = {"PRESIDIO": f"{double.url}/presidio"}
    with Gateway(tmp_path_factory.mktemp("litellm"), yaml.safe_dump(config), env=env) as running:
        yield running


def test_it_runs_as_it_stands(gateway, provider, double):
    key = gateway.mint()
    names = {"PERSON": "Anna", "CREDIT_CARD": "4111"}

    def analyzed(body):
        text = body["text"]
        places = [(kind, text.find(word), len(word)) for kind, word in names.items() if word in text]
        return [
            {"entity_type": kind, "start": at, "end": at + length, "score": 0.9}
            for kind, at, length in places
        ]

    double.answers["/presidio/analyze"] = analyzed
    double.answers["/lakera/v2/guard"] = lambda body: {"flagged": "foul" in str(body["messages"])}
    mark = provider.mark()
    headers = key.bearer
    answer = gateway.http.post(
        "/v1/chat/completions", json=chat("m", "Anna has AKIAIOSFODNN7EXAMPLE"), headers=headers
    )
    assert answer.status_code == 200, answer.text
    (seen,) = provider.requests(mark)
    assert seen.json()["messages"][0]["content"] == "[PERSON] has [AWS_ACCESS_KEY_ID]"
    assert [call.path for call in double.take()] == [
        "/lakera/v2/guard",
        "/presidio/analyze",
        "/lakera/v2/guard",
    ]
    for text in ("a foul day", "card 4111"):
        refused = gateway.http.post("/v1/chat/completions", json=chat("m", text), headers=headers)
        assert refused.status_code == 400, text
    owner = gateway.http.post("/key/generate", json={"guardrails": ["named"]}, headers=gateway.admin).json()
    double.answers["/moderated/moderations"] = {"results": [{"flagged": True}]}
    bearer = {"authorization": f"Bearer {owner['key']}"}
    assert gateway.http.post("/v1/chat/completions", json=chat("m"), headers=bearer).status_code == 400
    assert gateway.http.post("/v1/chat/completions", json=chat("m"), headers=headers).status_code == 200


def test_what_has_no_effect_is_listed(gateway):
    log = gateway.child.log
    assert "the guardrail `strange_vendor` is not supported in this version" in log
    assert "the guardrail `file.ClassName` is not supported" in log

"""What providers have ended says what to use instead."""

import pytest
from tests.harness import Gateway, MockProvider, make_config, make_deployment, make_model


def test_assistants_and_threads(provider: MockProvider, tmp_path_factory: pytest.TempPathFactory) -> None:
    config = make_config(make_model("m", make_deployment(provider)))
    with Gateway(tmp_path_factory.mktemp("gateway"), config) as gateway:
        headers = {"authorization": f"Bearer {gateway.mint().secret}"}
        for method, path in [
            ("POST", "/v1/assistants"),
            ("GET", "/v1/assistants/asst_1"),
            ("DELETE", "/openai/v1/assistants/asst_1"),
            ("POST", "/v1/threads"),
            ("POST", "/v1/threads/runs"),
            ("GET", "/threads/thread_1/messages"),
            ("POST", "/openai/threads/thread_1/runs"),
        ]:
            answer = gateway.http.request(method, path, headers=headers)
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (410, "endpoint_ended"), path
            assert "/v1/responses" in error["message"]
            assert gateway.http.request(method, path).status_code == 401

"""`ailink.yaml` for a test, and the bodies of the commonest requests."""

import os
from pathlib import Path
from typing import Any

import yaml
from tests.harness.provider import MockProvider

Section = dict[str, Any]

AWS_KEY = "AKIDMOCK:mock-secret:mock-token"
"""What deployments of dialect `bedrock` sign with; a mock that is given it checks every signature."""


def make_deployment(
    provider: MockProvider | str,
    script: str = "",
    *,
    dialect: str = "openai",
    model: str = "upstream-model",
    **settings: Any,
) -> Section:
    """A deployment at a mock provider (or at a base URL without `/v1`) whose answers follow `script`.

    The script travels in the name of the model, so it needs no request header. `settings` are keys of the
    file (`weight`, `timeouts`, `id`, …).
    """
    root = provider if isinstance(provider, str) else provider.url
    row, base = ("mock", f"{root}/v1") if dialect == "openai" else (f"mock_{dialect}", root)
    name = f"{model}?{script}" if script else model
    if dialect == "bedrock":
        row = "bedrock"
        settings = {"region": "us-east-1", "api_key": AWS_KEY, **settings}
    return {"provider": row, "base_url": base, "model": name, **settings}


def hasty(script: str) -> Section:
    """Time-outs of a deployment: short where its script keeps silent.

    Nowhere else, lest a moment in which the machine is busy be taken for silence.
    """
    short = {"connect": "400ms", "first_byte": "400ms", "idle": "400ms", "total": "20s"}
    if any(silence in script for silence in ("drop=stall", "stall_at_byte=0", "slow_head")):
        return short
    return {**short, "first_byte": "20s"} if "stall" in script else {}


def make_model(name: str, *deployments: Section, **settings: Any) -> Section:
    """A model that clients ask for. Without retries unless `settings` says otherwise."""
    return {"name": name, "deployments": list(deployments), "retries": 0, **settings}


def make_config(*models: Section, **sections: Any) -> Section:
    """A whole file."""
    return {"models": list(models), **sections}


def write_config(file: Path, config: Section | str) -> None:
    """Writes the file in one step (a rename), as careful tools do; a text is written as it stands."""
    text = config if isinstance(config, str) else yaml.safe_dump(config, sort_keys=False)
    new = file.with_name(f".{file.name}.new")
    new.write_text(text)
    os.replace(new, file)  # noqa: PTH105 - Path.replace hides that this is the atomic one


def chat(model: str = "m", text: str = "hello", **more: Any) -> Section:
    """Body of a chat completion."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def message(model: str = "m", text: str = "hello", **more: Any) -> Section:
    """Body of Anthropic's messages."""
    return {"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": text}], **more}

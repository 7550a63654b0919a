"""Guardrails written in Python as the data plane calls them: texts in, one verdict out."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any, Final

import msgspec

from ailink.plugins.guardrail import Context, Guardrail, Verdict, judged
from ailink.plugins.runner import Runner

log = logging.getLogger(__name__)

PREFIX: Final = "guardrails"
# The strongest of several verdicts decides.
STRENGTH: Final = ("pass", "flag", "fail", "redact", "block")


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """`roles`: who says each of the texts."""

    texts: list[str]
    roles: list[str]
    context: Context


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """`texts` as they would pass; none where all stay as they are."""

    does: str
    passed: bool
    reason: str
    texts: list[str]
    data: dict[str, str]


def name_of(guardrail: str, place: int) -> str:
    """What the check of a guardrail runs as; no provider and no strategy is called so."""
    return f"guardrail {guardrail} checks[{place}]"


def called(path: str) -> str | None:
    """`/guardrails/NAME/PLACE` → what runs there; None for other paths."""
    match path.split("/"):
        case ["", prefix, name, place] if prefix == PREFIX and place.isdigit():
            return name_of(name, int(place))
    return None


async def answer(find: Callable[[str], Runner | None], name: str, body: bytes) -> tuple[int, Any]:
    """Status and answer."""
    runner = find(name)
    if runner is None:
        return 404, {"error": "there is no such guardrail"}
    try:
        question = msgspec.json.decode(body, type=Question)
        contexts = [msgspec.structs.replace(question.context, role=role) for role in question.roles]
        verdicts: list[Verdict] = await runner.work(
            lambda plugin: judged(_guardrail(plugin), question.texts, contexts)
        )
    except Exception as error:  # noqa: BLE001  # whatever the author's code raises
        # Its message may tell what stands in the text.
        log.error("%s failed: %s%s", name, type(error).__name__, _place(error))
        return 500, {"error": "the guardrail failed"}
    return 200, _together(question.texts, verdicts)


def _guardrail(plugin: object) -> Guardrail:
    if not isinstance(plugin, Guardrail):
        raise TypeError("it is no guardrail")
    return plugin


def _together(texts: list[str], verdicts: list[Verdict]) -> Answer:
    does = max((verdict.does for verdict in verdicts), key=STRENGTH.index, default="pass")
    left = [
        text if verdict.text is None else verdict.text for text, verdict in zip(texts, verdicts, strict=True)
    ]
    reasons = dict.fromkeys(
        verdict.reason for verdict in verdicts if verdict.does != "pass" and verdict.reason
    )
    reason = "; ".join(reasons)
    return Answer(
        does=does,
        passed=does == "pass",
        reason=reason,
        texts=left if left != texts else [],
        data={"verdict": does, "reason": reason},
    )


def _place(error: Exception) -> str:
    """Where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""

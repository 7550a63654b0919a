"""Embeddings that know what a few words mean: as the files of a static model, and as a provider over HTTP."""

import json
import re
import struct
from pathlib import Path
from typing import Any, Final

from tests.harness.listening import Call, Listening, Reply

DIMENSIONS: Final = 64
CONCEPTS: Final = (
    ("reset", "restore", "recover"), ("password", "passphrase"), ("account", "login"), ("cook", "prepare"),
    ("rice",), ("enable", "disable", "activate", "deactivate"), ("logging", "logs"), ("server", "service"),
    ("refund", "reimbursement", "money"), ("order", "parcel"), ("days", "deadline"), ("weather", "forecast"),
    ("paris", "london"), ("sky",), ("blue",), ("picture", "photo"),
)  # fmt: skip
"""Words of one concept have one vector, opposites too: no embedder sees the difference. Others have none."""


def vector(text: str) -> list[float]:
    """Of the concepts a text names; of length 1."""
    words = re.findall(r"[a-z]+", text.lower())
    counts = [float(sum(word in concept for word in words)) for concept in CONCEPTS]
    counts += [0.0] * (DIMENSIONS - len(counts))
    length = sum(count * count for count in counts) ** 0.5
    return [count / length if length else 0.0 for count in counts]


def write_static_model(directory: Path) -> Path:
    """The files of a model that embeds as `vector` does."""
    directory.mkdir(parents=True, exist_ok=True)
    vocabulary = {"[UNK]": 0}
    rows = [[0.0] * DIMENSIONS]
    for place, concept in enumerate(CONCEPTS):
        for word in concept:
            vocabulary[word] = len(rows)
            rows.append([float(place == at) for at in range(DIMENSIONS)])
    tokenizer = {
        "normalizer": {"type": "BertNormalizer", "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": vocabulary},
    }
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    data = b"".join(struct.pack(f"<{DIMENSIONS}f", *row) for row in rows)
    described = {"dtype": "F32", "shape": [len(rows), DIMENSIONS], "data_offsets": [0, len(data)]}
    head = json.dumps({"embeddings": described}).encode()
    (directory / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + data)
    return directory


class Embedder(Listening):
    """A provider of embeddings as `vector` makes them, and of a judge who says `verdict`.

    `asked` has the bodies of all requests. With `broken` it answers 500.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Any] = []
        self.verdict = "YES"
        self.broken = False

    def answer(self, call: Call) -> Reply:
        self.asked.append(call.json())
        return Reply(500 if self.broken else 200, self._said(call.json()))

    def _said(self, body: Any) -> dict[str, Any]:
        usage = {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}
        if self.broken:
            return {"error": {"message": "broken", "type": "server_error"}}
        if "messages" in body:
            message = {"role": "assistant", "content": self.verdict}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return {
                "id": "c", "object": "chat.completion", "created": 1, "model": "judge", "choices": [choice],
                "usage": usage,
            }  # fmt: skip
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        data = [
            {"object": "embedding", "index": index, "embedding": vector(text)}
            for index, text in enumerate(texts)
        ]
        return {"object": "list", "model": "embedder", "data": data, "usage": usage}

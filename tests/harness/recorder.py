"""A provider that takes down every request and refuses it, so that nothing of an answer matters."""

import json

from tests.harness.listening import Call, Listening, Reply, drained

REFUSAL = {"error": {"message": "recorded", "type": "invalid_request_error"}}


class Recorder(Listening):
    """Use as a context manager. `take()` hands out what came since the last call."""

    def answer(self, call: Call) -> Reply:
        return Reply(400, REFUSAL)

    def take(self) -> list[Call]:
        """The requests since the last time, oldest first."""
        return drained(self.calls)


def plain(body: bytes, content_type: str) -> object:
    """A body for people: JSON as it is, a form as its fields, a file as text."""
    if not content_type.startswith(("multipart/", "application/json")):
        return body.decode()
    if not content_type.startswith("multipart/"):
        return json.loads(body)
    boundary = content_type.partition("boundary=")[2].strip('"').encode()
    fields = {}
    for part in body.split(b"--" + boundary)[1:-1]:
        head, _, content = part.strip(b"\r\n").partition(b"\r\n\r\n")
        name = head.partition(b'name="')[2].partition(b'"')[0]
        fields[name.decode()] = content.decode()
    return fields

"""The errors of the management endpoints: a status, and the OpenAI error envelope around a message that
helps.
"""

from __future__ import annotations

import msgspec


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorEnvelope(msgspec.Struct, frozen=True, kw_only=True):
    """What every refusal looks like."""

    error: ErrorBody


class ApiError(Exception):
    """A refusal that is the caller's to read. `param` is the path of the field at fault."""

    def __init__(self, status: int, message: str, *, type: str, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.envelope = ErrorEnvelope(error=ErrorBody(message=message, type=type, param=param, code=code))


def bad_request(message: str, param: str | None = None, code: str = "invalid_request") -> ApiError:
    return ApiError(400, message, type="invalid_request_error", code=code, param=param)


def unauthorized() -> ApiError:
    return ApiError(
        401,
        "A valid API key is needed: send it as `Authorization: Bearer sk-…`.",
        type="authentication_error",
        code="invalid_api_key",
    )


def forbidden(message: str, code: str = "route_access_denied") -> ApiError:
    return ApiError(403, message, type="permission_error", code=code)


def not_found(message: str, param: str | None = None, code: str = "not_found") -> ApiError:
    """For what does not exist and for what belongs to another alike."""
    return ApiError(404, message, type="not_found_error", code=code, param=param)


def conflict(message: str, code: str = "conflict", param: str | None = None) -> ApiError:
    """For what is in use, exists already or was changed meanwhile."""
    return ApiError(409, message, type="invalid_request_error", code=code, param=param)

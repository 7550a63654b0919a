"""Bodies, answers and handlers of `/credentials`, in LiteLLM's shapes.

A stored secret never comes out again.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ailink.admin.call import Call, Nothing
from ailink.admin.errors import bad_request
from ailink.admin.services import Services
from ailink.store.credentials import CredentialRecord

HIDDEN = "********"

CredentialName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=128,
        pattern=r"^[^\x00-\x1f\x7f/]*$(?!\n)",
        description="What `credential:` names.",
    ),
]
# Goes into an HTTP header, so visible ASCII only.
ApiKey = Annotated[str, Meta(min_length=1, max_length=16_384, pattern=r"^[!-~]+$(?!\n)")]


class CredentialValues(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The secret itself."""

    api_key: ApiKey


class CreateCredential(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    credential_name: CredentialName
    credential_values: CredentialValues
    credential_info: dict[str, Any] = {}


class UpdateCredential(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is left out or null stays as it is."""

    credential_name: CredentialName | None = None
    credential_values: CredentialValues | None = None
    credential_info: dict[str, Any] | None = None


class CredentialView(msgspec.Struct, frozen=True, kw_only=True):
    credential_name: str
    credential_values: dict[str, str]
    credential_info: dict[str, Any]


class CredentialsView(msgspec.Struct, frozen=True, kw_only=True):
    success: bool
    credentials: list[CredentialView]


class Done(msgspec.Struct, frozen=True, kw_only=True):
    success: bool
    message: str


async def list_credentials(services: Services, call: Call[Nothing, Nothing]) -> CredentialsView:
    return CredentialsView(
        success=True, credentials=[_view(record) for record in await services.credentials.page()]
    )


async def create_credential(services: Services, call: Call[CreateCredential, Nothing]) -> Done:
    body = call.body
    await services.credentials.create(
        call.caller, body.credential_name, body.credential_values.api_key, body.credential_info
    )
    return Done(success=True, message="Credential created successfully")


async def get_credential(services: Services, call: Call[Nothing, Nothing]) -> CredentialView:
    return _view(await services.credentials.get(call.path["name"]))


async def update_credential(services: Services, call: Call[UpdateCredential, Nothing]) -> Done:
    name, body = call.path["name"], call.body
    if body.credential_name not in (None, name):
        raise bad_request("a credential cannot be renamed: make a new one", param="credential_name")
    secret = None if body.credential_values is None else body.credential_values.api_key
    await services.credentials.update(call.caller, name, secret, body.credential_info)
    return Done(success=True, message="Credential updated successfully")


async def delete_credential(services: Services, call: Call[Nothing, Nothing]) -> Done:
    await services.credentials.delete(call.caller, call.path["name"])
    return Done(success=True, message="Credential deleted successfully")


def _view(record: CredentialRecord) -> CredentialView:
    return CredentialView(
        credential_name=record.name, credential_values={"api_key": HIDDEN}, credential_info=record.info
    )

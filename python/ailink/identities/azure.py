"""Microsoft Entra tokens: of a client secret, a federated token, a managed identity, or the default chain."""

from typing import Any

from azure.core.exceptions import AzureError
from azure.identity import (
    ClientSecretCredential,
    DefaultAzureCredential,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)

from ailink.config.identity import AzureIdentity, Identity
from ailink.identities.token import IdentityError, Token


def fetch(identity: Identity) -> Token:
    """A token of this identity; blocks. Raises IdentityError."""
    settings = identity.azure or AzureIdentity()
    try:
        with _credential(settings) as credential:
            token = credential.get_token(settings.scope)
    except AzureError as error:
        raise IdentityError(f"{type(error).__name__}: {str(error.message).splitlines()[0]}") from error
    except (OSError, ValueError) as error:
        raise IdentityError(f"{type(error).__name__}: {error}") from error
    return Token(value=token.token.encode(), expires=float(token.expires_on))


def _credential(settings: AzureIdentity) -> Any:
    where = {} if settings.authority is None else {"authority": settings.authority}
    if settings.managed:
        return ManagedIdentityCredential(client_id=settings.client_id)
    if settings.client_secret is not None:
        secret = settings.client_secret.reveal()
        return ClientSecretCredential(settings.tenant_id or "", settings.client_id or "", secret, **where)
    if settings.token_file is not None:
        return WorkloadIdentityCredential(
            tenant_id=settings.tenant_id,
            client_id=settings.client_id,
            token_file_path=settings.token_file,
            **where,
        )
    return DefaultAzureCredential(**where)

"""Google access tokens: of a credentials file or the platform's own, also as another service account."""

import json
from datetime import UTC
from pathlib import Path
from typing import Any

import google.auth
from google.auth import aws, identity_pool, impersonated_credentials
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request
from google.oauth2 import service_account
from google.oauth2.credentials import Credentials as UserCredentials

from ailink.config.identity import GoogleIdentity, Identity
from ailink.identities.token import IdentityError, Token


def fetch(identity: Identity) -> Token:
    """A token of this identity; blocks. Raises IdentityError."""
    settings = identity.google or GoogleIdentity()
    scopes = list(settings.scopes)
    try:
        if settings.credentials_file is not None:
            credentials = _of_file(Path(settings.credentials_file), scopes)
        else:
            credentials, _ = google.auth.default(scopes=scopes)
        if settings.impersonate is not None:
            credentials = impersonated_credentials.Credentials(
                source_credentials=credentials, target_principal=settings.impersonate, target_scopes=scopes
            )
        credentials.refresh(Request())
    except GoogleAuthError as error:
        # The first argument says what went wrong; a second one may hold the whole answer.
        raise IdentityError(f"{type(error).__name__}: {error.args[0] if error.args else ''}") from error
    except (OSError, ValueError) as error:
        raise IdentityError(f"{type(error).__name__}: {error}") from error
    if not credentials.token:
        raise IdentityError("Google gave no token")
    # Google's library has naive times, in UTC.
    expires = None if credentials.expiry is None else credentials.expiry.replace(tzinfo=UTC).timestamp()
    return Token(value=credentials.token.encode(), expires=expires)


def _of_file(file: Path, scopes: list[str]) -> Any:
    """The credentials of a file, by the type it names. Raises IdentityError, ValueError, OSError."""
    info = json.loads(file.read_text(encoding="utf-8"))
    kind = info.get("type") if isinstance(info, dict) else None
    if kind == "service_account":
        return service_account.Credentials.from_service_account_info(info, scopes=scopes)
    if kind == "authorized_user":
        return UserCredentials.from_authorized_user_info(info, scopes)
    if kind == "external_account":
        of_aws = "environment_id" in info.get("credential_source", {})
        made = aws.Credentials if of_aws else identity_pool.Credentials
        return made.from_info(info, scopes=scopes)
    raise IdentityError(
        f"{file} is of type {kind!r}; known are service_account, authorized_user and external_account"
    )

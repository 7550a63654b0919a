"""Google access tokens: of a credentials file, or application default credentials; also as another service account."""

from datetime import UTC

import google.auth
from google.auth import impersonated_credentials
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request

from ailink.config.identity import GoogleIdentity, Identity
from ailink.identities.token import IdentityError, Token


def fetch(identity: Identity) -> Token:
    """A token of this identity; blocks. Raises IdentityError."""
    settings = identity.google or GoogleIdentity()
    scopes = list(settings.scopes)
    try:
        if settings.credentials_file is not None:
            credentials, _ = google.auth.load_credentials_from_file(settings.credentials_file, scopes=scopes)
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

"""Tokens of any OAuth 2 server: of a client secret (RFC 6749, 4.4), or of a file's token of another identity
provider, exchanged (RFC 8693) or presented in place of the secret (RFC 7523).
"""

import base64
import time
from pathlib import Path
from urllib.parse import quote

from ailink.config.identity import Identity, OauthIdentity
from ailink.identities.exchange import asked
from ailink.identities.token import IdentityError, Token

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def fetch(identity: Identity) -> Token:
    """A token of this identity; blocks. Raises IdentityError."""
    settings = identity.oauth
    if settings is None or settings.token_url is None:
        raise IdentityError("there is no `token_url`")
    fields, headers = _grant(settings)
    if settings.scope is not None:
        fields["scope"] = settings.scope
    if settings.audience is not None:
        fields["audience"] = settings.audience
    return asked(settings.token_url, fields, headers, time.time())


def _grant(settings: OauthIdentity) -> tuple[dict[str, str], dict[str, str]]:
    """(form, headers) of the request for a token. Raises IdentityError."""
    client = {} if settings.client_id is None else {"client_id": settings.client_id}
    if settings.client_secret is not None:
        pair = (settings.client_id or "", settings.client_secret.reveal())
        joined = ":".join(quote(part, safe="") for part in pair)
        basic = base64.b64encode(joined.encode()).decode()
        return {"grant_type": "client_credentials"}, {"authorization": f"Basic {basic}"}
    try:
        token = Path(settings.token_file or "").read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise IdentityError(f"the token in {settings.token_file}: {type(error).__name__}") from error
    if settings.grant == "exchange":
        return {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": JWT, **client}, {}
    proof = {"client_assertion_type": ASSERTION, "client_assertion": token}
    return {"grant_type": "client_credentials", **proof, **client}, {}

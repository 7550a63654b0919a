"""IBM Cloud's tokens of an API key: https://cloud.ibm.com/docs/account?topic=account-iamtoken_from_apikey."""

import time

from ailink.config.identity import Identity
from ailink.identities.exchange import asked
from ailink.identities.token import IdentityError, Token

GRANT = "urn:ibm:params:oauth:grant-type:apikey"


def fetch(identity: Identity) -> Token:
    """A token of this identity; blocks. Raises IdentityError."""
    settings = identity.ibm
    if settings is None or settings.api_key is None:
        raise IdentityError("there is no `api_key`")
    fields = {"grant_type": GRANT, "apikey": settings.api_key.reveal()}
    return asked(settings.token_url, fields, {}, time.time())

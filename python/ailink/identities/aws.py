"""AWS access keys: given, of a profile or the platform's, or of a role assumed with them; or a bearer token
made of them, for services that take no signature.

botocore knows all the places; it is asked anew every time, so that changed files and rotated keys are seen.
"""

import base64
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config as ClientConfig
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from ailink.config.identity import AwsIdentity, Identity
from ailink.identities.token import IdentityError, Token

REGION = "us-east-1"
BEARER_SECONDS = 12 * 3600
"""The longest that AWS allows; a token of keys that end earlier ends with them."""
TIMEOUTS = ClientConfig(connect_timeout=5, read_timeout=10, retries={"max_attempts": 2})


def fetch(identity: Identity) -> Token:
    """A token of this identity; blocks. Raises IdentityError."""
    aws = identity.aws or AwsIdentity()
    try:
        keys = _role(aws) if aws.role_arn is not None else _token(_base(aws))
        return keys if aws.bearer is None else _bearer(keys, *aws.bearer.split("/", 1))
    except ClientError as error:
        # The answer's own words: code and message, never what was sent.
        told = error.response.get("Error", {})
        raise IdentityError(f"AWS refused: {told.get('Code')}: {told.get('Message')}") from error
    except (BotoCoreError, OSError, ValueError) as error:
        raise IdentityError(f"{type(error).__name__}: {error}") from error


def _base(aws: AwsIdentity) -> Credentials:
    if aws.access_key_id is not None and aws.secret_access_key is not None:
        token = None if aws.session_token is None else aws.session_token.reveal()
        return Credentials(aws.access_key_id.reveal(), aws.secret_access_key.reveal(), token)
    found = Session(profile=aws.profile).get_credentials()
    if found is None:
        raise IdentityError(
            "no AWS credentials: none in the environment, in a profile, or from the platform's metadata"
        )
    return found


def _token(credentials: Credentials) -> Token:
    frozen = credentials.get_frozen_credentials()
    expires = getattr(credentials, "_expiry_time", None)
    ends = None if expires is None else expires.timestamp()
    return _joined(frozen.access_key, frozen.secret_key, frozen.token, ends)


def _joined(key: str, secret: str, token: str | None, expires: float | None) -> Token:
    value = f"{key}:{secret}:{token}" if token else f"{key}:{secret}"
    return Token(value=value.encode(), expires=expires)


def _bearer(keys: Token, service: str, region: str) -> Token:
    """A presigned request in base64, as the SDK's token generators of Bedrock and SageMaker make it."""
    host = f"{service}.amazonaws.com"
    request = AWSRequest(
        "POST", f"https://{host}/", headers={"host": host}, params={"Action": "CallWithBearerToken"}
    )
    credentials = Credentials(*keys.value.decode().split(":", 2))
    SigV4QueryAuth(credentials, service, region, expires=BEARER_SECONDS).add_auth(request)
    told = f"{request.url.removeprefix('https://')}&Version=1"
    value = f"{service}-api-key-{base64.b64encode(told.encode()).decode()}"
    ends = time.time() + BEARER_SECONDS
    return Token(value=value.encode(), expires=ends if keys.expires is None else min(ends, keys.expires))


def _role(aws: AwsIdentity) -> Token:
    session = Session(profile=aws.profile)
    options: dict[str, Any] = {
        "region_name": aws.region or REGION,
        "endpoint_url": aws.sts_endpoint,
        "config": TIMEOUTS,
    }
    wanted: dict[str, Any] = {"RoleArn": aws.role_arn, "RoleSessionName": aws.session_name}
    if aws.duration is not None:
        wanted["DurationSeconds"] = int(aws.duration) // 1000
    if aws.web_identity_token_file is not None:
        anyone = ClientConfig(signature_version="unsigned").merge(TIMEOUTS)
        wanted["WebIdentityToken"] = Path(aws.web_identity_token_file).read_text(encoding="ascii").strip()
        client = session.create_client("sts", **{**options, "config": anyone})
        answer = client.assume_role_with_web_identity(**wanted)
    else:
        base = _base(aws).get_frozen_credentials()
        if aws.external_id is not None:
            wanted["ExternalId"] = aws.external_id.reveal()
        if aws.session_tags:
            wanted["Tags"] = [{"Key": key, "Value": value} for key, value in aws.session_tags.items()]
        client = session.create_client(
            "sts",
            aws_access_key_id=base.access_key,
            aws_secret_access_key=base.secret_key,
            aws_session_token=base.token,
            **options,
        )
        answer = client.assume_role(**wanted)
    made = answer["Credentials"]
    expires: datetime = made["Expiration"]
    return _joined(made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"], expires.timestamp())

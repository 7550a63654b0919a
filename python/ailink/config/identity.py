"""Who the gateway is at a cloud: instead of an API key, an identity whose short-lived tokens are kept fresh.

Everything may be left out: then the platform says who we are (environment, profile files, metadata services).
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from ailink.config.secret import Secret
from ailink.config.section import Strict
from ailink.config.units import Duration

_Name = Annotated[str, Meta(min_length=1, max_length=2048)]
_Url = Annotated[str, Meta(pattern=r"^https?://[^\s/?#]+[^\s?#]*$")]
_SessionName = Annotated[str, Meta(pattern=r"^[\w+=,.@-]{2,64}\Z")]


class AwsIdentity(Strict, frozen=True, kw_only=True):
    """An access key, a profile, or what the default chain finds (environment, web identity of a Kubernetes
    service account, container or instance role); with `role_arn`, the role assumed with it.
    """

    access_key_id: Secret | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None
    profile: _Name | None = None
    role_arn: _Name | None = None
    external_id: Secret | None = None
    session_name: _SessionName = "ailink"
    session_tags: dict[_Name, str] = msgspec.field(default_factory=dict)
    """Tags of the session, for policies and cost reports."""
    web_identity_token_file: _Name | None = None
    """A token of another identity provider that the role trusts; read anew every time."""
    duration: Duration | None = None
    """How long an assumed role lasts; null: AWS's default, one hour."""
    sts_endpoint: _Url | None = None
    region: _Name | None = None
    """Of the token service; null: the deployment's place has no say, `us-east-1`."""


class GoogleIdentity(Strict, frozen=True, kw_only=True):
    """A credentials file (service account, workload identity federation), or the platform's own."""

    credentials_file: _Name | None = None
    impersonate: _Name | None = None
    """A service account to act as."""
    scopes: tuple[_Name, ...] = ("https://www.googleapis.com/auth/cloud-platform",)


class AzureIdentity(Strict, frozen=True, kw_only=True):
    """A client secret, a federated token, a managed identity, or what the default chain finds."""

    tenant_id: _Name | None = None
    client_id: _Name | None = None
    client_secret: Secret | None = None
    token_file: _Name | None = None
    """A federated token (workload identity); read anew every time."""
    managed: bool = False
    """The managed identity of this machine; `client_id` chooses among several."""
    authority: _Url | None = None
    scope: _Name = "https://cognitiveservices.azure.com/.default"


class Identity(Strict, frozen=True, kw_only=True):
    """One of these."""

    aws: AwsIdentity | None = None
    google: GoogleIdentity | None = None
    azure: AzureIdentity | None = None


def identity_fault(identity: Identity) -> tuple[str, str] | None:
    """(key, why) an identity cannot work, or None."""
    given = [name for name in ("aws", "google", "azure") if getattr(identity, name) is not None]
    if len(given) != 1:
        return "", "name one of `aws`, `google`, `azure`"
    aws, azure = identity.aws, identity.azure
    if aws is not None:
        if (aws.access_key_id is None) != (aws.secret_access_key is None):
            return "aws", "`access_key_id` and `secret_access_key` go together"
        if aws.access_key_id is not None and aws.profile is not None:
            return "aws.profile", "give an access key or a profile, not both"
        needing = [aws.external_id, aws.web_identity_token_file, aws.duration, aws.session_tags or None]
        if aws.role_arn is None and any(value is not None for value in needing):
            return "aws.role_arn", "is missing: there is no role to assume"
        if aws.web_identity_token_file is not None and aws.session_tags:
            return "aws.session_tags", "a web identity's tags come with its token"
        if aws.duration is not None and not 900_000 <= int(aws.duration) <= 43_200_000:
            return "aws.duration", "must be between 15 minutes and 12 hours"
    if azure is not None:
        ways = [azure.client_secret is not None, azure.token_file is not None, azure.managed]
        if sum(ways) > 1:
            return "azure", "give one of `client_secret`, `token_file`, `managed`"
        if (azure.client_secret or azure.token_file) and not (azure.tenant_id and azure.client_id):
            return "azure", "`tenant_id` and `client_id` are missing"
    return None


def secrets_of(identity: Identity) -> list[Secret]:
    """What must not be shown."""
    parts = [part for part in (identity.aws, identity.google, identity.azure) if part is not None]
    values = (getattr(part, name) for part in parts for name in part.__struct_fields__)
    return [value for value in values if isinstance(value, Secret)]

"""Who the gateway is at a cloud: instead of an API key, an identity whose short-lived tokens are kept fresh.

Everything may be left out: then the platform says who we are (environment, profile files, metadata services).
"""

from typing import Annotated, Literal

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
    bearer: _Name | None = None
    """What a bearer token is made for, as `service/region`; null: the provider says it, if it takes one."""


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


class IbmIdentity(Strict, frozen=True, kw_only=True):
    """An API key of IBM Cloud, for which its tokens are given."""

    api_key: Secret | None = None
    token_url: _Url = "https://iam.cloud.ibm.com/identity/token"  # noqa: S105 - no password


class OauthIdentity(Strict, frozen=True, kw_only=True):
    """A client of any OAuth 2 server: by its secret, or by a token of another identity provider."""

    token_url: _Url | None = None
    client_id: _Name | None = None
    client_secret: Secret | None = None
    token_file: _Name | None = None
    """A federated token (workload identity); read anew every time."""
    grant: Literal["exchange", "assertion"] = "exchange"
    """What becomes of the federated token: exchanged, or presented in place of the secret."""
    scope: _Name | None = None
    audience: _Name | None = None


class Identity(Strict, frozen=True, kw_only=True):
    """One of these."""

    aws: AwsIdentity | None = None
    google: GoogleIdentity | None = None
    azure: AzureIdentity | None = None
    ibm: IbmIdentity | None = None
    oauth: OauthIdentity | None = None


KINDS = Identity.__struct_fields__


def identity_fault(identity: Identity) -> tuple[str, str] | None:
    """(key, why) an identity cannot work, or None."""
    given = [name for name in KINDS if getattr(identity, name) is not None]
    if len(given) != 1:
        return "", "name one of " + ", ".join(f"`{name}`" for name in KINDS)
    if identity.ibm is not None and not identity.ibm.api_key:
        return "ibm.api_key", "is missing"
    aws_fault = None if identity.aws is None else _aws_fault(identity.aws)
    azure_fault = None if identity.azure is None else _azure_fault(identity.azure)
    return aws_fault or azure_fault or (None if identity.oauth is None else _oauth_fault(identity.oauth))


def _oauth_fault(oauth: OauthIdentity) -> tuple[str, str] | None:
    if oauth.token_url is None:
        return "oauth.token_url", "is missing"
    if (oauth.client_secret is None) == (oauth.token_file is None):
        return "oauth", "give `client_secret` or `token_file`"
    if oauth.client_secret is not None and oauth.client_id is None:
        return "oauth.client_id", "is missing"
    return None


def _aws_fault(aws: AwsIdentity) -> tuple[str, str] | None:
    if (aws.access_key_id is None) != (aws.secret_access_key is None):
        return "aws", "`access_key_id` and `secret_access_key` go together"
    if aws.access_key_id is not None and aws.profile is not None:
        return "aws.profile", "give an access key or a profile, not both"
    needing = [aws.external_id, aws.web_identity_token_file, aws.duration, aws.session_tags or None]
    if aws.role_arn is None and any(value is not None for value in needing):
        return "aws.role_arn", "is missing: there is no role to assume"
    if aws.web_identity_token_file is not None:
        if aws.session_tags:
            text = "a web identity's tags come with its token; without `web_identity_token_file` "
            return "aws.session_tags", f"{text}the default chain's role (IRSA) assumes this one with tags"
        if aws.external_id is not None:
            return "aws.external_id", "is not asked of a web identity"
        if aws.access_key_id is not None or aws.profile is not None:
            return "aws.web_identity_token_file", "give this, an access key or a profile, not two of them"
    if aws.duration is not None and not 900_000 <= int(aws.duration) <= 43_200_000:
        return "aws.duration", "must be between 15 minutes and 12 hours"
    return None


def _azure_fault(azure: AzureIdentity) -> tuple[str, str] | None:
    ways = [azure.client_secret is not None, azure.token_file is not None, azure.managed]
    if sum(ways) > 1:
        return "azure", "give one of `client_secret`, `token_file`, `managed`"
    if (azure.client_secret or azure.token_file) and not (azure.tenant_id and azure.client_id):
        return "azure", "`tenant_id` and `client_id` are missing"
    return None


def secrets_of(identity: Identity) -> list[Secret]:
    """What must not be shown."""
    parts = [part for name in KINDS if (part := getattr(identity, name)) is not None]
    values = (getattr(part, name) for part in parts for name in part.__struct_fields__)
    return [value for value in values if isinstance(value, Secret)]

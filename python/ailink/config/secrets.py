"""Every secret of a configuration, for whoever keeps them out of logs."""

from collections.abc import Iterator

from ailink.config import check_identities
from ailink.config.alerts import secrets_of as alert_secrets
from ailink.config.identity import secrets_of
from ailink.config.schema import Config
from ailink.config.secret import Secret


def secrets_in(config: Config) -> Iterator[Secret]:
    """Every secret of the file."""
    found = [config.master_key, config.encryption_key, config.redis_url]
    found += [provider.api_key for provider in config.providers.values()]
    found += [deployment.api_key for model in config.models for deployment in model.deployments]
    found += [
        key for model in config.models for deployment in model.deployments for key in deployment.api_keys
    ]
    given = [provider.identity for provider in config.providers.values()]
    given += [deployment.identity for model in config.models for deployment in model.deployments]
    given += check_identities.identities(config.guardrails).values()
    found += [secret for identity in given if identity is not None for secret in secrets_of(identity)]
    redis, objects = config.cache.redis, config.cache.objects
    found += [] if redis is None else [redis.url]
    if objects is not None:
        found.append(objects.access_key)
        found += [] if objects.identity is None else secrets_of(objects.identity)
    found += alert_secrets(config.alerts)
    otlp = config.observe.otlp
    found += [] if otlp is None else otlp.headers.values()
    found += [] if config.approvals.slack is None else [config.approvals.slack.signing_secret]
    return (secret for secret in found if secret is not None)

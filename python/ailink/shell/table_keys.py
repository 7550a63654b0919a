"""Routes of virtual keys."""

from __future__ import annotations

from ailink.admin import explain_handlers as explain
from ailink.admin import key_fields as fields
from ailink.admin import key_handlers as keys
from ailink.admin import litellm_fields as litellm
from ailink.shell.policy import Policy, needs
from ailink.shell.route import Route, route

READ, WRITE = needs("keys.read"), needs("keys.write")

# fmt: off
KEY_ROUTES: tuple[Route, ...] = (
    route("POST", "/key/generate", WRITE, keys.generate, "Make a virtual key", tag="Keys",
          body=fields.GenerateKey, inert_body=litellm.KEY_SETTINGS, body_optional=True,
          response=fields.NewKeyView),
    route("POST", "/key/service-account/generate", WRITE, keys.generate_service_account,
          "Make a key that belongs to a team and to no person", tag="Keys",
          body=fields.ServiceAccountKey, inert_body=litellm.KEY_SETTINGS, response=fields.NewKeyView),
    route("GET", "/key/info", Policy.KEY, keys.info, "Settings and spend of a key", tag="Keys",
          query=fields.KeyInfoQuery, response=fields.KeyInfoView),
    route("GET", "/key/explain", Policy.KEY, explain.explain, "What holds for a key, and which level says so",
          tag="Keys", query=explain.ExplainQuery, response=explain.ExplainView),
    route("POST", "/v2/key/info", READ, keys.info_of_many, "Settings and spend of several keys", tag="Keys",
          body=fields.KeysQuery, response=fields.KeysInfoView),
    route("GET", "/key/list", READ, keys.list_keys, "List keys", tag="Keys",
          query=fields.ListQuery, inert_query=litellm.LIST_QUERY, response=fields.KeyListView),
    route("GET", "/key/aliases", READ, keys.aliases, "Names of keys", tag="Keys",
          query=fields.AliasQuery, response=fields.AliasesView),
    route("POST", "/key/update", WRITE, keys.update, "Change a key's settings", tag="Keys",
          body=fields.UpdateKey, inert_body=litellm.KEY_SETTINGS, response=fields.UpdatedKeyView),
    route("POST", "/key/bulk_update", WRITE, keys.bulk_update, "Change several keys", tag="Keys",
          body=fields.BulkUpdateKeys, response=fields.BulkUpdatedView),
    route("POST", "/key/delete", WRITE, keys.delete, "Delete keys", tag="Keys",
          body=fields.DeleteKeys, response=fields.DeletedKeysView),
    route("POST", "/key/block", WRITE, keys.block, "Block a key", tag="Keys",
          body=fields.OneKey, response=fields.KeyRowView),
    route("POST", "/key/unblock", WRITE, keys.unblock, "Unblock a key", tag="Keys",
          body=fields.OneKey, response=fields.KeyRowView),
    route("POST", "/key/rotated", Policy.KEY, keys.rotated, "Fetch the new secret after a scheduled rotation",
          tag="Keys", response=fields.NewKeyView),
    route("POST", "/key/aws", Policy.KEY, keys.aws_pair, "The AWS access key pair of a key", tag="Keys",
          body=fields.PairOf, body_optional=True, response=fields.AwsKeyPairView),
    route("POST", "/key/health", Policy.KEY, keys.health, "Whether the calling key works", tag="Keys",
          response=fields.KeyHealthView),
    route("POST", "/key/regenerate", WRITE, keys.regenerate, "Give a key a new secret", tag="Keys",
          body=fields.RegenerateKey, query=fields.RegenerateQuery, inert_body=litellm.REGENERATE,
          body_optional=True, response=fields.NewKeyView),
    route("POST", "/key/{key}/regenerate", WRITE, keys.regenerate, "Give the named key a new secret",
          tag="Keys", body=fields.RegenerateKey, query=fields.RegenerateQuery, inert_body=litellm.REGENERATE,
          body_optional=True, response=fields.NewKeyView),
    route("POST", "/key/{key}/reset_spend", WRITE, keys.reset_spend, "Count the key's spend from now",
          tag="Keys", body=fields.ResetSpend, body_optional=True, response=fields.ResetSpendView),
)
# fmt: on

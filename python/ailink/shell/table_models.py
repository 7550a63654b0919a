"""Routes of models and their deployments."""

from __future__ import annotations

from ailink.admin import litellm_fields as litellm
from ailink.admin import model_changes as changes
from ailink.admin import model_handlers as models
from ailink.shell.policy import Policy, needs
from ailink.shell.route import Route, route

KEY, WRITE = Policy.KEY, needs("models.write")

# fmt: off
MODEL_ROUTES: tuple[Route, ...] = (
    route("GET", "/model/info", KEY, models.model_info, "Models and their deployments", tag="Models",
          query=models.ModelQuery, inert_query=litellm.MODEL_QUERY, response=models.ModelsView),
    route("GET", "/v1/model/info", KEY, models.model_info, "Models and their deployments", tag="Models",
          query=models.ModelQuery, inert_query=litellm.MODEL_QUERY, response=models.ModelsView),
    route("GET", "/v2/model/info", KEY, models.model_page, "Models and their deployments by pages",
          tag="Models", query=models.ModelPageQuery, inert_query=litellm.MODEL_PAGE_QUERY,
          response=models.ModelPage),
    route("GET", "/model_group/info", KEY, models.group_info, "Models, each with what its deployments can do",
          tag="Models", query=models.GroupQuery, response=models.GroupsView),
    route("POST", "/model/new", WRITE, changes.new, "Add a deployment", tag="Models",
          body=changes.NewModel, response=changes.ModelRow),
    route("POST", "/model/update", WRITE, changes.update, "Change a deployment", tag="Models",
          body=changes.UpdateModel, response=changes.ModelRow),
    route("PATCH", "/model/{model_id}/update", WRITE, changes.update_named, "Change the named deployment",
          tag="Models", body=changes.UpdateModel, response=changes.ModelRow),
    route("POST", "/model/delete", WRITE, changes.delete, "Delete a deployment", tag="Models",
          body=changes.ModelInfoId, response=changes.ModelDeleted),
    route("POST", "/model/block", WRITE, changes.block, "Let a deployment take no requests", tag="Models",
          body=changes.ModelIdBody, response=changes.ModelRow),
    route("POST", "/model/unblock", WRITE, changes.unblock, "Let a deployment take requests again",
          tag="Models", body=changes.ModelIdBody, response=changes.ModelRow),
)
# fmt: on

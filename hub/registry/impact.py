"""What the fleet loses when an endpoint can no longer be selected. Pure."""

from hub.registry.filters import names_model
from hub.registry.same_server import server_id
from hub.registry.state import Registry
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_ENABLED,
    ADMIN_STATE_UNSPECIFIED,
    MODEL_STATE_LOADED,
    STATUS_HEALTHY,
    Endpoint,
)


def may_be_selected(endpoint: Endpoint) -> bool:
    """Whether the admin state allows the endpoint to be selected."""
    return endpoint.admin_state in (ADMIN_STATE_ENABLED, ADMIN_STATE_UNSPECIFIED)


def lost_models(
    registry: Registry, before: Endpoint, after: Endpoint
) -> tuple[list[str], list[str]]:
    """The models that only `before` had in memory, and those that only it had at all.

    Only other servers that are healthy and enabled count. Both lists are empty if the
    change removes nothing: the endpoint can still be selected, or could not be before.
    """
    if not _serves(before) or may_be_selected(after):
        return [], []
    server = server_id(before)
    last_loaded, last_available = [], []
    for model in before.models:
        others = [
            each
            for record in registry.with_model(model.name)
            if server_id(record.message) != server and _serves(record.message)
            for each in record.message.models
            if names_model(model.name, each.name)
        ]
        if not others:
            last_available.append(model.name)
        if model.state == MODEL_STATE_LOADED and not any(
            each.state == MODEL_STATE_LOADED for each in others
        ):
            last_loaded.append(model.name)
    return last_loaded, last_available


def _serves(endpoint: Endpoint) -> bool:
    return may_be_selected(endpoint) and endpoint.status == STATUS_HEALTHY

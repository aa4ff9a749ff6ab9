"""The log of changes: one event for each change by an admin, with the admin's token id."""

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import structlog
from google.protobuf.message import Message

from hub.service.access.caller import Caller
from llmhub.v1.admin_service_pb2 import RemoveModelAliasRequest
from llmhub.v1.model_alias_pb2 import ModelAlias

log = structlog.get_logger("hub.audit")
# The level is checked before the event is built: structlog checks it only afterwards.
_level = logging.getLogger("hub.audit")

AUDITED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "RegisterEndpoint": "endpoint registered",
        "UpdateEndpoint": "endpoint updated",
        "RemoveEndpoint": "endpoint removed",
        "DisconnectSidecar": "sidecar disconnected",
        "CreateToken": "token created",
        "RevokeToken": "token revoked",
        "SetModelAlias": "model alias set",
        "RemoveModelAlias": "model alias removed",
    }
)
"""The log event of each RPC that changes something."""

UNAUDITED: Final = frozenset(
    {
        *("CheckEndpoint", "ListSidecars", "ListTokens", "ListAuditEvents", "GetServerInfo"),
        *("LoadModel", "UnloadModel"),
    }
)
"""Admin RPCs that change nothing, or write their own audit event as model actions do."""

# The fields of a request or reply that identify what was changed. Nothing else is logged.
_NAMES: Final = ("id", "agent_id")
_PARTS: Final = ("endpoint", "token_info", "alias")


def record(name: str, request: Message, reply: Message | bytes, caller: Caller) -> None:
    """Logs the change that a call of the RPC `name`, one of AUDITED, has made."""
    if getattr(request, "validate_only", False):
        return
    # Endpoints are registered by the thousand, and a log line costs more than the change.
    # The audit trail has each of them anyway.
    level = logging.DEBUG if name == "RegisterEndpoint" else logging.INFO
    if not _level.isEnabledFor(level):
        return
    subject = _names_in(request)
    if isinstance(reply, Message):
        subject |= _names_in(reply)
    by = caller.principal.token_id
    log.log(level, AUDITED[name], by=by, door=caller.transport, **subject)


def _names_in(message: Message) -> dict[str, str]:
    found = {}
    if isinstance(message, ModelAlias | RemoveModelAliasRequest):
        found["alias"] = message.name
    for descriptor, value in message.ListFields():
        if descriptor.name in _NAMES:
            found[descriptor.name] = value
        elif descriptor.name in _PARTS:
            found |= _names_in(value)
    return found

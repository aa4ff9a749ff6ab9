"""The log of changes: one event for each thing that an admin has changed, and who it was."""

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import structlog
from google.protobuf.message import Message

from hub.contract.rpcs import Rpc
from hub.service.access.principal import Principal
from llmhub.v1.admin_service_pb2 import RemoveModelAliasRequest
from llmhub.v1.model_alias_pb2 import ModelAlias

log = structlog.get_logger("hub.audit")
# Asked before the event is put together: structlog asks it only after.
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
"""The event of each RPC that changes something."""

UNAUDITED: Final = frozenset(
    {"CheckEndpoint", "ListSidecars", "ListTokens", "ListAuditEvents", "GetServerInfo"}
)
"""The RPCs of admins that change nothing."""

# What of a request or reply says which thing it was; nothing else is logged.
_NAMES: Final = ("id", "agent_id")
_PARTS: Final = ("endpoint", "token_info", "alias")


def record(
    rpc: Rpc, request: Message, reply: Message | bytes, principal: Principal, door: str
) -> None:
    """Logs a change that an RPC has carried out; what changes nothing is passed over."""
    event = AUDITED.get(rpc.name)
    if event is None or getattr(request, "validate_only", False):
        return
    # A fleet is registered by the thousand, and a line costs more than the change;
    # the audit trail keeps each all the same.
    level = logging.DEBUG if rpc.name == "RegisterEndpoint" else logging.INFO
    if not _level.isEnabledFor(level):
        return
    subject = _names_in(request)
    if isinstance(reply, Message):
        subject |= _names_in(reply)
    log.log(level, event, by=principal.token_id, door=door, **subject)


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

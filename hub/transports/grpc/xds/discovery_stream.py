"""One stream of state-of-the-world xDS: requests in, responses out, no sockets.

A request subscribes to a type, or acknowledges the last response of the type by its nonce, or
refuses it with an error. A refused version is not sent again; the next one is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from google.protobuf.message import DecodeError

from hub.contract.errors import FieldViolation, ValidationFailed
from hub.service.handlers.discover_endpoints import EndpointSet
from hub.transports.envoy_resources import (
    ASSIGNMENT_TYPE,
    CLUSTER,
    CLUSTER_TYPE,
    MAX_NAMES,
)
from hub.transports.grpc.xds.assignment_message import assignment
from hub.transports.grpc.xds.cluster_message import CLUSTER_MESSAGE
from llmhub.gateway.v1 import discovery_pb2 as pb

log = structlog.get_logger()

_MAX_ERROR: Final = 500


@dataclass(slots=True)
class _Subscription:
    names: tuple[str, ...]
    nonce: str = ""
    version: str = ""
    is_sent: bool = False


class DiscoveryStream:
    """The subscriptions of one stream, and what has been sent for them."""

    def __init__(self, only: str | None = None) -> None:
        """`only` is the one type of a service of its own; an aggregated stream has None."""
        self._only = only
        self._subscriptions: dict[str, _Subscription] = {}
        self._nonces = 0
        self._found: EndpointSet | None = None

    def receive(self, raw: bytes) -> list[bytes]:
        """The responses to a request. Raises ValidationFailed."""
        try:
            request = pb.DiscoveryRequest.FromString(raw)
        except DecodeError:
            raise _invalid("message", "is not an encoded DiscoveryRequest") from None
        kind = request.type_url or self._only or ""
        if kind not in (ASSIGNMENT_TYPE, CLUSTER_TYPE) or (self._only and kind != self._only):
            raise _invalid("type_url", f"{kind[:200]!r} is not served")
        if len(request.resource_names) > MAX_NAMES:
            raise _invalid("resource_names", f"more than {MAX_NAMES} names")
        names = tuple(request.resource_names)
        known = self._subscriptions.get(kind)
        if known is not None and known.nonce and request.response_nonce != known.nonce:
            # It answers an older response; the answer to the last one is still to come.
            return []
        if request.HasField("error_detail"):
            log.warning(
                "a gateway refused its configuration",
                type=kind.rpartition(".")[2],
                version=known.version if known is not None else "",
                error=request.error_detail.message[:_MAX_ERROR],
            )
        if known is None:
            self._subscriptions[kind] = _Subscription(names)
        elif known.names != names:
            known.names, known.is_sent = names, False
        return self._due()

    def update(self, found: EndpointSet) -> list[bytes]:
        """The responses to a new set of endpoints."""
        self._found = found
        if (known := self._subscriptions.get(ASSIGNMENT_TYPE)) is not None:
            known.is_sent = False
        return self._due()

    def _due(self) -> list[bytes]:
        return [
            self._response(kind, known)
            for kind, known in self._subscriptions.items()
            if not known.is_sent and self._found is not None
        ]

    def _response(self, kind: str, known: _Subscription) -> bytes:
        assert self._found is not None
        self._nonces += 1
        known.nonce, known.is_sent = str(self._nonces), True
        known.version = self._found.version if kind == ASSIGNMENT_TYPE else "1"
        response = pb.DiscoveryResponse(
            version_info=known.version, type_url=kind, nonce=known.nonce
        )
        for resource in self._resources(kind, known.names, self._found):
            response.resources.add(type_url=kind, value=resource)
        encoded: bytes = response.SerializeToString()
        return encoded

    @staticmethod
    def _resources(kind: str, names: Sequence[str], found: EndpointSet) -> list[bytes]:
        if kind == ASSIGNMENT_TYPE:
            return [assignment(name, found).SerializeToString() for name in names]
        if names and CLUSTER not in names and "*" not in names:
            return []
        return [CLUSTER_MESSAGE]


def _invalid(field: str, detail: str) -> ValidationFailed:
    return ValidationFailed([FieldViolation(field, "invalid", detail)])

"""What a token is limited to beyond its role.

rpcs, read_only    which calls: `Scope.require` judges each before it is read
labels, models     which part of the fleet: handlers of their own answer such a caller
addresses          where a sidecar may register servers
"""

import ipaddress
from dataclasses import dataclass, field
from typing import Final

from hub.base.address import (
    LOOPBACK_HOSTS,
    AddressError,
    EndpointAddress,
    normalize_host,
    parse_endpoint_url,
)
from hub.base.settings import Network
from hub.contract.errors import FieldViolation, ScopeForbidden, ValidationFailed
from hub.contract.rpcs import RPCS, Rpc
from hub.registry.views import View
from hub.service.operations import OPERATIONS, Operation
from llmhub.v1.resources_pb2 import ROLE_READER, TokenScope

# The HTTP API's forms of RPCs count as these; its other calls have names of their own.
_SAME_AS: Final = {
    "ListEndpointsJson": "ListEndpoints",
    "GetEndpointJson": "GetEndpoint",
    "GetSnapshotJson": "GetSnapshot",
    "WatchEndpointSet": "DiscoverEndpoints",
    "GetOpenAiModel": "ListOpenAiModels",
    "ListOllamaModels": "ListOpenAiModels",
}

# What an admin may read beyond a reader. An RPC that is not here counts as a change.
_ADMIN_READS: Final = frozenset({"ListSidecars", "ListTokens", "ListAuditEvents", "GetServerInfo"})

# It would make tokens without the limit.
_NEVER_SCOPED: Final = "CreateToken"

NAMES: Final = frozenset(
    {rpc.name for rpc in RPCS}
    | {_SAME_AS.get(each.name, each.name) for each in OPERATIONS if each.role is not None}
) - {_NEVER_SCOPED, "Connect"}
"""What `rpcs` of a scope may name. The frames of Connect are calls of their own."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sidecar may register servers: a host or network; with `port` 0 on any port."""

    host: str
    network: Network | None
    port: int

    def includes(self, address: EndpointAddress) -> bool:
        """Whether a server at that address may be registered."""
        if self.port and address.port != self.port:
            return False
        # The loopback has several spellings, and the hub stores only one of them.
        is_loopback = address.host in LOOPBACK_HOSTS
        return any(map(self._includes_host, LOOPBACK_HOSTS if is_loopback else (address.host,)))

    def _includes_host(self, host: str) -> bool:
        if self.network is None:
            return host == self.host
        try:
            ip = ipaddress.ip_address(host)
        except ValueError:
            return False
        return ip.version == self.network.version and ip in self.network


@dataclass(frozen=True, slots=True)
class Scope:
    """The limits of one token."""

    view: View = field(default_factory=View)
    places: tuple[Place, ...] = ()
    rpcs: frozenset[str] = frozenset()
    read_only: bool = False

    def require(self, called: Rpc | Operation) -> None:
        """Raises ScopeForbidden if the token may not call that, whatever the request says."""
        name = _SAME_AS.get(called.name, called.name)
        if name == _NEVER_SCOPED:
            raise _forbidden("a token with a scope cannot create tokens", "create_token")
        if self.rpcs and name not in self.rpcs and name != "Connect":
            raise _forbidden(f"the token's scope does not include the call {name}", "rpcs")
        if self.read_only and called.role != ROLE_READER and name not in _ADMIN_READS:
            raise _forbidden(
                f"the token is read-only, and {name} may change something", "read_only"
            )

    def require_address(self, address: EndpointAddress) -> None:
        """Raises ScopeForbidden if a sidecar may not register a server at that address."""
        if self.places and not any(place.includes(address) for place in self.places):
            raise _forbidden(
                f"the token's scope does not include the address {address.id}", "addresses"
            )


def check(scope: TokenScope) -> None:
    """Raises ValidationFailed if a new token cannot have that scope."""
    unknown = sorted(set(scope.rpcs) - NAMES)
    if unknown:
        raise _invalid("rpcs", f"no call that a scope can name: {', '.join(unknown)}")
    compiled(scope)


def compiled(scope: TokenScope) -> Scope:
    """The scope of a token's record. Raises ValidationFailed.

    A call that only a newer hub knows stays in it, so that the token may call nothing more.
    """
    return Scope(
        View(frozenset(scope.labels.items()), frozenset(scope.models)),
        tuple(_place(i, text) for i, text in enumerate(scope.addresses)),
        frozenset(scope.rpcs),
        scope.read_only,
    )


def _forbidden(message: str, limit: str) -> ScopeForbidden:
    return ScopeForbidden(message, metadata={"scope": limit})


def _place(index: int, text: str) -> Place:
    if "/" in text:
        try:
            return Place("", ipaddress.ip_network(text), 0)
        except ValueError as error:
            raise _invalid(f"addresses[{index}]", f"not a CIDR block: {error}") from None
    try:
        host, port = _host_and_port(text)
    except AddressError as error:
        raise _invalid(f"addresses[{index}]", str(error)) from None
    try:
        return Place(host, ipaddress.ip_network(host), port)
    except ValueError:
        return Place(host, None, port)


def _host_and_port(text: str) -> tuple[str, int]:
    try:
        return normalize_host(text), 0
    except AddressError:
        # With a port, or wrong: then this says why.
        address = parse_endpoint_url(text)
        return address.host, address.port


def _invalid(field: str, detail: str) -> ValidationFailed:
    return ValidationFailed([FieldViolation(f"scope.{field}", "invalid", detail)])

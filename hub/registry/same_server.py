"""Which endpoints are addresses of one server. Pure.

Two endpoints are one server if probes of both reached the same IP address and port, and
both gave the same answers: scheme, base path, kind, version and models. Neither alone is
proof: a proxy serves many servers at one address, and replicas give equal answers.

Proxies tell servers apart by name where they usually listen: with TLS, on port 80 or
443, or under a base path. There two endpoints are one only if neither has a name.
"""

import ipaddress
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Final, NamedTuple

from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_ENABLED,
    ADMIN_STATE_UNSPECIFIED,
    STATUS_HEALTHY,
    Endpoint,
)

MAX_ADDRESSES: Final = 32
"""How many endpoints at one place are compared. More names than this are a proxy's."""

_PROXY_PORTS: Final = (80, 443)
_ABLE: Final = (ADMIN_STATE_ENABLED, ADMIN_STATE_UNSPECIFIED)


class Place(NamedTuple):
    """What the probes of an endpoint connect to."""

    address: str
    port: int


def server_id(endpoint: Endpoint) -> str:
    """The id that all endpoints of the same server share."""
    return endpoint.same_server_as or endpoint.id


class SameServers:
    """Where the probes of each endpoint arrive, and which others arrive there."""

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}
        self._at: dict[Place, dict[str, None]] = {}

    def move(self, id_: str, place: Place | None) -> Collection[str]:
        """Notes where the probe of an endpoint arrived; None forgets it.

        Returns one endpoint of each place at which something is different now.
        """
        before = self._places.get(id_)
        if before == place:
            return ()
        concerned = []
        if before is not None:
            del self._places[id_]
            left = self._at[before]
            del left[id_]
            if left:
                concerned.append(next(iter(left)))
            else:
                del self._at[before]
        if place is not None:
            concerned.append(id_)
            there = self._at.setdefault(place, {})
            if len(there) < MAX_ADDRESSES:
                there[id_] = None
                self._places[id_] = place
        return concerned

    def neighbours(self, id_: str) -> Collection[str]:
        """The endpoints at the place of an endpoint, itself included."""
        place = self._places.get(id_)
        return (id_,) if place is None else tuple(self._at[place])


def primaries(endpoints: Iterable[Endpoint]) -> dict[str, str]:
    """For each endpoint of one place, the `same_server_as` that it has to show.

    The endpoint that stands for a server is healthy and enabled if one is, and among
    those the one that was registered first.
    """
    shown: dict[str, str] = {}
    standing: dict[object, str] = {}
    for endpoint in sorted(endpoints, key=_rank):
        primary = standing.setdefault(_identity(endpoint), endpoint.id)
        shown[endpoint.id] = primary if primary != endpoint.id else ""
    return shown


def _rank(endpoint: Endpoint) -> tuple[bool, int, int, str]:
    is_able = endpoint.status == STATUS_HEALTHY and endpoint.admin_state in _ABLE
    registered = endpoint.registered_at
    return (not is_able, registered.seconds, registered.nanos, endpoint.id)


def _identity(endpoint: Endpoint) -> object:
    """What two addresses of one server have in common."""
    if not endpoint.models:
        # Nothing tells it from another new server.
        return endpoint.id
    is_behind_proxy = (
        endpoint.scheme == "https" or endpoint.port in _PROXY_PORTS or bool(endpoint.base_path)
    )
    return (
        endpoint.id if is_behind_proxy and not _is_numeric(endpoint.host) else "",
        endpoint.scheme,
        endpoint.base_path,
        endpoint.backend,
        endpoint.version,
        tuple((model.name, model.digest, model.size_bytes) for model in endpoint.models),
    )


@lru_cache(maxsize=1024)
def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return True

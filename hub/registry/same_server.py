"""Which endpoints are addresses of one server. Pure.

Two endpoints are one server if probes of both reached the same IP address and port, and
both gave the same answers: scheme, base path, kind, version and models. Neither is proof on
its own: a proxy serves many servers at one address, and replicas give equal answers.

Proxies route by name where they usually listen: with TLS, on port 80 or 443, or under a
base path. There, two endpoints are the same server only if neither has a host name.
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
"""How many endpoints at one place are compared; only a proxy has more names than this."""

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
    """The place that the probes of each endpoint reach, and the other endpoints there."""

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}
        self._at: dict[Place, dict[str, None]] = {}

    def move(self, id_: str, place: Place | None) -> Collection[str]:
        """Records the place that the probe of an endpoint reached; None forgets it.

        Returns one endpoint of each place whose endpoints have changed.
        """
        before = self._places.get(id_)
        if before == place:
            return ()
        affected = []
        if before is not None:
            del self._places[id_]
            left = self._at[before]
            del left[id_]
            if left:
                affected.append(next(iter(left)))
            else:
                del self._at[before]
        if place is not None:
            affected.append(id_)
            there = self._at.setdefault(place, {})
            if len(there) < MAX_ADDRESSES:
                there[id_] = None
                self._places[id_] = place
        return affected

    def neighbours(self, id_: str) -> Collection[str]:
        """The endpoints at the place of an endpoint, including itself."""
        place = self._places.get(id_)
        return (id_,) if place is None else tuple(self._at[place])


def primaries(endpoints: Iterable[Endpoint]) -> dict[str, str]:
    """The `same_server_as` of each endpoint of one place.

    The primary endpoint of a server is healthy and enabled if any of its endpoints is, and
    among those the one that was registered first.
    """
    shown: dict[str, str] = {}
    primary_of: dict[object, str] = {}
    for endpoint in sorted(endpoints, key=_rank):
        primary = primary_of.setdefault(_identity(endpoint), endpoint.id)
        shown[endpoint.id] = primary if primary != endpoint.id else ""
    return shown


def _rank(endpoint: Endpoint) -> tuple[bool, int, int, str]:
    is_able = endpoint.status == STATUS_HEALTHY and endpoint.admin_state in _ABLE
    registered = endpoint.registered_at
    return (not is_able, registered.seconds, registered.nanos, endpoint.id)


def _identity(endpoint: Endpoint) -> object:
    """A value that is equal for two addresses of one server."""
    if not endpoint.models:
        # Without models, nothing distinguishes it from another new server.
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

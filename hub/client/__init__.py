"""The Python client: `Hub` and `AsyncHub`, watches that resume, a local copy of the fleet.

Needs grpcio and protobuf only, none of the server's other dependencies.
"""

from hub.client.async_hub import AsyncFleetCache, AsyncHub
from hub.client.call_errors import CallFailed, ClientError, NoSelection, NotSynced
from hub.client.fleet_cache import Choice, FleetCopy, Freshness, base_url
from hub.client.hub_address import Tls
from hub.client.retry import Retry
from hub.client.sync_hub import FleetCache, Hub

__all__ = [
    "AsyncFleetCache",
    "AsyncHub",
    "CallFailed",
    "Choice",
    "ClientError",
    "FleetCache",
    "FleetCopy",
    "Freshness",
    "Hub",
    "NoSelection",
    "NotSynced",
    "Retry",
    "Tls",
    "base_url",
]

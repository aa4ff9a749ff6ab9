"""The Python client: `Hub` and `AsyncHub`, watches that resume, a local copy of the fleet.

Needs grpcio and protobuf only, none of the server's other dependencies.
"""

from hub.client.aio import AsyncFleetCache, AsyncHub
from hub.client.connection import Tls
from hub.client.errors import CallFailed, ClientError, NoSelection, NotSynced
from hub.client.fleet import Choice, FleetCopy, Freshness, base_url
from hub.client.retry import Retry
from hub.client.sync import FleetCache, Hub

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

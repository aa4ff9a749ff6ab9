"""The Python client: `Hub` and `AsyncHub`, watches that resume, a local copy of the fleet.

Threads may share a `Hub`; its `FleetCache` runs in a thread. `AsyncHub` has the same
methods as coroutines and belongs to the event loop in which it is created.

The client needs only grpcio and protobuf, none of the server's other dependencies. The
modules `sync_*` are generated from `async_*` by scripts/generate_sync_client.py;
`_async_runtime` and `_sync_runtime` contain what differs between asyncio and threads.
"""

from hub.client.async_hub import AsyncFleetCache, AsyncHub
from hub.client.call_errors import CallFailed, ClientError, NoSelection, NotSynced, Violation
from hub.client.fleet_cache import Choice, FleetCopy, Freshness, base_url
from hub.client.hub_address import Tls
from hub.client.retry import Retry
from hub.client.selection_session import SelectionSession
from hub.client.sync_hub import FleetCache, Hub
from hub.registry.selection.affinity_key import key_of_request as affinity_of_request

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
    "SelectionSession",
    "Tls",
    "Violation",
    "affinity_of_request",
    "base_url",
]

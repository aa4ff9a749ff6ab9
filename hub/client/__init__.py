"""The Python client: `Hub` and `AsyncHub`, watches that resume, a local copy of the fleet.

`Hub` may be shared by threads; its `FleetCache` follows in a thread. `AsyncHub` has the
same methods, to be awaited, and belongs to the event loop that it is made in.

Needs only grpcio and protobuf, none of the server's other dependencies. The modules
`sync_*` are generated from `async_*` by scripts/generate_sync_client.py; where threads
and asyncio differ stands in `_async_runtime` and `_sync_runtime`.
"""

from hub.client.async_hub import AsyncFleetCache, AsyncHub
from hub.client.call_errors import CallFailed, ClientError, NoSelection, NotSynced, Violation
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
    "Violation",
    "base_url",
]

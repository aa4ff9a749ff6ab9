"""The calls that the contract does not list: each with its handler, role and tier, like an RPC.

They reply in JSON, or serve only the dashboard, or gateways.
"""

from dataclasses import dataclass
from typing import Final

from hub.contract.rpcs import Tier
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_READER, Role


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One internal call. `handler` is the name of the method that answers it.

    `role` is the role that it needs. With None any credentials suffice, and the call does
    not count against a rate limit. `streams` says whether it returns a stream of replies.
    """

    name: str
    handler: str
    role: Role | None
    tier: Tier = Tier.NORMAL
    streams: bool = False


LIST_ENDPOINTS_JSON: Final = Operation("ListEndpointsJson", "list_endpoints_json", ROLE_READER)
GET_ENDPOINT_JSON: Final = Operation("GetEndpointJson", "get_endpoint_json", ROLE_READER)
GET_SNAPSHOT_JSON: Final = Operation("GetSnapshotJson", "get_snapshot_json", ROLE_READER)
GET_SCHEMAS: Final = Operation("GetSchemas", "get_schemas", ROLE_READER)
GET_DESCRIPTORS: Final = Operation("GetDescriptors", "get_descriptors", ROLE_READER)
GET_METRICS: Final = Operation("GetMetrics", "get_metrics", ROLE_READER)
GET_PUBLIC_METRICS: Final = Operation("GetPublicMetrics", "get_metrics", None)
LIST_PROMETHEUS_TARGETS: Final = Operation(
    "ListPrometheusTargets", "list_prometheus_targets", ROLE_READER
)
LIST_OPENAI_MODELS: Final = Operation("ListOpenAiModels", "list_openai_models", ROLE_READER)
GET_TRAEFIK_CONFIG: Final = Operation("GetTraefikConfig", "get_traefik_config", ROLE_READER)
LIST_OLLAMA_MODELS: Final = Operation("ListOllamaModels", "list_ollama_models", ROLE_READER)
GET_OPENAI_MODEL: Final = Operation("GetOpenAiModel", "get_openai_model", ROLE_READER)
COPY_STORE: Final = Operation("CopyStore", "copy_store", ROLE_ADMIN)

OPEN_BROWSER_SESSION: Final = Operation("OpenBrowserSession", "open_browser_session", ROLE_READER)
CLOSE_BROWSER_SESSION: Final = Operation("CloseBrowserSession", "close_browser_session", None)
SHOW_CALLER: Final = Operation("ShowCaller", "show_caller", None)
FOLLOW_DASHBOARD: Final = Operation("FollowDashboard", "show_caller", ROLE_READER)

# A gateway gets the endpoints' API keys, so no reader may open its stream.
PROCESS_REQUESTS: Final = Operation("ProcessRequests", "process_requests", ROLE_ADMIN, Tier.LIGHT)
PICK_ENDPOINT: Final = Operation("PickEndpoint", "pick_endpoint", ROLE_READER)
DISCOVER_ENDPOINTS: Final = Operation("DiscoverEndpoints", "discover_endpoints", ROLE_READER)
WATCH_ENDPOINT_SET: Final = Operation(
    "WatchEndpointSet", "watch_endpoint_set", ROLE_READER, streams=True
)

OPERATIONS: Final = (
    *(LIST_ENDPOINTS_JSON, GET_ENDPOINT_JSON, GET_SNAPSHOT_JSON, GET_SCHEMAS),
    *(GET_DESCRIPTORS, GET_METRICS),
    *(GET_PUBLIC_METRICS, LIST_PROMETHEUS_TARGETS, LIST_OPENAI_MODELS),
    *(GET_TRAEFIK_CONFIG, COPY_STORE),
    *(OPEN_BROWSER_SESSION, CLOSE_BROWSER_SESSION, SHOW_CALLER, FOLLOW_DASHBOARD),
    *(GET_OPENAI_MODEL, LIST_OLLAMA_MODELS, PROCESS_REQUESTS, PICK_ENDPOINT),
    *(DISCOVER_ENDPOINTS, WATCH_ENDPOINT_SET),
)
"""Every internal call."""

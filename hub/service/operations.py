"""The calls that only the HTTP API has: each with its handler, role and tier, like an RPC.

The public contract does not list them: they reply in JSON or serve only the dashboard.
"""

from dataclasses import dataclass
from typing import Final

from hub.contract.rpcs import Tier
from llmhub.v1.resources_pb2 import ROLE_ADMIN, ROLE_READER, Role


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One internal call. `handler` is the name of the method that answers it.

    `role` is the role that it needs. With None any credentials suffice, and the call does
    not count against a rate limit.
    """

    name: str
    handler: str
    role: Role | None
    tier: Tier = Tier.NORMAL


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
COPY_STORE: Final = Operation("CopyStore", "copy_store", ROLE_ADMIN)

OPEN_BROWSER_SESSION: Final = Operation("OpenBrowserSession", "open_browser_session", ROLE_READER)
CLOSE_BROWSER_SESSION: Final = Operation("CloseBrowserSession", "close_browser_session", None)
SHOW_CALLER: Final = Operation("ShowCaller", "show_caller", None)
FOLLOW_DASHBOARD: Final = Operation("FollowDashboard", "show_caller", ROLE_READER)

OPERATIONS: Final = (
    *(LIST_ENDPOINTS_JSON, GET_ENDPOINT_JSON, GET_SNAPSHOT_JSON, GET_SCHEMAS),
    *(GET_DESCRIPTORS, GET_METRICS),
    *(GET_PUBLIC_METRICS, LIST_PROMETHEUS_TARGETS, LIST_OPENAI_MODELS),
    *(GET_TRAEFIK_CONFIG, COPY_STORE),
    *(OPEN_BROWSER_SESSION, CLOSE_BROWSER_SESSION, SHOW_CALLER, FOLLOW_DASHBOARD),
)
"""Every internal call."""

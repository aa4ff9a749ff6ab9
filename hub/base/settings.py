"""All settings, as frozen models: each has a default, bounds and a description.

`hub.base.load_settings` reads them from a file, the environment and flags. A test compares
docs/configuration.md with these models.
"""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
)

from hub.base.address import join_host_port, parse_listen_address
from hub.base.data_dir import default_data_dir
from hub.base.section import Section
from hub.base.security_settings import SecretSettings, TlsSettings

Network = IPv4Network | IPv6Network


def _not_a_bool(value: object) -> object:
    # A bool is an int to Python, but it is not a number in a settings file.
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")  # noqa: TRY004 - for pydantic
    return value


def _listen_address(text: str) -> str:
    return join_host_port(*parse_listen_address(text))


def _ws_path(text: str) -> str:
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+|/", text):
        raise ValueError(f"{text!r} is not a path such as /ws")
    return text


def _networks(value: object) -> tuple[Network, ...]:
    """Accepts a list of CIDR blocks, or (from the environment) text with commas between them."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise ValueError("must be a list of CIDR blocks")  # noqa: TRY004 - for pydantic
    networks = []
    for item in items:
        try:
            networks.append(ip_network(item.strip() if isinstance(item, str) else item))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{item!r} is not a CIDR block such as 10.0.0.0/8: {error}") from None
    return tuple(networks)


Count = Annotated[int, BeforeValidator(_not_a_bool), Field(ge=1, le=1_000_000_000)]
Bytes = Annotated[int, BeforeValidator(_not_a_bool), Field(ge=1024, le=1_073_741_824)]
Memory = Annotated[int, BeforeValidator(_not_a_bool), Field(ge=65_536, le=2**44)]
Seconds = Annotated[float, BeforeValidator(_not_a_bool), Field(gt=0, le=86_400)]
Share = Annotated[float, BeforeValidator(_not_a_bool), Field(ge=0, le=0.5)]
ListenAddress = Annotated[str, AfterValidator(_listen_address)]
Networks = Annotated[tuple[Network, ...], BeforeValidator(_networks)]


class Listener(Section):
    """The section of a listener; `address` is "HOST:PORT" with an IPv6 host in brackets."""

    address: ListenAddress

    @property
    def host(self) -> str:
        """The host to listen on, without brackets."""
        return parse_listen_address(self.address)[0]

    @property
    def port(self) -> int:
        """The port to listen on; 0 asks the system for one."""
        return parse_listen_address(self.address)[1]


class WsSettings(Listener):
    """The WebSocket server."""

    address: ListenAddress = "127.0.0.1:4000"
    """listening address, HOST:PORT; with port 0 the system picks a port"""
    path: Annotated[str, AfterValidator(_ws_path)] = "/ws"
    """path that sidecars connect to"""
    identify_timeout_s: Seconds = 10.0
    """seconds within which a connection must identify"""
    max_frame_bytes: Bytes = 65_536
    """maximum size of a frame, in bytes"""
    ping_interval_s: Seconds = 20.0
    """seconds between two pings on a connection"""
    ping_timeout_s: Seconds = 20.0
    """seconds to wait for a pong before the hub closes the connection"""
    max_connections: Count = 20_000
    """maximum number of open connections"""
    max_connections_per_address: Count = 16_000
    """maximum number of open connections of one IPv4 address or IPv6 /64"""
    max_unidentified_per_address: Count = 512
    """maximum number of connections of one address that have not identified"""
    trusted_proxies: Networks = ()
    """CIDR blocks of proxies whose X-Forwarded-For the hub trusts, on every transport"""


class GrpcSettings(Listener):
    """The gRPC server."""

    address: ListenAddress = "127.0.0.1:50051"
    """listening address, HOST:PORT; with port 0 the system picks a port"""
    max_message_bytes: Bytes = 4_194_304
    """maximum size of a request, in bytes"""
    max_concurrent_rpcs: Count = 20_000
    """maximum number of concurrent calls, including streams"""
    max_connections: Count = 4_000
    """maximum number of open connections; above it, only health checks are answered"""
    engine: Literal["native", "grpcio"] = "native"
    """gRPC server to use: native, the hub's own, or grpcio, from the grpcio library"""


class GatewaySettings(Section):
    """What the hub answers Envoy and other gateways, on its gRPC and HTTP servers."""

    enabled: bool = False
    """whether gateways may ask which endpoint serves a request"""
    require_keys: bool = True
    """whether each request needs a token of the hub as its API key"""
    fallbacks: Annotated[int, BeforeValidator(_not_a_bool), Field(ge=0, le=20)] = 2
    """maximum number of further endpoints for a request, to be tried if the first one fails"""
    affinity: bool = False
    """whether the turns of a conversation go to one endpoint, found by the prompt's beginning"""
    wait_s: Annotated[float, BeforeValidator(_not_a_bool), Field(ge=0, le=300)] = 0.0
    """how long a request waits for an endpoint with room, in seconds"""
    max_in_flight_per_slot: Annotated[int, BeforeValidator(_not_a_bool), Field(ge=0, le=1000)] = 0
    """maximum number of requests per slot of an endpoint; 0 for no limit"""
    max_held_bytes: Memory = 33_554_432
    """maximum size of a request body up to the model's name, in bytes"""
    max_held_bytes_in_all: Memory = 268_435_456
    """maximum size of all request bodies that the hub holds, in bytes"""


class HttpSettings(Listener):
    """The HTTP server."""

    address: ListenAddress = "127.0.0.1:8080"
    """listening address, HOST:PORT; with port 0 the system picks a port"""
    max_body_bytes: Bytes = 1_048_576
    """maximum size of a request body, in bytes"""
    max_connections: Count = 2_000
    """maximum number of open connections; on a further one the hub answers only health checks"""
    max_connections_per_address: Count = 512
    """maximum number of open connections of one IPv4 address or IPv6 /64, proxies apart"""
    max_bytes_in_flight: Memory = 268_435_456
    """maximum size of all responses that are being sent, in bytes; a shared one counts once"""
    max_bytes_in_flight_per_token: Memory = 67_108_864
    """maximum size of responses that are being sent to the bearer of one token, in bytes"""
    public_metrics: bool = False
    """whether /metrics is readable without a token"""


class ProbeSettings(Section):
    """Health probes.

    `doubtful_concurrency` is larger than `concurrency` because each of its probes may hang
    for the whole timeout: 5,000 dead endpoints, probed every 30 s for 5 s each, keep 833
    probes in flight. `per_host` applies to each of the three limits separately, so that a
    hanging endpoint cannot use up the share of healthy endpoints on its host.
    """

    interval_s: Seconds = 30.0
    """seconds between two probes of an endpoint"""
    jitter: Share = 0.1
    """random variation of the interval, as a share of it, 0 to 0.5"""
    connect_timeout_s: Seconds = 3.0
    """timeout for connecting, in seconds"""
    total_timeout_s: Seconds = 5.0
    """timeout for all requests of one probe together, in seconds"""
    unhealthy_after: Count = 2
    """consecutive failures that make an endpoint unhealthy"""
    concurrency: Count = 256
    """maximum number of probes in flight to endpoints that answered their last probe"""
    doubtful_concurrency: Count = 1024
    """maximum number of probes in flight to endpoints that did not answer, or were never probed"""
    asked_concurrency: Count = 32
    """maximum number of probes in flight for CheckEndpoint"""
    per_host: Count = 4
    """maximum number of probes in flight to one host, for each of the three limits above"""
    max_body_bytes: Bytes = 4_194_304
    """maximum size of a response to a probe, in bytes"""
    model_facts_bytes: Memory = 33_554_432
    """maximum memory for facts of models that the hub does not ask for again, in bytes"""
    allow: Networks = ()
    """CIDR blocks that the hub may probe; empty: all addresses that are not denied"""
    deny: Networks = ()
    """CIDR blocks that are never probed, besides link-local, multicast and metadata addresses"""


class FlappingSettings(Section):
    """When an endpoint's health changes too often to be trusted."""

    changes: Annotated[int, BeforeValidator(_not_a_bool), Field(ge=2, le=1000)] = 6
    """changes between success and failure within the window that mark an endpoint as flapping"""
    window_s: Seconds = 600.0
    """length of the window, in seconds"""
    hold_s: Seconds = 300.0
    """seconds without a change after which the hub trusts a flapping endpoint again"""


class PreservationSettings(Section):
    """Self-preservation: when the hub doubts that many endpoints failed at once."""

    share: Annotated[float, BeforeValidator(_not_a_bool), Field(gt=0, le=1)] = 0.5
    """a freeze starts when more than this share of the healthy fleet fails at once; 1: never"""
    min_endpoints: Count = 5
    """minimum number of failing endpoints for a freeze"""
    confirm_s: Seconds = 300.0
    """seconds of lasting failure after which the hub accepts the failures as real"""


class TierLimits(Section):
    """Calls per minute by tier, for each agent or token."""

    light: Count
    """pings per minute"""
    normal: Count
    """reports, reads and other calls per minute"""
    heavy: Count
    """identifications and registrations per minute"""


_GENEROUS = TierLimits(light=600_000, normal=600_000, heavy=600_000)


class RateLimitSettings(Section):
    """How often an agent or a token may call, by its role."""

    enabled: bool = True
    """whether the hub applies rate limits"""
    sidecar: TierLimits = TierLimits(light=120, normal=60, heavy=10)
    """limits for each agent, across all its connections"""
    reader: TierLimits = _GENEROUS
    """limits for each reader token"""
    admin: TierLimits = _GENEROUS
    """limits for each admin token"""


class SidecarRules(Section):
    """What the hub takes from sidecars."""

    addresses: Literal["any", "own"] = "any"
    """where the servers that a sidecar reports may be: at any address, or where it connects from"""


ActionWord = Literal["load", "unload"]


class ActionSettings(Section):
    """Model actions, which sidecars carry out for admins."""

    enabled: bool = False
    """whether admins may have sidecars load and unload models"""
    allow: tuple[ActionWord, ...] = ("load", "unload")
    """the actions that are allowed if they are enabled: load, unload"""
    timeout_s: Seconds = 300.0
    """maximum number of seconds that the hub waits for a sidecar to carry out an action"""


class LimitSettings(Section):
    """Upper bounds of the registry."""

    max_endpoints: Count = 100_000
    """maximum number of endpoints"""
    max_tokens: Count = 100_000
    """maximum number of valid tokens"""
    ring_events: Count = 65_536
    """maximum number of changes that the hub keeps for watches to resume from"""
    ring_bytes: Memory = 67_108_864
    """maximum memory that these changes take, in bytes"""
    page_cache_bytes: Memory = 16_777_216
    """maximum memory for encoded pages of ListEndpoints, in bytes"""


class OverloadSettings(Section):
    """When the hub refuses work because it has too much of it, the cheapest first."""

    enabled: bool = True
    """whether the hub refuses work when it is overloaded"""
    memory_bytes: Annotated[int, BeforeValidator(_not_a_bool), Field(ge=0, le=2**50)] = 0
    """memory that the hub may take, in bytes; 0: three quarters of the machine's or cgroup's"""
    loop_lag_s: Seconds = 1.0
    """delay of the event loop at which the hub refuses all that it may, in seconds"""


class StoreSettings(Section):
    """Where durable facts are kept."""

    etcd: str = ""
    """gRPC target of an etcd cluster, such as 10.0.0.1:2379; empty: the embedded store"""
    etcd_prefix: Annotated[str, Field(min_length=1, max_length=256)] = "llmhub/"
    """prefix of all keys that the hub writes to etcd"""


class LogSettings(Section):
    """The log on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """minimum severity that is logged: debug, info, warning or error"""
    format: Literal["auto", "console", "json"] = "auto"
    """console, json or auto; auto is console on a terminal, else json"""


class TracingSettings(Section):
    """Traces, for hubs with the extra `otel`."""

    otlp_endpoint: Annotated[str, Field(pattern=r"^(https?://\S+)?$", max_length=256)] = ""
    """OTLP/gRPC endpoint of a collector, such as http://127.0.0.1:4317; empty: no traces"""


BackendWord = Literal[
    "",
    "ollama",
    "vllm",
    "llama_cpp",
    "lm_studio",
    "sglang",
    "openai",
    "llama_swap",
    "litellm",
    "lemonade",
    "lmdeploy",
    "docker_model_runner",
    "tei",
]
"""The names of server kinds; "" lets the hub detect the kind."""


class StaticEndpoint(Section):
    """One `[[endpoints]]` table of the file."""

    url: str
    """address of the server, as HOST, HOST:PORT or a URL"""
    name: str = ""
    """display name; empty: HOST:PORT"""
    backend: BackendWord = ""
    """kind of server; empty: the hub detects it"""
    agent_id: str = ""
    """agent id of the sidecar on its host"""
    labels: dict[str, str] = Field(default_factory=dict)
    """free key/value pairs to select by"""


class Settings(Section):
    """All settings of a hub."""

    data_dir: Annotated[Path, AfterValidator(Path.expanduser)] = Field(
        default_factory=default_data_dir
    )
    """directory of the store and of the first admin token; the hub creates it with mode 0700"""
    resources_ttl_s: Seconds = 90.0
    """seconds after which the hub forgets a sidecar's last report of its host or of a server"""
    ws: WsSettings = WsSettings()
    grpc: GrpcSettings = GrpcSettings()
    http: HttpSettings = HttpSettings()
    gateway: GatewaySettings = GatewaySettings()
    tls: TlsSettings = TlsSettings()
    probes: ProbeSettings = ProbeSettings()
    flapping: FlappingSettings = FlappingSettings()
    preservation: PreservationSettings = PreservationSettings()
    rate_limits: RateLimitSettings = RateLimitSettings()
    sidecars: SidecarRules = SidecarRules()
    actions: ActionSettings = ActionSettings()
    overload: OverloadSettings = OverloadSettings()
    store: StoreSettings = StoreSettings()
    secrets: SecretSettings = SecretSettings()
    limits: LimitSettings = LimitSettings()
    log: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()
    endpoints: tuple[StaticEndpoint, ...] = ()
    """endpoints that the file registers, one table each"""

"""Envoy's bootstrap for one hub: complete, commented, and ready to run."""

from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from typing import Final

import yaml

from hub.base.address import parse_listen_address
from hub.transports.envoy_resources import AUTHORITIES, CLUSTER, DESTINATION, fleet_cluster

_FILTERS: Final = "type.googleapis.com/envoy.extensions.filters"
_HTTP_PROTOCOLS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """What the configuration is made from. Addresses are HOST:PORT.

    `hub_ca` is the file of the authority of the hub's certificate: "" for a hub without
    TLS. `hub_cert` and `hub_key` are the files of a client certificate for the hub.
    `cert` and `key` are the files of the certificate that clients see: "" to serve plain
    HTTP. `servers_ca` is the file of the authorities that inference servers with the
    scheme https are checked against. `retries` is at most the hub's `gateway.fallbacks`.
    """

    hub: str
    token: str
    listen: str = "127.0.0.1:10000"
    admin: str = ""
    hub_ca: str = ""
    hub_cert: str = ""
    hub_key: str = ""
    cert: str = ""
    key: str = ""
    servers_ca: str = AUTHORITIES
    retries: int = 2
    idle_s: int = 600

    def text(self) -> str:
        """The configuration, as YAML."""
        return "\n".join(
            (
                _HEAD,
                self._admin(),
                _ADS.format(token=_quoted(f"Bearer {self.token}")),
                _LISTENER.format(
                    listen=_address(self.listen),
                    tls=self._downstream_tls(),
                    idle_s=self.idle_s,
                    retries=self.retries,
                    cluster=CLUSTER,
                    filters=_FILTERS,
                    destination=DESTINATION,
                    token=_quoted(f"Bearer {self.token}"),
                ),
                self._hub_cluster(),
                self._fleet_cluster(),
            )
        )

    def _admin(self) -> str:
        if not self.admin:
            return _NO_ADMIN
        return f"admin:\n  address: {_address(self.admin)}\n"

    def _downstream_tls(self) -> str:
        if not self.cert:
            return _PLAIN
        socket = _typed(
            "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            common_tls_context={
                "tls_certificates": [_pair(self.cert, self.key)],
                "alpn_protocols": ["h2", "http/1.1"],
            },
        )
        return _yaml({"transport_socket": {"name": "tls", "typed_config": socket}}, 6)

    def _hub_cluster(self) -> str:
        host, _ = parse_listen_address(self.hub)
        # A name is resolved by Envoy; a number must not be.
        kind = (
            "STRICT_DNS" if any(each.isalpha() for each in host) and ":" not in host else "STATIC"
        )
        tls = ""
        if self.hub_ca:
            own = _pair(self.hub_cert, self.hub_key)
            socket = _typed(
                "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                sni=host,
                common_tls_context={
                    "alpn_protocols": ["h2"],
                    **({"tls_certificates": [own]} if self.hub_cert else {}),
                    "validation_context": {
                        "trusted_ca": {"filename": _absolute(self.hub_ca)},
                        "match_typed_subject_alt_names": [
                            {
                                "san_type": "DNS" if kind == "STRICT_DNS" else "IP_ADDRESS",
                                "matcher": {"exact": host},
                            }
                        ],
                    },
                },
            )
            tls = _yaml({"transport_socket": {"name": "tls", "typed_config": socket}}, 4)
        return _HUB.format(kind=kind, hub=_address(self.hub), tls=tls, protocols=_HTTP_PROTOCOLS)

    def _fleet_cluster(self) -> str:
        cluster = fleet_cluster(self.servers_ca, names_served=True)
        return _FLEET + _yaml([cluster], 2)


def _address(address: str) -> str:
    host, port = parse_listen_address(address)
    return f"{{socket_address: {{address: {_quoted(host)}, port_value: {port}}}}}"


def _pair(cert: str, key: str) -> dict[str, object]:
    """A certificate and its key, which may be in the same file."""
    return {
        "certificate_chain": {"filename": _absolute(cert)},
        "private_key": {"filename": _absolute(key or cert)},
    }


def _absolute(file: str) -> str:
    return str(Path(file).expanduser().absolute())


def _quoted(text: str) -> str:
    # A JSON string is a YAML string, whatever it contains.
    dumped: str = yaml.safe_dump(text, default_style='"', width=10_000)
    return dumped.strip()


def _typed(name: str, **fields: object) -> dict[str, object]:
    return {"@type": f"type.googleapis.com/{name}", **fields}


def _yaml(value: object, spaces: int) -> str:
    dumped = yaml.safe_dump(value, sort_keys=False, default_flow_style=False, width=100)
    return indent(dumped, " " * spaces)


_HEAD: Final = """\
# Envoy in front of a fleet of inference servers. The hub picks the server of each request;
# Envoy carries the bytes. Check it: envoy --mode validate --config-path FILE
#
# This file has the gateway's token, which lets its bearer see the servers' API keys: keep it
# as secret as a key. `llm-hub token revoke` ends it. The hub needs [gateway] enabled = true.

node: {id: llm-hub-gateway, cluster: llm-hub-gateway}
"""

_NO_ADMIN: Final = """\
# Envoy's own admin interface has no password, so it is off. To look at it from this machine:
# admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}
"""

_ADS: Final = """\
# The set of servers, with their health, comes from the hub as it changes. Envoy keeps the
# last one while the hub restarts.
dynamic_resources:
  ads_config:
    api_type: GRPC
    transport_api_version: V3
    grpc_services:
    - envoy_grpc: {{cluster_name: hub}}
      initial_metadata:
      - {{key: authorization, value: {token}}}
"""

_PLAIN: Final = """\
      # Plain HTTP: on an address that other machines reach, give --cert and --key.
"""

_LISTENER: Final = """\
static_resources:
  listeners:
  - name: clients
    address: {listen}
    # How much Envoy reads at a time: the hub takes messages of up to 4 MiB from it.
    per_connection_buffer_limit_bytes: 1048576
    filter_chains:
    - name: http
{tls}
      filters:
      - name: http
        typed_config:
          "@type": {filters}.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: clients
          use_remote_address: true
          normalize_path: true
          merge_slashes: true
          path_with_escaped_slashes_action: REJECT_REQUEST
          # A long prompt is read in silence: how long no byte may pass in either direction.
          stream_idle_timeout: {idle_s}s
          # How long a client may take to send a request's headers, and a request in all.
          request_headers_timeout: 30s
          request_timeout: 0s
          access_log:
          - name: stdout
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
              log_format:
                json_format:
                  time: "%START_TIME%"
                  method: "%REQ(:METHOD)%"
                  path: "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"
                  status: "%RESPONSE_CODE%"
                  # "via_upstream", or why the hub refused: "llm_hub_model_not_found"
                  why: "%RESPONSE_CODE_DETAILS%"
                  flags: "%RESPONSE_FLAGS%"
                  picked: "%DYNAMIC_METADATA(envoy.lb:{destination})%"
                  served_by: "%UPSTREAM_HOST%"
                  attempts: "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"
                  first_byte_ms: "%RESPONSE_DURATION%"
                  duration_ms: "%DURATION%"
                  bytes_in: "%BYTES_RECEIVED%"
                  bytes_out: "%BYTES_SENT%"
                  client: "%DOWNSTREAM_REMOTE_ADDRESS%"
          route_config:
            name: fleet
            virtual_hosts:
            - name: fleet
              domains: ["*"]
              # Envoy repeats a request on the next server only while it holds the whole
              # body, so this is the largest body that is repeated.
              request_body_buffer_limit: 33554432
              routes:
              - match: {{prefix: /}}
                route:
                  cluster: {cluster}
                  # Generations take minutes; stream_idle_timeout ends those that hang.
                  timeout: 0s
                  # Servers such as Ollama check the Host that they are asked for.
                  auto_host_rewrite: true
                  retry_policy:
                    # Only before the first byte of a response: a server that cannot be
                    # reached, resets, or says that it is not ready. Each attempt goes to
                    # the next server that the hub has named.
                    retry_on: connect-failure,refused-stream,reset,retriable-status-codes
                    retriable_status_codes: [502, 503]
                    num_retries: {retries}
                    retry_back_off: {{base_interval: 0.025s, max_interval: 0.25s}}
          http_filters:
          - name: picker
            typed_config:
              "@type": {filters}.http.ext_proc.v3.ExternalProcessor
              grpc_service:
                envoy_grpc: {{cluster_name: hub}}
                initial_metadata:
                - {{key: authorization, value: {token}}}
              # While the hub is down, requests get 500. With true they would pass without
              # a choice, and the cluster below refuses those with 503.
              failure_mode_allow: false
              # The hub may make a request wait until a server has room.
              message_timeout: 60s
              processing_mode:
                request_header_mode: SEND
                request_body_mode: FULL_DUPLEX_STREAMED
                request_trailer_mode: SEND
                # The hub sees when a response begins and ends, and none of its bytes.
                response_header_mode: SEND
                response_body_mode: NONE
                response_trailer_mode: SEND
              response_attributes: [upstream.address]
              metadata_options:
                forwarding_namespaces: {{untyped: [envoy.lb]}}
                receiving_namespaces: {{untyped: [envoy.lb]}}
          - name: router
            typed_config:
              "@type": {filters}.http.router.v3.Router
"""

_HUB: Final = """\
  clusters:
  - name: hub
    type: {kind}
    connect_timeout: 5s
    typed_extension_protocol_options:
      {protocols}:
        "@type": type.googleapis.com/{protocols}
        explicit_http_config:
          http2_protocol_options:
            # Finds a hub that has gone without a word.
            connection_keepalive: {{interval: 30s, timeout: 10s}}
    load_assignment:
      cluster_name: hub
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {hub}}}}}]}}]
{tls}"""

_FLEET: Final = """\
  # All servers. The load balancer takes the one that the hub has named, and no other.
"""

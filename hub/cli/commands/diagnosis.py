"""The checks of `llm-hub doctor`: open ports, a running hub, its clock, tokens and fleet.

No check raises: a check that cannot run is a finding too.
"""

import json
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from http.client import HTTPConnection, HTTPException, HTTPSConnection

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from hub.base.address import AddressError, join_host_port, parse_listen_address
from hub.cli.calling.connection import CHANNEL_OPTIONS
from hub.cli.output.grids import span_text
from hub.client import CallFailed, Hub, Retry, Tls
from llmhub.v1.admin_service_pb2 import GetServerInfoResponse
from llmhub.v1.endpoint_pb2 import (
    ADMIN_STATE_DISABLED,
    BREAKER_STATE_CLOSED,
    FAULT_DEAD,
    FAULT_NO_ANSWER,
    FAULT_NOT_SERVING,
    FAULT_REQUESTS_FAIL,
    FAULT_UNREACHABLE,
    FAULT_UNSPECIFIED,
    STATUS_HEALTHY,
    Endpoint,
)
from llmhub.v1.resources_pb2 import SidecarInfo, TokenInfo

TIMEOUT_S = 3.0
"""How long each read waits for an answer."""


def is_a_hub(
    transport: str,
    host: str,
    port: int,
    *,
    context: ssl.SSLContext | None = None,
    tls: Tls | None = None,
    ws_path: str = "/ws",
) -> bool:
    """Whether a hub's "ws", "grpc" or "http" server listens there; needs no token.

    With `context` and `tls` it speaks TLS. Each read takes at most 3 s.
    """
    match transport:
        case "grpc":
            return _is_hub_by_grpc(join_host_port(host, port), tls)
        case "http":
            return _is_hub_by_http(host, port, context)
        case _:
            scheme = "ws" if context is None else "wss"
            return _is_hub_by_websocket(
                f"{scheme}://{join_host_port(host, port)}{ws_path}", context
            )


def http_connection(host: str, port: int, context: ssl.SSLContext | None) -> HTTPConnection:
    """An HTTP connection that is not open yet; with a `context` it uses TLS."""
    if context is None:
        return HTTPConnection(host, port, timeout=TIMEOUT_S)
    return HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)


def _is_hub_by_grpc(address: str, tls: Tls | None) -> bool:
    """Whether a call without a token fails with a reason that only a hub gives."""
    with Hub(
        address,
        "",
        tls=tls,
        timeout_s=TIMEOUT_S,
        retry=Retry(attempts=1),
        channel_options=CHANNEL_OPTIONS,
    ) as hub:
        try:
            hub.server_info()
        except CallFailed as failed:
            return bool(failed.reason)
    return True


def _is_hub_by_http(host: str, port: int, context: ssl.SSLContext | None) -> bool:
    try:
        with closing(http_connection(host, port, context)) as connection:
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            return answer.status == 200 and bool(json.loads(answer.read(4096)) == {"status": "ok"})
    except (OSError, HTTPException, ValueError):
        return False


def _is_hub_by_websocket(url: str, context: ssl.SSLContext | None) -> bool:
    """Whether a frame is refused because the sidecar has not identified yet."""
    try:
        with connect(
            url,
            ssl=context,
            proxy=None,
            open_timeout=TIMEOUT_S,
            close_timeout=TIMEOUT_S,
            max_size=65536,
        ) as connection:
            connection.send(json.dumps({"type": "ping"}))
            reply = json.loads(connection.recv(TIMEOUT_S))
    except (OSError, WebSocketException, ValueError):
        return False
    return isinstance(reply, dict) and reply.get("error") == "not_identified"


# A bearer token's expiry and a sidecar's timestamps are read in seconds.
_MAX_SKEW_S = 5.0
_SOON_S = 7 * 86_400

_ADVICE = {
    FAULT_UNSPECIFIED: "wait for the first probe, or look at the server's own log",
    FAULT_NO_ANSWER: (
        "start the server, or make it listen on an address that the hub can reach ({host}); "
        "try from the hub's machine: curl -m 5 {url}/"
    ),
    FAULT_DEAD: "start the server on {host}: the sidecar on its host gets no answer either",
    FAULT_UNREACHABLE: (
        "the server runs, and the sidecar on its host reaches it: make it listen on an address "
        "that the hub can reach ({host}), and open the firewall"
    ),
    FAULT_NOT_SERVING: (
        "if it needs an API key: llm-hub register {url} --api-key-file FILE; if it is loading a "
        "model or is busy, wait; if another program answers there, check the port"
    ),
    FAULT_REQUESTS_FAIL: (
        "its probes succeed but callers report failed requests: see the server's log, and "
        "llm-hub select MODEL --explain; the hub tries it again by itself"
    ),
}


class Level(Enum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked, what was found, and what to do about it."""

    level: Level
    what: str
    found: str
    advice: str = ""


def server(info: GetServerInfoResponse, version: str) -> Iterator[Finding]:
    """The hub's version, uptime and store, and whether it is overloaded."""
    up = span_text(time.time() - info.started_at.seconds)
    yield Finding(Level.OK, "hub", f"version {info.version}, up {up}, store {info.store}")
    if version not in (info.version, "unknown") and info.version != "unknown":
        yield Finding(
            Level.WARNING,
            "version",
            f"this command is {version}, the hub {info.version}",
            "update the older one",
        )
    if info.overload.level:
        yield Finding(
            Level.WARNING,
            "overload",
            f"the hub refuses work: {info.overload.cause} is at "
            f"{info.overload.pressure[info.overload.cause]:.0%} of its budget",
            "docs/limits.md says what it refuses; give it more of that, or find who takes it",
        )


def grpc_server(address: str) -> Finding:
    """Whether a program listens where the commands look for the hub."""
    advice = "start a hub with `llm-hub serve`, or name another with --hub or LLM_HUB_ADDRESS"
    return _connection("gRPC server", *parse_listen_address(address), advice)


def websocket_server(address: str, hub_host: str) -> Finding:
    """Whether the server for sidecars accepts connections from here."""
    advice = "open the port in the firewall, or set ws.address to one that sidecars can reach"
    return _connection("WebSocket server", *reachable(address, hub_host), advice)


def _connection(what: str, host: str, port: int, advice: str) -> Finding:
    place = join_host_port(host, port)
    try:
        socket.create_connection((host, port), timeout=TIMEOUT_S).close()
    except OSError as error:
        return Finding(Level.FAILED, what, f"{place}: {error.strerror or error}", advice)
    return Finding(Level.OK, what, f"{place}: open")


def http_server(
    address: str, hub_host: str, context: ssl.SSLContext | None = None
) -> Iterator[Finding]:
    """Whether the HTTP server is ready, and whether both clocks agree.

    Uses TLS with a `context`; either all servers of a hub use TLS or none does.
    """
    host, port = reachable(address, hub_host)
    place = join_host_port(host, port)
    before_s = time.time()
    try:
        with closing(http_connection(host, port, context)) as connection:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            body = answer.read(4096).decode("utf-8", "replace")
    except (OSError, HTTPException) as error:
        why = error.strerror if isinstance(error, OSError) else None
        yield Finding(
            Level.FAILED,
            "HTTP server",
            f"{place}: {why or error}",
            "open the port in the firewall, or set http.address to one that this machine can reach",
        )
        return
    after_s = time.time()
    if answer.status == 200:
        yield Finding(Level.OK, "HTTP server", f"{place}: ready")
    else:
        yield Finding(
            Level.FAILED,
            "HTTP server",
            f"{place}: {answer.status} {body.strip()}",
            "see the hub's log",
        )
    yield clock(answer.headers.get("Date", ""), before_s, after_s)


def clock(date: str, before_s: float, after_s: float) -> Finding:
    """Compares the hub's clock with this machine's, by a Date header (RFC 9110, 6.6.1).

    The header has whole seconds, so the true time is up to a second later.
    """
    try:
        date_s = parsedate_to_datetime(date).timestamp()
    except ValueError:
        return Finding(Level.WARNING, "clock", "the hub did not send its time")
    skew_s = 0.0
    if date_s > after_s:
        skew_s = date_s - after_s
    elif date_s + 1 < before_s:
        skew_s = date_s + 1 - before_s
    if abs(skew_s) > _MAX_SKEW_S:
        side = "ahead of" if skew_s > 0 else "behind"
        return Finding(
            Level.WARNING,
            "clock",
            f"the hub is {span_text(abs(skew_s))} {side} this machine",
            "synchronize both with NTP; tokens expire by the hub's clock",
        )
    return Finding(Level.OK, "clock", "the hub and this machine agree")


def tokens(found: list[TokenInfo], now_s: float) -> Finding:
    """Whether a token expires soon, or an agent's only token has expired."""
    valid = [info for info in found if not info.expired]
    agents = {info.agent_id for info in valid}
    lost = {
        info.agent_id: f"{info.agent_id} {span_text(now_s - info.expires_at.seconds)} ago"
        for info in sorted(found, key=lambda each: each.expires_at.seconds)
        if info.expired and info.agent_id and info.agent_id not in agents
    }
    if lost:
        return Finding(
            Level.WARNING,
            "tokens",
            f"a sidecar's only token has expired: {_some(lost.values())}",
            "llm-hub token create --role sidecar --agent …, or llm-hub token revoke --expired",
        )
    soon = [
        info
        for info in valid
        if info.HasField("expires_at") and info.expires_at.seconds - now_s < _SOON_S
    ]
    if not soon:
        return Finding(Level.OK, "tokens", f"{len(valid)} valid, none expires within a week")
    names = _some(
        f"{info.agent_id or info.id} in {span_text(info.expires_at.seconds - now_s)}"
        for info in soon
    )
    return Finding(
        Level.WARNING,
        "tokens",
        f"{len(soon)} of {len(valid)} expire soon: {names}",
        "replace them in time: llm-hub token create …",
    )


def _some(names: Iterable[str]) -> str:
    """The first five names, and how many more there are."""
    all_ = list(names)
    more = f" and {len(all_) - 5} more" if len(all_) > 5 else ""
    return ", ".join(all_[:5]) + more


def endpoint(each: Endpoint) -> Finding | None:
    """Whether the hub gets an answer from an endpoint; None if it is disabled."""
    if each.admin_state == ADMIN_STATE_DISABLED:
        return None
    what = f"endpoint {each.id}"
    if each.status == STATUS_HEALTHY and not each.last_error:
        if each.same_server_as:
            return Finding(
                Level.WARNING,
                what,
                f"healthy, and the same server as {each.same_server_as}; counted once",
                f"if one address is enough: llm-hub remove {each.id}",
            )
        broken = [seen for seen in each.outcomes if seen.breaker != BREAKER_STATE_CLOSED]
        if broken:
            names = _some(seen.model for seen in broken)
            found = f"healthy, but requests fail for {names}: {broken[0].reason}"
            return Finding(Level.WARNING, what, found, _advice(each))
        count = len(each.models)
        return Finding(Level.OK, what, f"healthy, {count} model{'' if count == 1 else 's'}")
    return Finding(Level.FAILED, what, each.last_error or "not probed yet", _advice(each))


def sidecar_hosts(endpoints: list[Endpoint], sidecars: list[SidecarInfo]) -> Finding | None:
    """Whether every agent that endpoints name is connected; None if they name none."""
    wanted = {each.agent_id for each in endpoints if each.agent_id}
    missing = sorted(wanted - {each.agent_id for each in sidecars})
    if not wanted:
        return None
    if not missing:
        return Finding(Level.OK, "sidecars", f"all {len(wanted)} are connected")
    return Finding(
        Level.WARNING,
        "sidecars",
        f"not connected: {_some(missing)}",
        "see the sidecar's log on that host; without a sidecar, its resources are unknown",
    )


def reachable(address: str, hub_host: str) -> tuple[str, int]:
    """Where this machine reaches a hub's server; `hub_host` replaces a wildcard address."""
    try:
        host, port = parse_listen_address(address)
    except AddressError:
        return hub_host, 0
    return (hub_host if host in ("0.0.0.0", "::") else host), port  # noqa: S104


def _advice(each: Endpoint) -> str:
    """What an operator can do about the fault of an endpoint."""
    url = f"{each.scheme}://{each.id}{each.base_path}"
    return _ADVICE.get(each.fault, _ADVICE[FAULT_UNSPECIFIED]).format(host=each.host, url=url)

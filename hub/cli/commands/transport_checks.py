"""Whether a port that is in use belongs to a hub or to another program."""

import json
import ssl
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from hub.base.address import join_host_port
from hub.cli.calling.connection import CHANNEL_OPTIONS
from hub.client import CallFailed, Hub, Retry, Tls

TIMEOUT_S = 3.0
"""How long the doctor waits for an answer, each time it reads."""


def is_a_hubs(
    transport: str,
    host: str,
    port: int,
    *,
    context: ssl.SSLContext | None = None,
    tls: Tls | None = None,
    ws_path: str = "/ws",
) -> bool:
    """Whether a hub's "ws", "grpc" or "http" server answers there; asks without a token.

    With `context` and `tls` it speaks TLS. Each read takes at most 3 s.
    """
    match transport:
        case "grpc":
            return _refuses_as_a_hub(join_host_port(host, port), tls)
        case "http":
            return _is_alive_as_a_hub(host, port, context)
        case _:
            scheme = "ws" if context is None else "wss"
            return _wants_identify(f"{scheme}://{join_host_port(host, port)}{ws_path}", context)


def http_connection(host: str, port: int, context: ssl.SSLContext | None) -> HTTPConnection:
    """A connection to an HTTP server, yet to be made; with a `context` it speaks TLS."""
    if context is None:
        return HTTPConnection(host, port, timeout=TIMEOUT_S)
    return HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)


def _refuses_as_a_hub(address: str, tls: Tls | None) -> bool:
    """Whether a call without a token fails for a reason that only a hub gives."""
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


def _is_alive_as_a_hub(host: str, port: int, context: ssl.SSLContext | None) -> bool:
    try:
        with closing(http_connection(host, port, context)) as connection:
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            return answer.status == 200 and bool(json.loads(answer.read(4096)) == {"status": "ok"})
    except (OSError, HTTPException, ValueError):
        return False


def _wants_identify(url: str, context: ssl.SSLContext | None) -> bool:
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

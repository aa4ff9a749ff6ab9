"""Whose a port is that is in use: a hub's, or another program's."""

import ssl
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from hub.base.address import join_host_port
from hub.cli.calling.tls import open_channel

TIMEOUT_S = 3.0
"""How long the doctor waits for an answer, each time it reads."""

_SERVICE = "llmhub.v1.AdminService"
# What the other two doors answer to whoever has no token.
_ANSWERS = {
    "http": ("/healthz", 200, b'{"status":"ok"}'),
    "ws": ("/doctor", 404, b"sidecars connect to "),
}


def is_a_hubs(
    door: str,
    host: str,
    port: int,
    *,
    context: ssl.SSLContext | None = None,
    credentials: grpc.ChannelCredentials | None = None,
) -> bool:
    """Whether a hub's "ws", "grpc" or "http" door answers there; asks without a token.

    With a `context` or `credentials` it speaks TLS. Takes 3 s a read at most.
    """
    if door == "grpc":
        return _serves_a_hub(join_host_port(host, port), credentials)
    path, status, start = _ANSWERS[door]
    try:
        with closing(http_connection(host, port, context)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status == status and answer.read(len(start)) == start
    except (OSError, HTTPException):
        return False


def http_connection(host: str, port: int, context: ssl.SSLContext | None) -> HTTPConnection:
    """A connection to an HTTP door, yet to be made; with a `context` it speaks TLS."""
    if context is None:
        return HTTPConnection(host, port, timeout=TIMEOUT_S)
    return HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)


def _serves_a_hub(address: str, credentials: grpc.ChannelCredentials | None) -> bool:
    with open_channel(address, credentials, (("grpc.enable_http_proxy", 0),)) as channel:
        try:
            answer = HealthStub(channel).Check(
                HealthCheckRequest(service=_SERVICE), timeout=TIMEOUT_S
            )
        except grpc.RpcError:
            return False
        # One that is out of touch with its store, or stops, is a hub too.
        return bool(answer.status != HealthCheckResponse.SERVICE_UNKNOWN)

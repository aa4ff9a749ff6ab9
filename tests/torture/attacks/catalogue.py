"""All attacks by name."""

from tests.torture.attacks import connections, http2, lies, servers, unread, websockets
from tests.torture.attacks.target import Attack

GRPC: dict[str, Attack] = http2.HTTP2 | unread.GRPC | connections.GRPC
"""The ones that depend on the gRPC engine."""

OTHERS: dict[str, Attack] = (
    unread.HTTP | connections.HTTP | websockets.WEBSOCKETS | servers.SERVERS | lies.LIES
)

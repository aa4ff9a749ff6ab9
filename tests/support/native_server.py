"""Runs a native gRPC server until a block ends; what calls without a server need."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from hub.transports.grpc.native.accounts import Ledger
from hub.transports.grpc.native.call import CallContext
from hub.transports.grpc.native.call_status import exhausted
from hub.transports.grpc.native.http2_connection import Connection
from hub.transports.grpc.native.limits import Limits
from hub.transports.grpc.native.message_framing import FramedOnce
from hub.transports.grpc.native.method import Method
from hub.transports.grpc.native.native_server import NativeServer


@asynccontextmanager
async def native_server(
    methods: Mapping[str, Method], limits: Limits | None = None, **options: Any
) -> AsyncIterator[tuple[NativeServer, int]]:
    """The server and its port."""
    server = NativeServer(methods, limits or Limits(), **options)
    port = await server.start("127.0.0.1", 0)
    try:
        yield server, port
    finally:
        await server.stop(0)


def call_context(
    connection: Connection, ledger: Ledger, *, max_message_bytes: int, high_water: int
) -> CallContext:
    """What the calls of a connection without a socket share."""
    return CallContext(
        connection=connection,
        peer="192.0.2.1",
        framing=FramedOnce(),
        max_message_bytes=max_message_bytes,
        high_water=high_water,
        flush=lambda: None,
        token=ledger.token,
        exhausted=exhausted,
    )

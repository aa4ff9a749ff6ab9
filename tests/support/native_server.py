"""Runs a native gRPC server until a block ends."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from hub.transports.grpc.native.limits import Limits
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

from collections.abc import AsyncIterator

import pytest

from hub.transports.grpc.native.limits import Limits
from hub.transports.grpc.native.native_server import NativeServer
from tests.support.interop_service import METHODS


@pytest.fixture
async def interop_port() -> AsyncIterator[int]:
    """The port of a server with gRPC's own test service."""
    server = NativeServer(METHODS, Limits())
    yield await server.start("127.0.0.1", 0)
    await server.stop(0)

"""The hub's own gRPC server without the hub: answers its first argument's bytes at /bare/0."""

import sys
from pathlib import Path

import uvloop

from benchmarks.servers import ready
from hub.transports.grpc.native.limits import Limits
from hub.transports.grpc.native.method import UnaryMethod
from hub.transports.grpc.native.native_server import NativeServer


async def _main(answer: bytes) -> None:
    methods = {"/bare/0": UnaryMethod(lambda _call, _message: answer)}
    server = NativeServer(methods, Limits(), tls=ready.tls_context())
    ready.say(port=await server.start("127.0.0.1", 0))
    await ready.until_stopped()
    await server.stop(0)


uvloop.run(_main(Path(sys.argv[1]).read_bytes()))

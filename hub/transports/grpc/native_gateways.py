"""The methods that gateways call, on the native gRPC server."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from hub.service.metrics.calls import Calls
from hub.transports.grpc.gateway_methods import GatewayMethod, GatewayMethods
from hub.transports.grpc.native.method import Method, StreamMethod
from hub.transports.grpc.native.stream_call import StreamCall
from hub.transports.grpc.native_messages import call_failed
from hub.transports.grpc.native_rpcs import RpcMethods


def gateway_methods(gateway: GatewayMethods, rpcs: RpcMethods, calls: Calls) -> dict[str, Method]:
    """The methods by path."""
    return {one.path: StreamMethod(_answering(one, rpcs, calls)) for one in gateway.methods}


def _answering(
    method: GatewayMethod, rpcs: RpcMethods, calls: Calls
) -> Callable[[StreamCall], AsyncGenerator[bytes, None]]:
    async def handle(call: StreamCall) -> AsyncGenerator[bytes, None]:
        with calls.rpc(method, call.head.text_metadata) as record:
            try:
                with rpcs.stream_of_token(call):
                    replies = method.answer(lambda: rpcs.credentials(call), call, call.set_known)
                    async with aclosing(replies):
                        async for reply in replies:
                            yield reply
            except Exception as error:
                raise call_failed(record.fail(error)) from None

    return handle

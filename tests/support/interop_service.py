"""grpc.testing.TestService, which gRPC's interop clients call, on the native server.

`python -m tests.support.interop_service` serves it, and prints its port. The test cases are
in https://github.com/grpc/grpc/blob/master/doc/interop-test-descriptions.md; the messages
below have only the fields that they use.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from hub.transports.grpc.native.call import Call
from hub.transports.grpc.native.call_status import CallFailed
from hub.transports.grpc.native.limits import Limits
from hub.transports.grpc.native.method import Method, StreamMethod, UnaryMethod
from hub.transports.grpc.native.native_server import NativeServer
from hub.transports.grpc.native.stream_call import StreamCall

_FIELDS = {
    "Empty": "",
    "BoolValue": "bool value 1",
    "Payload": "int32 type 1, bytes body 2",
    "EchoStatus": "int32 code 1, string message 2",
    "SimpleRequest": "int32 response_size 2, Payload payload 3, BoolValue response_compressed 6,"
    " EchoStatus response_status 7, BoolValue expect_compressed 8",
    "SimpleResponse": "Payload payload 1, string server_id 4",
    "StreamingInputCallRequest": "Payload payload 1, BoolValue expect_compressed 2",
    "StreamingInputCallResponse": "int32 aggregated_payload_size 1",
    "ResponseParameters": "int32 size 1, int32 interval_us 2, BoolValue compressed 3",
    "StreamingOutputCallRequest": "repeated ResponseParameters response_parameters 2,"
    " Payload payload 3, EchoStatus response_status 7",
    "StreamingOutputCallResponse": "Payload payload 1",
}
_SCALARS = {
    "bool": "TYPE_BOOL",
    "int32": "TYPE_INT32",
    "bytes": "TYPE_BYTES",
    "string": "TYPE_STRING",
}


def _field(text: str) -> str:
    *repeated, kind, name, number = text.split()
    label = "LABEL_REPEATED" if repeated else "LABEL_OPTIONAL"
    typed = f"type: {_SCALARS[kind]}" if kind in _SCALARS else f'type_name: "{kind}"'
    return f'field {{ name: "{name}" number: {number} label: {label} {typed} }}'


def _messages() -> dict[str, Any]:
    messages = "\n".join(
        f'message_type {{ name: "{name}" {" ".join(map(_field, filter(None, text.split(", "))))} }}'
        for name, text in ((name, text.replace(",  ", ", ")) for name, text in _FIELDS.items())
    )
    file = text_format.Parse(
        f'name: "interop.proto" package: "grpc.testing" syntax: "proto3" {messages}',
        descriptor_pb2.FileDescriptorProto(),
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"grpc.testing.{name}"))
        for name in _FIELDS
    }


MESSAGES = _messages()
SERVICE = "/grpc.testing.TestService"


def _echo_metadata(call: Call) -> None:
    for key, value in call.head.metadata:
        if key == "x-grpc-test-echo-initial":
            call.initial_metadata = ((key, value),)
        elif key == "x-grpc-test-echo-trailing-bin":
            call.trailing_metadata = ((key, value),)


def _require_ok(request: Any) -> None:
    if request.response_status.code:
        raise CallFailed(request.response_status.code, request.response_status.message)


def _payload(size: int) -> Any:
    return MESSAGES["Payload"](body=bytes(size))


def _empty_call(call: Call, _message: bytes) -> bytes:
    _echo_metadata(call)
    return b""


def _unary_call(call: Call, message: bytes) -> bytes:
    _echo_metadata(call)
    request = MESSAGES["SimpleRequest"].FromString(message)
    _require_ok(request)
    call.compress = request.response_compressed.value
    response = MESSAGES["SimpleResponse"](
        payload=_payload(request.response_size), server_id="native"
    )
    return response.SerializeToString()


async def _streaming_input(call: StreamCall) -> AsyncGenerator[bytes, None]:
    size = 0
    async for message in call:
        size += len(MESSAGES["StreamingInputCallRequest"].FromString(message).payload.body)
    response = MESSAGES["StreamingInputCallResponse"](aggregated_payload_size=size)
    yield response.SerializeToString()


async def _streaming_output(call: StreamCall) -> AsyncGenerator[bytes, None]:
    _echo_metadata(call)
    async for message in call:
        request = MESSAGES["StreamingOutputCallRequest"].FromString(message)
        _require_ok(request)
        for parameters in request.response_parameters:
            if parameters.interval_us:
                await asyncio.sleep(parameters.interval_us / 1e6)
            response = MESSAGES["StreamingOutputCallResponse"](payload=_payload(parameters.size))
            yield response.SerializeToString()


METHODS: dict[str, Method] = {
    f"{SERVICE}/EmptyCall": UnaryMethod(_empty_call),
    f"{SERVICE}/UnaryCall": UnaryMethod(_unary_call),
    f"{SERVICE}/StreamingInputCall": StreamMethod(_streaming_input),
    f"{SERVICE}/StreamingOutputCall": StreamMethod(_streaming_output),
    f"{SERVICE}/FullDuplexCall": StreamMethod(_streaming_output),
    f"{SERVICE}/HalfDuplexCall": StreamMethod(_streaming_output),
}


async def _main() -> None:
    server = NativeServer(METHODS, Limits())
    print(await server.start("127.0.0.1", 0), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(1)


if __name__ == "__main__":
    import uvloop

    uvloop.run(_main())

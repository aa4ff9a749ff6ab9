"""The floor of the endpoint picker: grpc.aio with Envoy's messages, and a list of addresses.

It does what the protocol requires, and nothing else: it reads the model from the body, names
the next address of a fixed list, and returns the body. The argument is a file with an address
on each line.
"""

import itertools
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import orjson
import uvloop

from benchmarks.servers import ready
from llmhub.gateway.v1 import processing_pb2 as pb

_METHOD = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
_DESTINATION = "x-gateway-destination-endpoint"
# Envoy does not accept a message above 64 KiB in one piece of a body.
_CHUNK_BYTES = 62_000

# Any: the generated classes have no types.
Messages = AsyncIterator[Any]


class Picker:
    """Names the addresses in turn."""

    def __init__(self, addresses: list[str]) -> None:
        self._addresses = itertools.cycle(addresses)

    async def process(self, requests: Messages, _context: object) -> Messages:
        """Answers the stream of one HTTP request."""
        held = []
        async for request in requests:
            match request.WhichOneof("request"):
                case "request_body":
                    held.append(request.request_body.body)
                    if request.request_body.end_of_stream:
                        body = b"".join(held)
                        assert orjson.loads(body)["model"]
                        yield self._picked()
                        for chunk in _chunks(body):
                            yield chunk
                case "request_trailers" | "response_headers" | "response_trailers" as kind:
                    passed = pb.ProcessingResponse()
                    getattr(passed, kind).SetInParent()
                    yield passed

    def _picked(self) -> Any:
        address = next(self._addresses)
        response = pb.ProcessingResponse()
        option = response.request_headers.response.header_mutation.set_headers.add()
        option.header.key = _DESTINATION
        option.header.raw_value = address.encode()
        fields = response.dynamic_metadata.fields["envoy.lb"].struct_value.fields
        fields[_DESTINATION].string_value = address
        return response


def _chunks(body: bytes) -> list[Any]:
    responses = []
    for start in range(0, len(body), _CHUNK_BYTES):
        response = pb.ProcessingResponse()
        streamed = response.request_body.response.body_mutation.streamed_response
        streamed.body = body[start : start + _CHUNK_BYTES]
        streamed.end_of_stream = start + _CHUNK_BYTES >= len(body)
        responses.append(response)
    return responses


async def _main(addresses: list[str]) -> None:
    handler = grpc.stream_stream_rpc_method_handler(
        Picker(addresses).process,
        request_deserializer=pb.ProcessingRequest.FromString,
        response_serializer=pb.ProcessingResponse.SerializeToString,
    )
    service, _, method = _METHOD.strip("/").rpartition("/")
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {method: handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    ready.say(port=port)
    await ready.until_stopped()
    await server.stop(0)


uvloop.run(_main(Path(sys.argv[1]).read_text().split()))

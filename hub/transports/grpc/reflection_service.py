"""Server reflection under both of its names, v1 and v1alpha.

grpcio-reflection knows only v1alpha. v1 has the same messages in another package
(https://github.com/grpc/grpc/blob/master/doc/server-reflection.md), so one servicer
answers under both names. The v1 descriptor is a renamed copy, so that a client can also
describe the v1 service itself.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

# grpc's types of requests and contexts take parameters only in its stubs.
ServerStream = Callable[[Any, Any], AsyncIterator[Any]]

_V1ALPHA_PACKAGE = "grpc.reflection.v1alpha"
_V1_PACKAGE = "grpc.reflection.v1"
_V1_FILE = "grpc/reflection/v1/reflection.proto"

V1ALPHA_NAME: str = reflection.SERVICE_NAME
V1_NAME = f"{_V1_PACKAGE}.ServerReflection"


def _pool_with_v1() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.Default()
    try:
        pool.FindFileByName(_V1_FILE)
    except KeyError:
        file = descriptor_pb2.FileDescriptorProto()
        reflection_pb2.DESCRIPTOR.CopyToProto(file)
        _rename(file)
        pool.Add(file)
    return pool


def _rename(file: descriptor_pb2.FileDescriptorProto) -> None:
    file.name = _V1_FILE
    file.package = _V1_PACKAGE
    # The options name v1alpha's generated code, and mark it as deprecated.
    file.ClearField("options")
    old, new = f".{_V1ALPHA_PACKAGE}.", f".{_V1_PACKAGE}."
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(old, new)
    for service in file.service:
        for method in service.method:
            method.input_type = method.input_type.replace(old, new)
            method.output_type = method.output_type.replace(old, new)


class _Pool:
    """A pool that also finds methods by name, which ghz asks for; protobuf's own does not."""

    def __init__(self, pool: descriptor_pool.DescriptorPool) -> None:
        self._pool = pool

    # Any: what the pool has.
    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, name: str) -> FileDescriptor:  # noqa: N802
        """The file of anything that has a name. Raises KeyError."""
        try:
            return self._pool.FindFileContainingSymbol(name)
        except KeyError:
            return self._pool.FindMethodByName(name).containing_service.file


def servicer(service_names: Sequence[str]) -> ReflectionServicer:
    """Describes the named services, and reflection itself."""
    names = (*service_names, V1_NAME, V1ALPHA_NAME)
    return ReflectionServicer(names, pool=_Pool(_pool_with_v1()))


def handlers(
    service_names: Sequence[str], guard: Callable[[ServerStream], ServerStream]
) -> list[grpc.GenericRpcHandler]:
    """Handlers that describe the named services, and reflection itself.

    `guard` wraps a stream so that the number of open ones is bounded.
    """
    method = grpc.stream_stream_rpc_method_handler(
        guard(servicer(service_names).ServerReflectionInfo),
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return [
        grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": method})
        for name in (V1_NAME, V1ALPHA_NAME)
    ]

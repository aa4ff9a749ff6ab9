"""The contract as a descriptor set, from which protoc generates a client in any language."""

from typing import Final

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from hub.contract.rpcs import SERVICES
from llmhub.v1 import error_reason_pb2

CONTENT_TYPE: Final = "application/protobuf"


def descriptor_set() -> bytes:
    """An encoded FileDescriptorSet of the services and of everything that they import.

    A file follows those that it imports, as protoc requires. `buf/validate/validate.proto`
    and Google's well-known types are part of it, so no registry is needed.
    """
    found: dict[str, FileDescriptor] = {}
    for file in (*(service.file for service in SERVICES), error_reason_pb2.DESCRIPTOR):
        _collect(file, found)
    descriptors = FileDescriptorSet()
    for file in found.values():
        file.CopyToProto(descriptors.file.add())
    return descriptors.SerializeToString(deterministic=True)


def _collect(file: FileDescriptor, found: dict[str, FileDescriptor]) -> None:
    for imported in file.dependencies:
        _collect(imported, found)
    found[file.name] = file

"""Messages with one field and one rule, made for a test."""

from collections.abc import Sequence
from itertools import count

from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    field_mask_pb2,
    message_factory,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.message import Message

from buf.validate import validate_pb2
from llmhub.v1 import endpoint_pb2

_NUMBERS = count()
_FIELD = descriptor_pb2.FieldDescriptorProto
_IMPORTED = (
    any_pb2,
    duration_pb2,
    endpoint_pb2,
    field_mask_pb2,
    timestamp_pb2,
    validate_pb2,
    wrappers_pb2,
)


def message_class(
    type_: int,
    rules: validate_pb2.FieldRules,
    *,
    type_name: str = "",
    repeated: bool = False,
    optional: bool = False,
    enum: Sequence[int] = (),
) -> type[Message]:
    """A class of messages whose field `value` is of the type and has the rules.

    `type_name` is the full name of a message or an enum; `enum` makes one with these
    numbers. An `optional` field has presence.
    """
    package = f"rule_messages.n{next(_NUMBERS)}"
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.proto",
        package=package,
        syntax="proto3",
        dependency=[module.DESCRIPTOR.name for module in _IMPORTED],
    )
    message = file.message_type.add(name="Message")
    field = message.field.add(name="value", number=1, type=type_)
    field.label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
    if enum:
        own = file.enum_type.add(name="Own")
        for number in enum:
            own.value.add(name=f"OWN_{number}", number=number)
        type_name = f"{package}.Own"
    if type_name:
        field.type_name = f".{type_name}"
    if optional:
        message.oneof_decl.add(name="_value")
        field.oneof_index, field.proto3_optional = 0, True
    field.options.Extensions[validate_pb2.field].CopyFrom(rules)
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.Message"))

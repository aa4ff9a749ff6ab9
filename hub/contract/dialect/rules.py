"""The buf.validate rules beside a field or a message, read from the descriptor."""

from typing import Any, Final, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from buf.validate import validate_pb2

# protoc's stubs give an extension as a plain descriptor, which mypy takes for no key.
_FIELD_RULES: Final[Any] = validate_pb2.field
_MESSAGE_RULES: Final[Any] = validate_pb2.message


def field_rules(field: FieldDescriptor) -> validate_pb2.FieldRules:
    """The field's rules; empty ones where it has none."""
    return cast(validate_pb2.FieldRules, field.GetOptions().Extensions[_FIELD_RULES])


def message_rules(message: Descriptor) -> validate_pb2.MessageRules:
    """The message's own rules, those that compare fields."""
    return cast(validate_pb2.MessageRules, message.GetOptions().Extensions[_MESSAGE_RULES])

"""`GET /api/schemas`: what a caller may send, computed from descriptors and their rules.

Each entry lists a message's fields and holds a JSON Schema (draft 2020-12) of the JSON
dialect. Rules that JSON Schema cannot express (CEL) are in its `description`s.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from buf.validate import validate_pb2
from hub.contract.dialect.encode import Json
from hub.contract.dialect.names import (
    DURATION,
    FIELD_MASK,
    TIMESTAMP,
    enum_words,
    field_rules,
    is_map,
    is_secret,
    message_rules,
)
from hub.contract.dialect.scalars import (
    INTEGER_RANGES,
    MAX_DURATION_MS,
    MAX_TIMESTAMP_MS,
    MIN_TIMESTAMP_MS,
)
from hub.contract.rpcs import FRAMES
from llmhub.v1.frame_pb2 import HubFrame
from llmhub.v1.sidecar_service_pb2 import DESCRIPTOR as SIDECAR_FILE

VERSION: Final = "1.0"

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Json]
HttpBodies = Mapping[str, tuple[type[Message], str]]


def schemas(http_bodies: HttpBodies) -> dict[str, Json]:
    """The reply to `GET /api/schemas`.

    `http_bodies` maps the key of each HTTP route that takes a body, such as
    "llm_registry.register", to the body's message class and a description.
    """
    websocket: list[Json] = [
        {"type": name, **_entry(each.rpc.request, _frame_description(name), name)}
        for name, each in sorted(FRAMES.items())
    ]
    http: list[Json] = [
        {"key": key, **_entry(message_class, description, None)}
        for key, (message_class, description) in sorted(http_bodies.items())
    ]
    return {
        "version": VERSION,
        "schemas": {"version": VERSION, "websocket": websocket, "http": http},
    }


def request_schema(message_class: type[Message]) -> Schema:
    """The JSON Schema of a message as a caller sends it."""
    return _object_schema(cast(Descriptor, message_class.DESCRIPTOR))


def reply_schema(message_class: type[Message]) -> Schema:
    """The JSON Schema of a message as an HTTP reply shows it: every field is there.

    Rules are for requests, so it has none of them.
    """
    return _reply_schema(cast(Descriptor, message_class.DESCRIPTOR))


def _reply_schema(descriptor: Descriptor) -> Schema:
    return {
        "type": "object",
        "properties": {field.name: _reply_field(field) for field in descriptor.fields},
        "required": [field.name for field in descriptor.fields],
    }


def _reply_field(field: FieldDescriptor) -> Schema:
    if is_map(field):
        value = cast(Descriptor, field.message_type).fields_by_name["value"]
        return {"type": "object", "additionalProperties": _reply_value(value)}
    schema = _reply_value(field)
    if field.is_repeated:
        return {"type": "array", "items": schema}
    is_unknowable = field.has_presence or field.enum_type is not None
    return _nullable(schema) if is_unknowable else schema


def _reply_value(field: FieldDescriptor) -> Schema:
    named = field.message_type and field.message_type.full_name
    if named and named not in (TIMESTAMP, DURATION, FIELD_MASK):
        return _reply_schema(cast(Descriptor, field.message_type))
    return _value_schema(field, validate_pb2.FieldRules())


def _frame_description(name: str) -> str:
    """Which RPC a frame calls and which frame answers it.

    Generated descriptors have no comments, so the text is derived from the message types.
    """
    request = FRAMES[name].rpc.request.DESCRIPTOR
    service = SIDECAR_FILE.services_by_name["SidecarService"]
    method = next(each for each in service.methods if each.input_type is request)
    replies = [
        member.name
        for member in HubFrame.DESCRIPTOR.oneofs_by_name["frame"].fields
        if member.message_type is method.output_type
    ]
    answer = f'answered by "{replies[0]}"' if replies else "not answered"
    return f"The request of {service.name}.{method.name}; {answer}."


def _entry(message_class: type[Message], description: str, frame_type: str | None) -> Schema:
    descriptor = cast(Descriptor, message_class.DESCRIPTOR)
    schema = _object_schema(descriptor)
    if frame_type is not None:
        schema["properties"] = {
            "type": {"const": frame_type},
            **cast(Schema, schema["properties"]),
        }
        schema["required"] = ["type", *cast(list[Json], schema["required"])]
    fields: dict[bool, list[Json]] = {True: [], False: []}
    for field in sorted(descriptor.fields, key=lambda each: each.name):
        kind = _field_schema(field)["type"]
        fields[field_rules(field).required].append({"name": field.name, "type": kind})
    return {
        "description": description,
        "required_fields": fields[True],
        "optional_fields": fields[False],
        "json_schema": {"$schema": _DRAFT, **schema},
    }


def _object_schema(descriptor: Descriptor) -> Schema:
    properties: Schema = {}
    for field in descriptor.fields:
        schema = _field_schema(field)
        properties[field.name] = schema if field_rules(field).required else _nullable(schema)
    schema = {
        "type": "object",
        "properties": properties,
        "required": [field.name for field in descriptor.fields if field_rules(field).required],
    }
    return _described(schema, message_rules(descriptor).cel)


def _nullable(schema: Schema) -> Schema:
    """The schema of an optional field, for which the dialect also accepts null."""
    nullable = {**schema, "type": [schema["type"], "null"]}
    if "enum" in schema:
        nullable["enum"] = [*cast(list[Json], schema["enum"]), None]
    return nullable


def _field_schema(field: FieldDescriptor) -> Schema:
    rules = field_rules(field)
    schema: Schema
    if is_map(field):
        entry = cast(Descriptor, field.message_type).fields_by_name
        schema = {
            "type": "object",
            "propertyNames": _value_schema(entry["key"], rules.map.keys),
            "additionalProperties": _value_schema(entry["value"], rules.map.values),
        }
        _put_bounds(schema, rules.map, min_pairs="minProperties", max_pairs="maxProperties")
    elif field.is_repeated:
        schema = {"type": "array", "items": _value_schema(field, rules.repeated.items)}
        _put_bounds(schema, rules.repeated, min_items="minItems", max_items="maxItems")
    else:
        schema = _value_schema(field, rules)
    if is_secret(field):
        schema["writeOnly"] = True
    return _described(schema, rules.cel)


def _value_schema(field: FieldDescriptor, rules: validate_pb2.FieldRules) -> Schema:
    """The schema of a single value of a field, whether or not the field is repeated."""
    if field.message_type is not None:
        return _message_schema(field.message_type, rules)
    if field.enum_type is not None:
        return {"type": "string", "enum": list(enum_words(field.enum_type))}
    if field.type == FieldDescriptor.TYPE_BOOL:
        return {"type": "boolean"}
    if field.type == FieldDescriptor.TYPE_STRING:
        return _string_schema(rules)
    schema: Schema = {"type": "number"}
    if field.cpp_type in INTEGER_RANGES:
        low, high = INTEGER_RANGES[field.cpp_type]
        schema = {"type": "integer", "minimum": low, "maximum": high}
    kind = rules.WhichOneof("type")
    if kind is not None:
        _put_range(schema, getattr(rules, kind))
    return schema


def _message_schema(descriptor: Descriptor, rules: validate_pb2.FieldRules) -> Schema:
    match descriptor.full_name:
        case name if name == TIMESTAMP:
            return {
                "type": "integer",
                "minimum": MIN_TIMESTAMP_MS,
                "maximum": MAX_TIMESTAMP_MS,
                "description": "milliseconds since the Unix epoch",
            }
        case name if name == DURATION:
            schema: Schema = {
                "type": "number",
                "minimum": -MAX_DURATION_MS,
                "maximum": MAX_DURATION_MS,
                "description": "milliseconds",
            }
            _put_range(schema, rules.duration)
            return schema
        case name if name == FIELD_MASK:
            return {"type": "array", "items": {"type": "string"}}
        case _:
            return _object_schema(descriptor)


def _string_schema(rules: validate_pb2.FieldRules) -> Schema:
    schema: Schema = {"type": "string"}
    if rules.required:
        schema["minLength"] = 1
    _put_bounds(schema, rules.string, min_len="minLength", max_len="maxLength", pattern="pattern")
    if "pattern" in schema:
        # JSON Schema has the regular expressions of ECMA-262, the contract those of RE2. Most
        # validators lack Unicode's classes, so control characters are listed.
        pattern = re.sub(r"\\x\{([0-9A-F]{4})\}", r"\\u\1", str(schema["pattern"]))
        schema["pattern"] = pattern.replace(r"\p{Cc}", r"\u0000-\u001F\u007F-\u009F")
    allowed = getattr(rules.string, "in")
    if allowed:
        schema["enum"] = list(allowed)
    return schema


def _put_range(schema: Schema, rules: Message) -> None:
    _put_bounds(
        schema,
        rules,
        gt="exclusiveMinimum",
        gte="minimum",
        lt="exclusiveMaximum",
        lte="maximum",
    )


# Any: each type has its own class of rules, with one field per rule.
def _put_bounds(schema: Schema, rules: Any, **keywords: str) -> None:
    for rule, keyword in keywords.items():
        if rules.HasField(rule):
            limit = getattr(rules, rule)
            schema[keyword] = limit.ToMilliseconds() if isinstance(limit, Duration) else limit


def _described(schema: Schema, rules: Any) -> Schema:
    messages = [rule.message for rule in rules]
    return {**schema, "description": "; ".join(messages)} if messages else schema

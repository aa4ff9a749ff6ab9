"""A second implementation of the JSON dialect, from its specification, to test the codec."""

from datetime import UTC, datetime, timedelta
from types import ModuleType

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

from hub.contract.dialect.frames import ParsedFrame, UnreadReport
from llmhub.v1 import admin_service_pb2, registry_service_pb2, sidecar_service_pb2

SERVICES: tuple[ModuleType, ...] = (admin_service_pb2, registry_service_pb2, sidecar_service_pb2)

INTEGERS = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
}


def message_classes(*, responses: bool) -> list[type[Message]]:
    """The request classes, and with `responses` the response classes, of all RPCs by name."""
    found = {}
    for module in SERVICES:
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                found[method.input_type.full_name] = method.input_type
                if responses:
                    found[method.output_type.full_name] = method.output_type
    return [message_factory.GetMessageClass(found[name]) for name in sorted(found)]


def request_of(frame: ParsedFrame) -> Message:
    """The valid request in a frame, also where the hub would not make it yet."""
    decoded = frame.decode()
    assert list(decoded.violations) == []
    return decoded.read() if isinstance(decoded, UnreadReport) else decoded.message


def json_objects(descriptor: Descriptor) -> st.SearchStrategy[dict]:
    """Valid objects of the dialect for a message, with at most one member of each oneof."""
    members = {
        field.name: _json_values(field)
        for field in descriptor.fields
        if field.containing_oneof is None or not field.containing_oneof.fields[1:]
    }
    plain = st.fixed_dictionaries({}, optional=members)
    oneofs = [oneof for oneof in descriptor.oneofs if oneof.fields[1:]]
    if not oneofs:
        return plain
    choices = [
        st.fixed_dictionaries({field.name: _json_values(field)})
        for oneof in oneofs
        for field in oneof.fields
    ]
    return st.builds(lambda a, b: a | b, plain, st.one_of(st.just({}), *choices))


def _json_values(field: FieldDescriptor) -> st.SearchStrategy:
    if field.is_repeated:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            value = field.message_type.fields_by_name["value"]
            return st.dictionaries(_texts(), _json_value(value), max_size=3)
        return st.lists(_json_value(field), max_size=3)
    return st.one_of(st.none(), _json_value(field))


def _json_value(field: FieldDescriptor) -> st.SearchStrategy:
    if field.message_type is not None:
        match field.message_type.full_name:
            case "google.protobuf.Timestamp":
                return st.integers(-62_135_596_800_000, 253_402_300_799_999)
            case "google.protobuf.Duration":
                return st.integers(-315_576_000_000_000, 315_576_000_000_000)
            case "google.protobuf.FieldMask":
                return st.lists(st.from_regex(r"[a-z]+(_[a-z]+)*", fullmatch=True), max_size=3)
            case _:
                return json_objects(field.message_type)
    if field.enum_type is not None:
        return st.sampled_from([value.name for value in field.enum_type.values[1:]]).map(
            lambda name: name.removeprefix(_prefix(field)).lower()
        )
    if field.type == FieldDescriptor.TYPE_STRING:
        return _texts()
    if field.type == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    if field.type == FieldDescriptor.TYPE_DOUBLE:
        finite = st.floats(allow_nan=False, allow_infinity=False)
        return finite | st.integers(-(2**53), 2**53)
    return st.integers(*INTEGERS[field.type])


def _texts() -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def _prefix(field: FieldDescriptor) -> str:
    return field.enum_type.values_by_number[0].name.removesuffix("UNSPECIFIED")


def canonical(descriptor: Descriptor, value: dict) -> dict:
    """An object of the dialect as canonical proto-JSON, which json_format reads."""
    return {
        name: _canonical_field(descriptor.fields_by_name[name], item)
        for name, item in value.items()
        if item is not None
    }


def _canonical_field(field: FieldDescriptor, value: object) -> object:
    if isinstance(value, list) and field.is_repeated:
        return [_canonical_value(field, item) for item in value]
    if field.is_repeated:
        of = field.message_type.fields_by_name["value"]
        return {key: _canonical_value(of, item) for key, item in value.items()}
    return _canonical_value(field, value)


def _canonical_value(field: FieldDescriptor, value: object) -> object:
    if field.enum_type is not None:
        return _prefix(field) + value.upper()
    if field.message_type is None:
        return value
    match field.message_type.full_name:
        case "google.protobuf.Timestamp":
            moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=value)
            return f"{moment.isoformat(timespec='milliseconds')[:-6]}Z"
        case "google.protobuf.Duration":
            sign = "-" if value < 0 else ""
            return f"{sign}{abs(value) // 1000}.{abs(value) % 1000:03d}s"
        case "google.protobuf.FieldMask":
            return ",".join(_camel(path) for path in value)
        case _:
            return canonical(field.message_type, value)


def _camel(path: str) -> str:
    first, *rest = path.split("_")
    return first + "".join(word.capitalize() for word in rest)

"""The only use of protovalidate: turns broken rules of the contract into field violations.

Every request, whatever its transport, passes `check` before a handler sees it. The
compiled rules accept valid messages; protovalidate checks and explains the rest. Its
violations are objects of another protobuf runtime; nothing outside this module sees them.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final, cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from protovalidate import FieldPathElementPb, Validator, Violation

from hub.contract.dialect.names import MAX_VIOLATIONS, is_secret, map_path, shown, too_many_items
from hub.contract.errors import FieldViolation, ValidationFailed
from hub.contract.rpcs import RPCS
from hub.contract.rules.message_checks import MessageChecks
from hub.contract.rules.value_checks import Check
from llmhub.v1.resources_pb2 import ROLE_READER

# No control characters; no line separators and none that change the direction of text, which
# make a terminal or a page show something else than there is.
_TEXT: Final = r"[^\p{Cc}\x{2028}-\x{202E}\x{2066}-\x{2069}]"

_PATTERNS_IN_WORDS: Final = {
    rf"^{_TEXT}*$": "must not contain control characters",
    rf"^{_TEXT}+$": "must not be empty or contain control characters",
    r"^[\x21-\x7e]*$": "must be printable ASCII without spaces",
    r"^(/(\.?[A-Za-z0-9_~-][A-Za-z0-9._~-]*|\.\.[A-Za-z0-9._~-]+))*$": (
        'must be a path such as "/ollama", without a trailing slash or segments of dots'
    ),
    r"^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$": (
        "must consist of letters, digits, '.', '_', '/' and '-', "
        "and begin and end with a letter or a digit"
    ),
}
"""The contract's patterns in words; a test checks that none is missing."""

_NUMERIC_RULES: Final = frozenset(
    {"double", "float", "duration", "timestamp"}
    | {f"{kind}{bits}" for kind in ("int", "uint", "sint", "fixed", "sfixed") for bits in (32, 64)}
)

MAX_FULL_REPORT_BYTES: Final = 8192
"""If a message is longer on the wire, only its first violation is reported.

protovalidate takes about 30 µs for each violation that it reports: 4 MB of empty items
would keep the hub busy for a minute.
"""

_validator: Final = Validator()


def _ask(message: Message) -> bool:
    """Whether protovalidate finds the message valid."""
    return not _validator.collect_violations(message, fail_fast=True)


_MAX_REMEMBERED: Final = 1024
_MAX_REMEMBERED_BYTES: Final = 512
_MANY_FIELDS: Final = 10
# Services repeat the same few requests. Looking one up takes longer than checking a request
# with few fields.
_REPEATED: Final = frozenset(
    rpc.request
    for rpc in RPCS
    if rpc.role == ROLE_READER
    and not rpc.streams
    and len(rpc.request.DESCRIPTOR.fields) >= _MANY_FIELDS
)
_valid: OrderedDict[tuple[type[Message], bytes], None] = OrderedDict()

_checks: Final = MessageChecks(_ask)
_by_class: Final[dict[type[Message], Check]] = {}


def accepts(message: Message) -> bool:
    """Whether the compiled rules find the message valid, without protovalidate.

    False means that only protovalidate can decide.
    """
    check = _by_class.get(type(message))
    if check is None:
        check = _by_class[type(message)] = _checks.of(cast(Descriptor, message.DESCRIPTOR))
    return check(message)


def violations(message: Message) -> list[FieldViolation]:
    """The violations of the rules beside the message's fields; [] if it is valid."""
    found = _collect(message)
    return [_field_violation(message, each) for each in found[:MAX_VIOLATIONS]]


def check(message: Message, decode_violations: Sequence[FieldViolation] = ()) -> None:
    """Raises ValidationFailed if decoding or a rule found a violation.

    A field that could not be decoded is unset or partly filled. So violations found by
    the rules of that field or of fields below it, or by comparing fields, are dropped.
    """
    if not decode_violations:
        if type(message) in _REPEATED and _is_known_valid(message):
            return
        # The common case comes first: every frame is checked here.
        if accepts(message):
            return
    found = _collect(message)
    if not decode_violations and not found:
        return
    if decode_violations:
        found = [each for each in found if each.proto.field is not None]
    by_rules = [_field_violation(message, each) for each in found[:MAX_VIOLATIONS]]
    broken = [violation.field for violation in decode_violations]
    kept = (each for each in by_rules if not _is_at_or_below(each.field, broken))
    raise ValidationFailed([*decode_violations, *kept][:MAX_VIOLATIONS])


def warm() -> None:
    """Compiles the rules of every message that a caller can send or receive.

    Otherwise the first caller that sends a type of message waits milliseconds for it.
    Raises protovalidate.CompilationError if a rule of the contract is invalid.
    """
    for rpc in RPCS:
        for message_class in (rpc.request, rpc.response):
            message = message_class()
            accepts(message)
            _validator.collect_violations(message)


def _collect(message: Message) -> list[Violation]:
    long = message.ByteSize() > MAX_FULL_REPORT_BYTES
    return _validator.collect_violations(message, fail_fast=long)


def _is_known_valid(message: Message) -> bool:
    """Whether a request is valid; a short valid one is remembered.

    False also if the request is too long to be remembered. Equal messages always get the
    same result.
    """
    if message.ByteSize() > _MAX_REMEMBERED_BYTES:
        return False
    request = type(message), message.SerializeToString()
    if request in _valid:
        _valid.move_to_end(request)
        return True
    if not accepts(message):
        return False
    _valid[request] = None
    if len(_valid) > _MAX_REMEMBERED:
        _valid.popitem(last=False)
    return True


def _is_at_or_below(path: str, others: Iterable[str]) -> bool:
    return any(path == other or path.startswith((f"{other}.", f"{other}[")) for other in others)


def _field_violation(message: Message, violation: Violation) -> FieldViolation:
    proto = violation.proto
    kind, detail = _kind_and_detail(violation)
    if proto.field is None:
        # A rule that compares fields has no field of its own. Its message in the contract
        # begins with the field to correct.
        field, separator, text = detail.partition(": ")
        return FieldViolation(field, kind, text) if separator else FieldViolation("", kind, detail)
    path = _path(proto.field.elements)
    if proto.for_key:
        detail = f"key {detail}"
    hidden = kind == "required" or _has_secret(message, proto.field.elements)
    return FieldViolation(path, kind, detail, None if hidden else shown(violation.field_value))


def _kind_and_detail(violation: Violation) -> tuple[str, str]:
    proto = violation.proto
    rules, _, rule = proto.rule_id.partition(".")
    limit = violation.rule_value
    match rules, rule:
        case "required", _:
            return "required", "is required"
        case "string", "max_len":
            return "too_long", f"exceeds maximum length of {limit} characters"
        case ("repeated", "max_items") | ("map", "max_pairs"):
            return "too_many_items", too_many_items(limit)
        case "string", "min_len" if limit == 1:
            return "invalid", "must not be empty"
        case "string", "pattern":
            return "invalid", _PATTERNS_IN_WORDS.get(limit, proto.message)
        case "string", "in":
            return "invalid", f"must be one of: {', '.join(word for word in limit if word)}"
        case "enum", "defined_only":
            return "invalid", "is not a value of this enum"
        case _ if rules in _NUMERIC_RULES:
            return "out_of_range", proto.message
        case _:
            return "invalid", proto.message


def _path(elements: Sequence[FieldPathElementPb]) -> str:
    return ".".join(f"{element.field_name}{_subscript(element)}" for element in elements)


def _subscript(element: FieldPathElementPb) -> str:
    match element.subscript:
        case None:
            return ""
        case subscript if subscript.field == "string_key":
            return map_path(subscript.value)
        case subscript:
            return f"[{subscript.value}]"


def _has_secret(message: Message, elements: Iterable[FieldPathElementPb]) -> bool:
    """Whether the path contains a secret field."""
    level = cast("Descriptor | None", message.DESCRIPTOR)
    for element in elements:
        field = level.fields_by_name.get(element.field_name) if level else None
        if field is None:
            return False
        if is_secret(field):
            return True
        level = field.message_type
        if level is not None and level.GetOptions().map_entry:
            level = level.fields_by_name["value"].message_type
    return False

"""Random frames of the JSON dialect, with protobuf's own JSON parser as the judge.

`python -m tests.support.dialect_fuzz COUNT [FIRST_SEED]` compares that many frames; a seed
where the two differ is printed, and makes the same frame again anywhere.
"""

import sys
from random import Random

import orjson
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from hub.contract.dialect.frames import UnreadReport, parse_frame
from hub.contract.dialect.scalars import Decoded
from hub.contract.errors import InvalidJson, ValidationFailed
from hub.contract.rpcs import FRAMES
from tests.support.dialect import INTEGERS, canonical

_KINDS = [FRAMES[name] for name in sorted(FRAMES)]
_TEXTS = ("", "a", "A-1", "a b", "\n", "\0", "ü", "\U0001f600", '"', "\\", "null", "1e9", "x" * 70)
_NUMBERS = (0.0, -0.0, 1.5, 1e300, -1e-300, 5e-324, 2.0**53, 1 / 3)
# Milliseconds: the first and the last moment, the epoch and its neighbours.
_MOMENTS = (-62_135_596_800_000, 253_402_300_799_999, 0, -1, 1, 1_800_000_000_123)
_DURATIONS = (-315_576_000_000_000, 315_576_000_000_000, 0, -1, 1, 999, -1001)
_PATHS = ("name", "admin_state", "labels", "a_b_c")


class _Maker:
    """Makes valid objects of the dialect."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def members(self, descriptor: Descriptor) -> dict[str, object]:
        random, made, taken = self._random, {}, set()
        for field in descriptor.fields:
            oneof = field.containing_oneof
            is_choice = oneof is not None and len(oneof.fields) > 1
            if random.random() < 0.5 or (is_choice and oneof.name in taken):
                continue
            if is_choice:
                taken.add(oneof.name)
            # A null is as if the member were not there.
            is_null = random.random() < 0.05 and not is_choice
            made[field.name] = None if is_null else self._field(field)
        return made

    def _field(self, field: FieldDescriptor) -> object:
        random = self._random
        if not field.is_repeated:
            return self._value(field)
        count = random.choice((0, 1, 2, 5))
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            value = field.message_type.fields_by_name["value"]
            return {random.choice(_TEXTS): self._value(value) for _ in range(count)}
        return [self._value(field) for _ in range(count)]

    def _value(self, field: FieldDescriptor) -> object:
        random = self._random
        if field.message_type is not None:
            match field.message_type.full_name:
                case "google.protobuf.Timestamp":
                    return random.choice((*_MOMENTS, random.randint(*_MOMENTS[:2])))
                case "google.protobuf.Duration":
                    return random.choice((*_DURATIONS, random.randint(*_DURATIONS[:2])))
                case "google.protobuf.FieldMask":
                    return random.sample(_PATHS, random.randint(0, 3))
                case _:
                    return self.members(field.message_type)
        if field.enum_type is not None:
            values = field.enum_type.values
            prefix = values[0].name.removesuffix("UNSPECIFIED")
            return random.choice(values[1:]).name.removeprefix(prefix).lower()
        if field.type == FieldDescriptor.TYPE_STRING:
            return random.choice(_TEXTS) + chr(random.randint(32, 0xD7FF)) * random.randint(0, 2)
        if field.type == FieldDescriptor.TYPE_BOOL:
            return random.random() < 0.5
        if field.type == FieldDescriptor.TYPE_DOUBLE:
            return random.choice((*_NUMBERS, random.uniform(-1e9, 1e9), random.getrandbits(50)))
        low, high = INTEGERS[field.type]
        return random.choice((low, high, 0, 1, random.randint(low, high)))


def mutated(text: bytes, random: Random) -> bytes:
    """The text with a few bytes changed, removed or inserted."""
    changed = bytearray(text)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(changed) + 1)
        match random.randrange(3):
            case 0:
                del changed[at : at + random.randint(1, 8)]
            case 1:
                changed[at:at] = random.choice((b'"', b"{", b"]", b",", b"\\u", b"1", b"null"))
            case _:
                changed[at : at + 1] = bytes([random.randrange(256)])
    return bytes(changed)


def play(seed: int) -> None:
    """Compares one frame. Raises AssertionError, or what the parser should not raise."""
    random = Random(seed)
    kind = random.choice(_KINDS)
    descriptor = kind.rpc.request.DESCRIPTOR
    value = _Maker(random).members(descriptor)
    text = orjson.dumps({"type": kind.type} | value)
    decoded = parse_frame(text).decode()
    oracle = kind.rpc.request()
    json_format.ParseDict(canonical(descriptor, value), oracle)
    assert not decoded.violations
    assert _read(decoded) == oracle
    damage(mutated(text, random))


def _read(decoded: Decoded[Message] | UnreadReport) -> Message:
    return decoded.read() if isinstance(decoded, UnreadReport) else decoded.message


def damage(text: bytes) -> None:
    """Parses any text: it is a frame or one of two errors, and its violations can be sent."""
    try:
        frame = parse_frame(text)
    except (InvalidJson, ValidationFailed) as error:
        orjson.dumps([error.message, dict(error.metadata)])
        return
    decoded = frame.decode()
    assert isinstance(_read(decoded), frame.kind.rpc.request)
    for found in decoded.violations:
        orjson.dumps([found.field, found.error, found.detail, found.value])


def main(count: int, first: int) -> int:
    """Compares frames; returns the number of differences."""
    wrong = 0
    for seed in range(first, first + count):
        try:
            play(seed)
        except Exception as error:
            wrong += 1
            print(f"seed {seed}: {type(error).__name__}: {error}", flush=True)
            if wrong == 10:
                break
    print(f"{count:,} frames from seed {first}: {wrong} differ")
    return wrong


if __name__ == "__main__":
    sys.exit(bool(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)))

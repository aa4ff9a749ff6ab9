from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from hub.base.timestamps import to_ms, to_timestamp

# The range of a Timestamp: the years 1 to 9999.
MILLISECONDS = st.integers(-62_135_596_800_000, 253_402_300_799_999)


@given(MILLISECONDS)
def test_milliseconds_survive_a_round_trip(milliseconds: int) -> None:
    assert to_ms(to_timestamp(milliseconds)) == milliseconds


@given(MILLISECONDS)
def test_timestamps_agree_with_protobuf(milliseconds: int) -> None:
    timestamp = to_timestamp(milliseconds)
    assert timestamp.ToMilliseconds() == milliseconds
    assert 0 <= timestamp.nanos < 1_000_000_000


def test_a_known_date() -> None:
    moment = datetime(2027, 1, 15, 8, 0, 0, 250_000, UTC)
    assert to_timestamp(1_800_000_000_250).ToDatetime(UTC) == moment


def test_nanoseconds_are_rounded_down() -> None:
    timestamp = to_timestamp(1_999)
    timestamp.nanos += 999_999
    assert to_ms(timestamp) == 1_999

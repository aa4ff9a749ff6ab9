import pytest

from hub.transports.grpc.native import http2_frames as frames
from hub.transports.grpc.native.http2_frames import ErrorCode
from hub.transports.grpc.native.http2_settings import PeerSettings, initial_settings, validated
from hub.transports.grpc.native.limits import Limits
from hub.transports.grpc.native.protocol_errors import ConnectionFault


def payload(values: dict[int, int]) -> bytes:
    return frames.settings(values)[frames.HEAD_BYTES :]


def test_the_servers_settings_announce_its_bounds() -> None:
    sent = initial_settings(Limits(streams=7, stream_window=8, header_list_bytes=9))
    assert frames.read_settings(sent[frames.HEAD_BYTES :]) == [(3, 7), (4, 8), (6, 9)]


def test_a_clients_settings_are_read() -> None:
    assert validated(b"") == PeerSettings((), None, None)
    assert validated(payload({1: 0, 4: 2**31 - 1, 5: 20_000, 99: 1})) == PeerSettings(
        (0, 0), 2**31 - 1, 20_000
    )


def test_every_value_of_a_repeated_setting_is_checked_and_the_last_one_counts() -> None:
    again = payload({1: 64, 4: 1}) + payload({1: 0, 4: 2}) + payload({1: 4_096, 4: 3})
    assert validated(again) == PeerSettings((0, 4_096), 3, None)
    with pytest.raises(ConnectionFault):
        validated(payload({2: 2}) + payload({2: 0}))


def test_frame_sizes_are_capped() -> None:
    assert validated(payload({5: 2**24 - 1})).max_frame == 65_536


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (payload({2: 2}), ErrorCode.PROTOCOL_ERROR),
        (payload({4: 2**31}), ErrorCode.FLOW_CONTROL_ERROR),
        (payload({5: 16_383}), ErrorCode.PROTOCOL_ERROR),
        (payload({5: 2**24}), ErrorCode.PROTOCOL_ERROR),
        (payload({3: 1})[:5], ErrorCode.FRAME_SIZE_ERROR),
    ],
)
def test_invalid_settings_are_faults(sent: bytes, code: ErrorCode) -> None:
    with pytest.raises(ConnectionFault) as caught:
        validated(sent)
    assert caught.value.code == code

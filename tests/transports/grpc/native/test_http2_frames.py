import hyperframe.frame
import pytest

from hub.transports.grpc.native import http2_frames as frames


@pytest.mark.parametrize(
    ("built", "kind"),
    [
        (frames.settings({3: 100, 4: 65_535}), hyperframe.frame.SettingsFrame),
        (frames.SETTINGS_ACK, hyperframe.frame.SettingsFrame),
        (frames.rst_stream(5, 8), hyperframe.frame.RstStreamFrame),
        (frames.window_update(7, 1_000), hyperframe.frame.WindowUpdateFrame),
        (frames.goaway(9, 1, b"why"), hyperframe.frame.GoAwayFrame),
        (frames.ping(b"12345678"), hyperframe.frame.PingFrame),
        (frames.ping(b"12345678", ack=True), hyperframe.frame.PingFrame),
        (
            frames.frame(frames.DATA, frames.END_STREAM, 1, bytes(70_000)),
            hyperframe.frame.DataFrame,
        ),
    ],
)
def test_another_library_decodes_every_frame(built: bytes, kind: type) -> None:
    read, length = hyperframe.frame.Frame.parse_frame_header(memoryview(built[:9]))
    assert isinstance(read, kind)
    assert length == len(built) - 9
    read.parse_body(memoryview(built[9:]))
    assert read.serialize() == built


def test_settings_are_read_in_their_order() -> None:
    payload = frames.settings({4: 1})[9:] + frames.settings({4: 2, 5: 3})[9:]
    assert frames.read_settings(payload) == [(4, 1), (4, 2), (5, 3)]

import pytest

from hub.transports.grpc.native.call_head import CallHead, HttpRefused, call_head
from hub.transports.grpc.native.call_status import CallFailed, StatusCode
from hub.transports.grpc.native.header_list import HeaderList
from hub.transports.grpc.native.request import read_request

GRPC = (b"content-type", b"application/grpc")


def head(*fields: tuple[bytes, bytes], method: bytes = b"POST") -> CallHead:
    pseudo = (
        (b":method", method),
        (b":scheme", b"http"),
        (b":path", b"/s/M"),
        (b":authority", b"h"),
    )
    headers = HeaderList((*pseudo, *fields))
    made = call_head(headers, read_request(headers))
    assert call_head(headers, read_request(headers)) is made
    return made


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [(b"1H", 3600), (b"2M", 120), (b"3S", 3), (b"4m", 0.004), (b"5u", 5e-6), (b"60n", 6e-8)],
)
def test_timeouts_are_parsed(raw: bytes, seconds: float) -> None:
    assert head(GRPC, (b"grpc-timeout", raw)).timeout_s == pytest.approx(seconds)


@pytest.mark.parametrize("raw", [b"1", b"S", b"-1S", b"1x", b"123456789S", b"1.5S"])
def test_malformed_timeouts_are_refused(raw: bytes) -> None:
    with pytest.raises(CallFailed) as caught:
        head(GRPC, (b"grpc-timeout", raw))
    assert caught.value.code == StatusCode.INTERNAL


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (b"application/grpc", 0),
        (b"application/grpc+proto", 0),
        (b"application/grpc;charset=utf-8", 0),
        (b"application/grpc-web", 415),
        (b"application/json", 415),
        (b"", 415),
    ],
)
def test_only_grpc_content_types_are_accepted(value: bytes, status: int) -> None:
    if not status:
        assert head((b"content-type", value)).path == "/s/M"
        return
    with pytest.raises(HttpRefused) as caught:
        head((b"content-type", value))
    assert caught.value.status == status


def test_only_post_is_accepted() -> None:
    with pytest.raises(HttpRefused) as caught:
        head(GRPC, method=b"GET")
    assert caught.value.status == 405


def test_metadata_has_only_the_callers_fields() -> None:
    made = head(
        *(GRPC, (b"te", b"trailers"), (b"k", b"v"), (b"k", b"w")),
        *((b"b-bin", b"/w=="), (b"b-bin", b"/w,AAE"), (b"c-bin", b"!")),
    )
    assert made.metadata[:5] == (
        *(("k", "v"), ("k", "w"), ("b-bin", b"\xff")),
        *(("b-bin", b"\xff"), ("b-bin", b"\0\1")),
    )
    assert made.text_metadata == {"k": "w"}


def test_only_identity_and_gzip_are_supported() -> None:
    made = head(GRPC, (b"grpc-encoding", b"gzip"), (b"grpc-accept-encoding", b"identity, gzip"))
    assert (made.gzip, made.accepts_gzip) == (True, True)
    assert (head(GRPC).gzip, head(GRPC).accepts_gzip) == (False, False)
    with pytest.raises(CallFailed, match="only gzip") as caught:
        head(GRPC, (b"grpc-encoding", b"snappy"))
    assert caught.value.code == StatusCode.UNIMPLEMENTED

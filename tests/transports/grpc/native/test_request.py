import pytest

from hub.transports.grpc.native.dynamic_table import Field
from hub.transports.grpc.native.header_list import HeaderList
from hub.transports.grpc.native.request import Malformed, check_trailers, read_request

GOOD = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a"), (b":authority", b"hub"))


def test_a_head_is_read_once() -> None:
    headers = HeaderList((*GOOD, (b"content-length", b"12"), (b"x", b"y")))
    request = read_request(headers)
    assert (request.method, request.path, request.authority) == (b"POST", b"/a", b"hub")
    assert request.content_length == 12
    assert request.fields == ((b"content-length", b"12"), (b"x", b"y"))
    assert read_request(headers) is request


@pytest.mark.parametrize(
    "fields",
    [
        GOOD[1:],
        (GOOD[0], *GOOD[2:]),
        (*GOOD[:2], GOOD[3]),
        (*GOOD, GOOD[0]),
        (*GOOD, (b":status", b"200")),
        ((b"x", b"y"), *GOOD),
        (*GOOD, (b"Upper", b"y")),
        (*GOOD, (b"", b"y")),
        (*GOOD, (b"x\r", b"y")),
        (*GOOD, (b"x", b"a\r\nb")),
        (*GOOD, (b"x", b" y")),
        (*GOOD, (b"x", b"y\t")),
        (*GOOD, (b"connection", b"close")),
        (*GOOD, (b"te", b"gzip")),
        (*GOOD, (b"content-length", b"-1")),
        (*GOOD, (b"content-length", b"1"), (b"content-length", b"2")),
        (*GOOD[:2], (b":path", b""), GOOD[3]),
        (*GOOD[:2], (b":path", b"/\0"), GOOD[3]),
        (*GOOD[:2], (b":path", b"a"), GOOD[3]),
        (*GOOD[:2], (b":path", b"*"), GOOD[3]),
        (*GOOD[:3], (b":authority", b"me@hub")),
        (*GOOD, (b"host", b"other")),
        ((b":method", b"CONNECT"), *GOOD[1:]),
    ],
)
def test_malformed_request_heads_are_refused(fields: tuple[Field, ...]) -> None:
    with pytest.raises(Malformed):
        read_request(HeaderList(fields))


def test_unusual_request_heads_are_accepted() -> None:
    options = ((b":method", b"OPTIONS"), GOOD[1], (b":path", b"*"))
    assert read_request(HeaderList(options)).path == b"*"
    assert read_request(HeaderList((*GOOD[:3], (b"host", b"hub")))).authority == b""
    assert read_request(HeaderList((*GOOD, (b"host", b"hub")))).authority == b"hub"


def test_connect_has_only_an_authority() -> None:
    assert read_request(HeaderList(((b":method", b"CONNECT"), GOOD[3]))).path == b""


def test_trailers_have_no_pseudo_header_fields() -> None:
    check_trailers(HeaderList(((b"x", b"y"),)))
    for bad in (GOOD[0], (b"Upper", b"y")):
        with pytest.raises(Malformed):
            check_trailers(HeaderList((bad,)))

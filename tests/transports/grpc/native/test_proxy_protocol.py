import pytest

from hub.transports.grpc.native.proxy_protocol import (
    SIGNATURE,
    BadProxyHeader,
    rest_bytes,
    source,
)

V6 = b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01"


@pytest.mark.parametrize(
    ("rest", "address"),
    [
        (b"\x21\x11\x00\x0c" + bytes((192, 0, 2, 7)) + bytes(8), "192.0.2.7"),
        (b"\x21\x21\x00\x24" + V6 + bytes(20), "2001:db8::1"),
        (b"\x21\x11\x00\x10" + bytes((192, 0, 2, 7)) + bytes(12), "192.0.2.7"),
        (b"\x20\x00\x00\x00", None),
    ],
)
def test_a_headers_source_address_is_read(rest: bytes, address: str | None) -> None:
    header = SIGNATURE + rest
    assert rest_bytes(header) == len(header) - 16
    assert source(header) == address


@pytest.mark.parametrize("rest", [b"\x11\x11\x00\x0c", b"\x31\x11\x00\x0c", b"\x21\x11\xff\xff"])
def test_a_malformed_proxy_header_is_refused(rest: bytes) -> None:
    with pytest.raises(BadProxyHeader):
        rest_bytes(SIGNATURE + rest)


@pytest.mark.parametrize(
    "rest",
    [
        b"\x21\x11\x00\x02\x01\x02",
        b"\x21\x31\x00\x0c" + bytes(12),
        b"\x22\x11\x00\x0c" + bytes(12),
    ],
)
def test_a_proxy_header_without_addresses_is_refused(rest: bytes) -> None:
    with pytest.raises(BadProxyHeader):
        source(SIGNATURE + rest)

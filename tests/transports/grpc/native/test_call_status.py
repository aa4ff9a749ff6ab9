from urllib.parse import unquote

import grpc
from hypothesis import given
from hypothesis import strategies as st

from hub.transports.grpc.native.call_status import (
    StatusCode,
    metadata_fields,
    percent_encoded,
    trailer_fields,
)


def test_the_status_codes_match_grpc() -> None:
    assert {code.name: code.value for code in StatusCode} == {
        code.name: code.value[0] for code in grpc.StatusCode
    }


def test_trailers_have_status_and_message() -> None:
    assert trailer_fields(0) == ((b"grpc-status", b"0"),)
    assert trailer_fields(5, "a%b", (("k-bin", b"\xff"), ("k", "v"))) == (
        *((b"grpc-status", b"5"), (b"grpc-message", b"a%25b")),
        *((b"k-bin", b"/w"), (b"k", b"v")),
    )


@given(st.text(max_size=200))
def test_messages_are_percent_encoded(message: str) -> None:
    encoded = percent_encoded(message)
    assert all(0x20 <= one < 0x7F for one in encoded)
    assert unquote(encoded.decode()) == message


def test_long_messages_are_cut_between_characters() -> None:
    encoded = percent_encoded("ü" * 2_000)
    assert unquote(encoded.decode()) == "ü" * 512


def test_metadata_becomes_header_fields() -> None:
    assert metadata_fields(()) == ()

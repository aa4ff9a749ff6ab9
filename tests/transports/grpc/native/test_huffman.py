import pytest
from hpack import HPACKDecodingError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from hypothesis import given
from hypothesis import strategies as st

from hub.transports.grpc.native import huffman

ENCODER = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)


@given(st.binary(max_size=40))
def test_a_coded_text_is_decoded(text: bytes) -> None:
    assert huffman.decoded(ENCODER.encode(text)) == text


@given(st.binary(max_size=12))
def test_any_bytes_mean_what_they_mean_to_a_library(coded: bytes) -> None:
    try:
        expected = decode_huffman(coded)
    except HPACKDecodingError:
        with pytest.raises(HPACKDecodingError):
            huffman.decoded(coded)
        return
    assert huffman.decoded(coded) == expected


def test_the_remembered_steps_are_bounded() -> None:
    for byte in range(256):
        for other in range(256):
            try:
                huffman.decoded(bytes((byte, other)))
            except HPACKDecodingError:
                continue
    assert max(map(len, huffman._ALL)) == huffman._MAX_STEPS_OF_STATE

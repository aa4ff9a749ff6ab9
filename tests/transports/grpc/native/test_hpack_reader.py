import pytest
from hpack import Decoder, Encoder, HPACKError, NeverIndexedHeaderTuple
from hypothesis import given
from hypothesis import strategies as st

from hub.transports.grpc.native.hpack_reader import BadBlock, HpackReader

NAMES = st.sampled_from([b":path", b"content-type", b"authorization", b"x", b"y" * 70, b"z" * 200])
VALUES = st.one_of(st.binary(max_size=12), st.sampled_from([b"POST", b"a" * 130, b"b" * 4_000]))
FIELDS = st.lists(st.tuples(NAMES, VALUES, st.booleans()), max_size=8)


def test_long_indices_and_integers_are_read() -> None:
    encoder, reader = Encoder(), HpackReader()
    fields = [(b"%d" % number, b"") for number in range(90)]
    assert reader.read(encoder.encode(fields)) == fields
    assert reader.read(encoder.encode(fields)) == fields
    assert reader.changes == 90


@pytest.mark.parametrize(
    "block",
    [
        b"\x80",
        b"\xbe",
        b"\xff\x80\x80\x80\x80\x80\x01",
        b"\x40\x01x",
        b"\x40\x05x",
        b"\x00\x01x\x7f",
        b"\x7e\x00",
        b"\x82\x20",
        b"\x3f\xe2\x1f",
        b"\x00\x01x\x81\x00",
    ],
)
def test_what_is_not_hpack_is_refused(block: bytes) -> None:
    with pytest.raises(BadBlock):
        HpackReader().read(block)
    with pytest.raises(HPACKError):
        Decoder().decode(block, raw=True)


@given(st.lists(st.tuples(FIELDS, st.booleans(), st.sampled_from([None, 0, 64, 4_096]))))
def test_what_a_library_encodes_is_read(steps) -> None:
    encoder, reader = Encoder(), HpackReader()
    for fields, huffman, size in steps:
        if size is not None:
            encoder.header_table_size = size
        marked = [
            NeverIndexedHeaderTuple(name, value) if secret else (name, value)
            for name, value, secret in fields
        ]
        block = encoder.encode(marked, huffman=huffman)
        assert reader.read(block) == [(name, value) for name, value, _ in fields]


@given(st.lists(st.binary(max_size=40), max_size=6), FIELDS)
def test_any_bytes_mean_what_they_mean_to_a_library(blocks: list[bytes], first) -> None:
    library, reader = Decoder(), HpackReader()
    blocks.insert(0, Encoder().encode([(name, value) for name, value, _ in first]))
    for block in blocks:
        try:
            expected = [tuple(field) for field in library.decode(block, raw=True)]
        except HPACKError:
            with pytest.raises(BadBlock):
                reader.read(block)
            return
        assert reader.read(block) == expected

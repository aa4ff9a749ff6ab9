import pytest
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from hub.transports.grpc.native.header_blocks import HeaderDecoder, HeaderEncoder
from hub.transports.grpc.native.header_list import HeaderList
from hub.transports.grpc.native.http2_frames import ErrorCode
from hub.transports.grpc.native.protocol_errors import ConnectionFault

FIELDS = ((b":status", b"200"), (b"content-type", b"application/grpc"))
NAMES = st.sampled_from([b"content-type", b"grpc-status", b"grpc-message", b"x", b":status"])
LISTS = st.lists(st.tuples(NAMES, st.sampled_from([b"", b"0", b"a" * 40, b"b" * 900])), max_size=5)


def decoder(**changed: int) -> HeaderDecoder:
    limits = {"max_list_bytes": 65_536, "max_remembered": 4, "max_remembered_bytes": 4_096}
    return HeaderDecoder(**(limits | changed), apart=b"apart")


def decoded(blocks: HeaderDecoder, block: bytes) -> HeaderList:
    headers, apart = blocks.decode(block)
    assert not apart
    return headers


def test_a_block_that_adds_nothing_is_decoded_once() -> None:
    encoder, blocks = Encoder(), decoder()
    first = decoded(blocks, encoder.encode(FIELDS))
    again = encoder.encode(FIELDS)
    second = decoded(blocks, again)
    assert first.fields == second.fields == FIELDS
    assert decoded(blocks, again) is second


def test_a_table_change_clears_the_remembered_blocks() -> None:
    encoder, blocks = Encoder(), decoder()
    decoded(blocks, encoder.encode(FIELDS))
    again = encoder.encode(FIELDS)
    decoded(blocks, again)
    blocks.decode(encoder.encode([(b"x", b"moves every index")]))
    # The same bytes now mean the new entry where they meant the content type.
    assert decoded(blocks, again).fields == ((b":status", b"200"), (b"x", b"moves every index"))


def test_every_change_of_the_table_size_is_applied() -> None:
    encoder, blocks = Encoder(), decoder()
    decoded(blocks, encoder.encode(FIELDS))
    block = b"\x20" + Encoder().encode([(b":status", b"200")])
    decoded(blocks, block)
    with pytest.raises(ConnectionFault):
        decoded(blocks, b"\xbe")


TIMED = (*FIELDS, (b"apart", b"1S"), (b"x", b"1"))


def test_a_field_that_differs_each_time_leaves_the_others_known() -> None:
    encoder, blocks = Encoder(), decoder()
    blocks.decode(encoder.encode(TIMED))
    lists = set()
    for number in range(20):
        fields = [(name, b"%dS" % number if name == b"apart" else v) for name, v in TIMED]
        headers, apart = blocks.decode(encoder.encode(fields))
        assert apart == b"%dS" % number
        assert headers.fields == (*FIELDS, (b"x", b"1"))
        lists.add(id(headers))
    assert len(lists) == 1


@pytest.mark.parametrize(
    "fields",
    [
        (*TIMED, (b"apart", b"2S")),
        (*TIMED, (b":path", b"/")),
        (*FIELDS, (b"apart", b"1 S")),
        (*FIELDS, (b"apart", b"")),
    ],
)
def test_what_is_odd_about_it_is_seen_where_it_stands(fields) -> None:
    assert decoded(decoder(), Encoder().encode(fields)).fields == fields


def test_a_header_list_that_is_too_long_is_a_fault() -> None:
    with pytest.raises(ConnectionFault) as caught:
        decoder(max_list_bytes=100).decode(Encoder().encode([(b"x", b"v" * 100)]))
    assert caught.value.code == ErrorCode.COMPRESSION_ERROR


def test_long_lists_are_not_remembered() -> None:
    encoder, blocks = Encoder(), decoder(max_remembered_bytes=100)
    fields = [(b"x", b"v" * 200)]
    decoded(blocks, encoder.encode(fields))
    block = encoder.encode(fields)
    assert decoded(blocks, block) is not decoded(blocks, block)


def test_repeated_fields_are_encoded_in_a_few_bytes() -> None:
    encoder = HeaderEncoder(max_remembered=4)
    encoder.encode(FIELDS)
    second = encoder.encode(FIELDS)
    assert len(second) == 2
    assert encoder.encode(FIELDS) is second


def test_changing_values_stay_out_of_the_table() -> None:
    encoder = HeaderEncoder(max_remembered=4)
    encoder.encode(FIELDS)
    steady = encoder.encode(FIELDS)
    encoder.encode(((b"grpc-message", b"one of many"),))
    assert encoder.encode(FIELDS) is steady


@given(st.lists(st.tuples(LISTS, st.sampled_from([None, None, 0, 64, 4_096, 9_999])), max_size=12))
def test_another_library_decodes_the_encoded_blocks(steps) -> None:
    encoder, library = HeaderEncoder(max_remembered=2), Decoder()
    for fields, size in steps:
        if size is not None:
            library.max_allowed_table_size = size
            encoder.resize(size)
        block = encoder.encode(tuple(fields))
        assert [tuple(field) for field in library.decode(block, raw=True)] == fields


@given(st.lists(LISTS, max_size=12))
def test_blocks_of_another_library_are_decoded(lists) -> None:
    encoder, blocks = Encoder(), decoder(max_remembered=2)
    for fields in lists:
        assert decoded(blocks, encoder.encode(fields)).fields == tuple(fields)


def _block(prefix: bytes, first: int, *strings: bytes) -> bytes:
    return prefix + bytes([first]) + b"".join(bytes([len(each)]) + each for each in strings)


_STATIC = b"\x83\x86\x84"


def test_a_field_of_an_earlier_request_is_in_no_later_one() -> None:
    decoder = HeaderDecoder(
        max_list_bytes=65_536, max_remembered=16, max_remembered_bytes=4_096, apart=b"grpc-timeout"
    )
    decoder.decode(_block(b"", 0x40, b"grpc-timeout", b"5S"))
    decoder.decode(_block(b"", 0x40, b"x-api-key", b"old"))
    # The timeout is an index; the literal is a field of this request alone.
    decoder.decode(_block(_STATIC + b"\xbf", 0x7E, b"secret"))
    decoder.decode(_block(b"", 0x40, b"grpc-timeout", b"9S"))
    headers, _ = decoder.decode(_block(_STATIC + b"\xc1", 0x7E, b"1H"))
    assert b"secret" not in dict(headers.fields).values()


def test_a_repeated_head_after_the_table_was_emptied_is_an_error_of_the_peer() -> None:
    decoder = HeaderDecoder(
        max_list_bytes=65_536, max_remembered=16, max_remembered_bytes=4_096, apart=b"grpc-timeout"
    )
    decoder.decode(_block(b"", 0x40, b"grpc-timeout", b"5S"))
    decoder.decode(_block(_STATIC, 0x7E, b"6S"))
    decoder.decode(b"\x20" + _STATIC)
    with pytest.raises(ConnectionFault):
        decoder.decode(_block(_STATIC, 0x7E, b"7S"))

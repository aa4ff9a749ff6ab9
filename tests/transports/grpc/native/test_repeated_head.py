from random import Random

import pytest
from hpack import Decoder, Encoder, HPACKError
from hypothesis import given
from hypothesis import strategies as st

from hub.transports.grpc.native.header_blocks import HeaderDecoder
from hub.transports.grpc.native.header_list import HeaderList
from hub.transports.grpc.native.hpack_reader import BadBlock, HpackReader
from hub.transports.grpc.native.protocol_errors import ConnectionFault
from hub.transports.grpc.native.repeated_head import RepeatedHead

NAME = b"grpc-timeout"
CALLS = {
    name: ((b":method", b"POST"), (b":path", path), (b"te", b"trailers"), (b"authorization", b"t"))
    for name, path in (("get", b"/a/Get"), ("select", b"/a/Select"))
}


def timed(call: str, timeout: bytes, position: int = 4) -> list[tuple[bytes, bytes]]:
    fields = [*CALLS[call]]
    fields.insert(position, (NAME, timeout))
    return fields


def decoder() -> HeaderDecoder:
    return HeaderDecoder(
        max_list_bytes=65_536, max_remembered=16, max_remembered_bytes=4_096, apart=NAME
    )


@pytest.mark.parametrize("position", [3, 4])
@pytest.mark.parametrize("huffman", [False, True])
def test_only_the_first_heads_are_read_as_a_whole(
    monkeypatch: pytest.MonkeyPatch, position: int, *, huffman: bool
) -> None:
    encoder, blocks, read = Encoder(), decoder(), []
    whole = HpackReader.read
    monkeypatch.setattr(
        HpackReader, "read", lambda self, block: read.append(block) or whole(self, block)
    )
    lists = set()
    for number in range(60):
        timeout = b"%du" % (59_000_000 + number)
        block = encoder.encode(timed("get", timeout, position), huffman=huffman)
        headers, found = blocks.decode(block)
        assert found == timeout
        assert headers.fields == CALLS["get"]
        lists.add(headers)
    assert len(lists) == 1
    # The name of the literal is new at first; then its index depends on where it stands.
    assert len(read) <= 3


CALL = st.sampled_from([*CALLS])
TIMEOUT = st.one_of(
    st.integers(0, 10**8).map(lambda us: b"%du" % us), st.sampled_from([b"1S", b""])
)
STEP = st.tuples(
    CALL,
    TIMEOUT,
    st.integers(0, 4),
    st.booleans(),
    st.sampled_from([None, None, None, (b"x", b"1"), (b"y", b"z" * 900), (NAME, b"2S")]),
    st.sampled_from([None, None, None, 0, 200, 4_096]),
)


@given(st.lists(STEP, max_size=60))
def test_every_head_means_what_it_means_to_a_library(steps) -> None:
    encoder, library, blocks = Encoder(), Decoder(), decoder()
    for call, timeout, position, huffman, more, size in steps:
        if size is not None:
            encoder.header_table_size = size
        fields = timed(call, timeout, position)
        if more is not None:
            fields.append(more)
        block = encoder.encode(fields, huffman=huffman)
        headers, found = blocks.decode(block)
        expected = [tuple(field) for field in library.decode(block, raw=True)]
        if found:
            assert found == timeout
            expected.remove((NAME, timeout))
        assert [*headers.fields] == expected


@given(st.integers(0, 2**32), st.integers(0, 80))
def test_a_damaged_head_means_what_it_means_to_a_library(seed: int, before: int) -> None:
    random = Random(seed)
    encoder, library, blocks = Encoder(), Decoder(), decoder()
    for number in range(before + 2):
        block = encoder.encode(timed("get", b"%du" % (59_000_000 + number), random.choice((2, 4))))
        library.decode(block, raw=True)
        blocks.decode(block)
    for _ in range(20):
        damaged = bytearray(block)
        for _ in range(random.randint(1, 2)):
            damaged[random.randrange(len(damaged))] = random.randrange(256)
        del damaged[random.randint(1, 40) :]
        try:
            expected = [tuple(field) for field in library.decode(bytes(damaged), raw=True)]
        except HPACKError:
            with pytest.raises(ConnectionFault):
                blocks.decode(bytes(damaged))
            return
        headers, found = blocks.decode(bytes(damaged))
        names = [name for name, _ in headers.fields]
        assert sorted([*headers.fields, *([(NAME, found)] if found else [])]) == sorted(expected)
        assert not (found and NAME in names)


def test_an_index_after_the_literal_that_it_evicts_is_refused() -> None:
    reader = HpackReader()
    encoder = Encoder()
    fields = [(b"a", b"b"), (NAME, b"1S")]
    reader.read(encoder.encode(fields))
    # Index 63 is the first field; a table of 90 bytes has no room for it and two deadlines.
    reader.read(b"\x3f\x3b")
    block = b"\x7e\x022S\xc0"
    head = RepeatedHead(b"", b"\xc0", reader.added, HeaderList(()))
    with pytest.raises(BadBlock):
        reader.read_repeated(head, block, NAME)


@pytest.mark.parametrize(
    "block", [b"", b"\x82", b"\xbe\x7e", b"\xff\x00\x7e\x021S", b"\xbe\x0f\x021S", b"\xbe\x7e\x7f"]
)
def test_a_block_of_another_form_is_none(block: bytes) -> None:
    assert RepeatedHead.of(block, 1, HeaderList(())) is None


def test_a_repeated_head_clears_the_blocks_that_it_makes_mean_something_else() -> None:
    encoder, blocks = Encoder(), decoder()
    for number in range(3):
        blocks.decode(encoder.encode(timed("get", b"%dS" % number)))
    again = encoder.encode(CALLS["get"])
    assert blocks.decode(again)[0].fields == CALLS["get"]
    blocks.decode(encoder.encode(timed("get", b"9S")))
    assert blocks.decode(again)[0].fields != CALLS["get"]

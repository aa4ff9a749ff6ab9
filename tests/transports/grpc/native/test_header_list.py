from hub.transports.grpc.native.header_list import HeaderList


def test_its_size_counts_32_bytes_for_each_field() -> None:
    assert HeaderList(()).size == 0
    assert HeaderList(((b"te", b"trailers"), (b"x", b""))).size == 2 + 8 + 1 + 2 * 32

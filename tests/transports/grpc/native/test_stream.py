from hub.transports.grpc.native.stream import State, Stream


def test_stream_states_have_their_names_from_the_rfc() -> None:
    stream = Stream(1, 65_535, 0.0)
    assert stream.state is State.OPEN
    stream.remote_open = False
    assert stream.state is State.HALF_CLOSED_REMOTE
    stream.closed = True
    assert stream.state is State.CLOSED

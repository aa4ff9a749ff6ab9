import pytest

from hub.transports.grpc.picker.json_model import BadBody
from hub.transports.grpc.picker.request_body import HeldBytes, RequestBody, TooLong


def held() -> HeldBytes:
    return HeldBytes(per_request=100, in_all=150)


def test_the_model_is_replaced_across_chunks_and_room_is_given_back():
    room = held()
    body = RequestBody({}, room)
    for chunk in (b'{"model":"a', b"li", b'as","x":1}'):
        body.hold(chunk)
    assert room.taken == 23
    assert body.model == "alias"
    assert body.take("m") == ([b'{"model":"m"', b"", b',"x":1}'], True)
    assert room.taken == 0


def test_an_equal_model_leaves_the_chunks_alone():
    body = RequestBody({}, held())
    body.hold(b'{"model":"m"}')
    assert body.take("m") == ([b'{"model":"m"}'], False)


def test_there_is_room_per_request_and_in_all():
    room = held()
    first, second = RequestBody({}, room), RequestBody({}, room)
    first.hold(b'{"x":"' + b"x" * 90)
    with pytest.raises(TooLong, match="first 100 bytes"):
        first.hold(b"x" * 10)
    with pytest.raises(TooLong, match="too many bodies"):
        second.hold(b'{"x":"' + b"x" * 60)
    first.drop()
    first.drop()
    second.hold(b'{"x":"' + b"x" * 60)
    assert room.taken == 66


def test_a_form_is_named_by_the_header_or_not_at_all():
    form = {"content-type": "multipart/form-data; boundary=x"}
    named = RequestBody(form | {"x-llm-hub-model": "m"}, held())
    named.hold(b"--x")
    assert (named.model, named.finish()) == ("m", "m")
    unnamed = RequestBody(form, held())
    unnamed.hold(b"--x")
    with pytest.raises(BadBody, match="x-llm-hub-model"):
        unnamed.finish()


def test_an_encoding_is_not_read():
    with pytest.raises(BadBody, match="gzip"):
        RequestBody({"content-encoding": "gzip"}, held())
    RequestBody({"content-encoding": "identity"}, held())

"""`Stop`, `Worker` and streams with threads."""

import grpc
import pytest

from hub.client._sync_runtime import Stop, Worker, open_channel, responses_of
from hub.client.hub_address import Target


def test_a_stop_cancels_all_its_parts() -> None:
    whole, part, later = Stop(), Stop(), Stop()
    whole.add(part)
    whole.cancel()
    assert part.is_set()
    whole.add(later)
    assert later.is_set(), "a part that is added too late is stopped at once"


def test_a_stop_from_another_thread_ends_a_wait() -> None:
    stop, ended = Stop(), []
    worker = Worker(lambda: ended.append(stop.wait(60)), "test")
    stop.cancel()
    worker.join()
    assert ended == [True]


def test_a_stream_on_a_closed_channel_is_not_an_error_after_a_stop() -> None:
    channel = open_channel(Target("127.0.0.1:1", ""))
    call = channel.unary_stream("/x/Y")
    with pytest.raises(grpc.RpcError):
        next(responses_of(lambda: call(b""), Stop()))
    channel.close()
    stop = Stop()
    with pytest.raises(ValueError, match="closed"):
        next(responses_of(lambda: call(b""), stop))
    stop.cancel()
    assert list(responses_of(lambda: call(b""), stop)) == []

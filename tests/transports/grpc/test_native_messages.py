import asyncio

import pytest
from google.rpc import error_details_pb2, status_pb2

from hub.contract.errors import RateLimited, ValidationFailed
from hub.service.metrics.refusals import Refusals
from hub.transports.grpc.native.call_status import Bound
from hub.transports.grpc.native_messages import call_failed, encoded, in_time, missing, refusing
from llmhub.v1.endpoint_pb2 import Endpoint


def test_an_error_carries_its_details() -> None:
    failed = call_failed(RateLimited("read", 1_500))
    ((key, raw),) = failed.metadata
    assert key == "grpc-status-details-bin"
    status = status_pb2.Status.FromString(raw)
    assert (failed.code, failed.message) == (status.code, status.message)
    delay = error_details_pb2.RetryInfo()
    assert any(each.Unpack(delay) for each in status.details)
    assert delay.retry_delay.ToMilliseconds() == 1_500


def test_a_missing_message_is_a_violation() -> None:
    assert missing("is missing").code == 3


async def test_a_message_must_arrive_in_time() -> None:
    message = asyncio.get_running_loop().create_future()
    with pytest.raises(ValidationFailed):
        await in_time(message, 0.01)
    come = asyncio.get_running_loop().create_future()
    come.set_result(b"x")
    assert await in_time(come) == b"x"


def test_encoded_replies_are_passed_through() -> None:
    endpoint = Endpoint(id="a")
    assert encoded(endpoint) == encoded(endpoint.SerializeToString())


def test_a_call_beyond_a_bound_is_counted_and_may_come_back() -> None:
    refusals = Refusals()
    failed = refusing(refusals)(Bound.UNREAD_REPLIES, "10.0.0.1")
    assert (failed.code, failed.message) == (8, "too many replies are not read")
    assert refusals.counts == {("grpc", "unread_replies"): 1}

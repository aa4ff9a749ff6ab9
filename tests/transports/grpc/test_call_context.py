"""Calls whose request does not come, over real sockets."""

import asyncio

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2

from hub.contract import errors, rpcs
from hub.contract.errors import (
    EndpointNotFound,
    FieldViolation,
    HubError,
    NoHealthyEndpoint,
    RateLimited,
    ValidationFailed,
)
from hub.transports.grpc import call_context, health_service
from hub.transports.grpc.call_context import peer, to_status
from llmhub.v1.admin_service_pb2 import GetServerInfoRequest
from llmhub.v1.error_reason_pb2 import ErrorReason
from tests.support.http2 import RawConnection
from tests.support.hub import failure, running_hub
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("grpc_engine")

SNAPSHOT = rpcs.rpc("GetSnapshot").path
PATHS = [
    *(SNAPSHOT, rpcs.rpc("WatchRegistry").path),
    *("/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"),
]
SERVED_S = 60.0


def silent_call(hub, path, token=None):
    """A call that sends its metadata and no message."""
    return hub.channel.stream_stream(path)(metadata=hub.metadata(token), timeout=SERVED_S)


async def end_of(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    return failure(caught.value)


async def has_room(hub):
    """Whether the hub takes a call; it frees a place only after the caller has seen its end."""
    try:
        return await hub.call("GetServerInfo", GetServerInfoRequest())
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return None
        raise


@pytest.mark.parametrize("path", PATHS[:2])
async def test_silent_callers_without_a_token_take_no_room(tmp_path, path):
    async with running_hub(tmp_path, grpc={"max_concurrent_rpcs": 3}) as hub:
        for call in [silent_call(hub, path, "") for _ in range(3)]:
            assert (await end_of(call)).reason == "INVALID_TOKEN"
        await wait_until(lambda: has_room(hub))


@pytest.mark.parametrize("path", PATHS)
async def test_a_late_request_is_refused(tmp_path, monkeypatch, path):
    monkeypatch.setattr(call_context, "MESSAGE_S", 0.2)
    monkeypatch.setattr(health_service, "CHECK_MESSAGE_S", 0.2)
    # Of five, the native engine keeps one for calls that are no streams.
    async with running_hub(tmp_path, grpc={"max_concurrent_rpcs": 5}) as hub:
        for call in [silent_call(hub, path) for _ in range(4)]:
            refused = await end_of(call)
            assert (refused.code.name, refused.reason) == ("INVALID_ARGUMENT", "VALIDATION_FAILED")
            assert refused.violations == [("message", "REQUIRED", "did not come within 0.2 s")]
        monkeypatch.setattr(call_context, "MESSAGE_S", SERVED_S)
        await wait_until(lambda: has_room(hub))


async def test_half_a_request_times_out(tmp_path, monkeypatch):
    monkeypatch.setattr(call_context, "MESSAGE_S", 0.2)
    async with running_hub(tmp_path) as hub:
        connection = await RawConnection.open(hub.grpc_address)
        # A message of 100 bytes, of which one comes.
        stream = await connection.call(SNAPSHOT, b"\0\0\0\0\x64x", hub.admin_token)
        await connection.ended(stream)
        await connection.close()


@pytest.mark.parametrize("path", PATHS)
async def test_a_call_without_a_request_is_refused(hub, path):
    call = silent_call(hub, path)
    await call.done_writing()
    refused = await end_of(call)
    assert refused.violations == [("message", "REQUIRED", "is missing")]


async def test_a_call_cancelled_before_its_request_leaves_nothing_behind(hub):
    before = len(asyncio.all_tasks())
    call = silent_call(hub, SNAPSHOT)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call.read()
    assert await hub.call("GetServerInfo", GetServerInfoRequest())
    await wait_until(lambda: len(asyncio.all_tasks()) <= before)


@pytest.mark.parametrize(
    ("reported", "address"),
    [
        ("ipv4:192.0.2.1:5", "192.0.2.1"),
        ("ipv6:%5B2001:db8::1%5D:5", "2001:db8::1"),
        ("ipv6:[::1]:5", "::1"),
        ("unix:/run/hub", "/run/hub"),
    ],
)
def test_a_peers_address_is_parsed(reported, address):
    class Context:
        def peer(self):
            return reported

    assert peer(Context()) == address


def leaves(kind: type[HubError]) -> list[type[HubError]]:
    below = kind.__subclasses__()
    return [leaf for each in below for leaf in leaves(each)] if below else [kind]


def example(kind: type[HubError]) -> HubError:
    if kind is ValidationFailed:
        return ValidationFailed([FieldViolation("name", "required", "is required")])
    if kind is RateLimited:
        return RateLimited("heavy", 1500)
    return kind("what happened", metadata={"key": "value"})


def details(error: HubError) -> dict:
    found = {}
    for detail in to_status(error).details:
        for kind in (
            error_details_pb2.ErrorInfo,
            error_details_pb2.BadRequest,
            error_details_pb2.RetryInfo,
        ):
            message = kind()
            if detail.Unpack(message):
                found[kind.__name__] = message
    return found


@pytest.mark.parametrize("kind", leaves(HubError), ids=lambda kind: kind.__name__)
def test_every_error_has_a_code_a_reason_and_its_domain(kind):
    error = example(kind)
    status = to_status(error)
    assert status.code == kind.code != code_pb2.OK
    assert status.message == str(error)
    info = details(error)["ErrorInfo"]
    assert info.domain == "llmhub"
    assert info.reason == error.reason_name
    assert ErrorReason.Value(f"ERROR_REASON_{info.reason}") == kind.reason
    assert dict(info.metadata) == error.metadata


def test_every_reason_belongs_to_one_error():
    reasons = [kind.reason for kind in leaves(HubError)]
    assert sorted(reasons) == sorted(number for number in ErrorReason.values() if number)


def test_the_tree_in_the_docstring_is_the_class_tree():
    for kind in leaves(HubError):
        assert kind.__name__ in errors.__doc__
        for base in kind.__mro__[1:-3]:
            assert base.__name__ in errors.__doc__


def test_field_violations_are_in_bad_request():
    violations = [
        FieldViolation("host", "required", "is required"),
        FieldViolation("gpus[1].name", "too_long", "exceeds maximum length", "xyz..."),
    ]
    bad = details(ValidationFailed(violations))["BadRequest"]
    assert [(each.field, each.reason, each.description) for each in bad.field_violations] == [
        ("host", "REQUIRED", "is required"),
        ("gpus[1].name", "TOO_LONG", "exceeds maximum length"),
    ]


def test_a_transient_error_has_a_retry_time():
    error = NoHealthyEndpoint("none is healthy", retry_after_ms=2500)
    assert details(error)["RetryInfo"].retry_delay.ToMilliseconds() == 2500
    assert details(RateLimited("light", 500))["RetryInfo"].retry_delay.ToMilliseconds() == 500


def test_a_permanent_error_has_no_retry_time():
    assert set(details(EndpointNotFound("none"))) == {"ErrorInfo"}

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import grpc
import pytest

from hub.contract import rpcs
from llmhub.v1.admin_service_pb2 import (
    DisconnectSidecarRequest,
    ListSidecarsRequest,
    RevokeTokenRequest,
)
from llmhub.v1.frame_pb2 import (
    HubFrame,
    IdentifyRequest,
    ModelAction,
    PingRequest,
    ReportOllamaRequest,
    ReportResourcesRequest,
    SidecarFrame,
)
from llmhub.v1.resources_pb2 import ROLE_SIDECAR
from tests.support.hub import HubClient, failure, running_hub
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("grpc_engine")

PING = SidecarFrame(ping=PingRequest())


class SidecarStream:
    """A sidecar's Connect stream; every wait has a deadline."""

    def __init__(self, call: grpc.aio.StreamStreamCall) -> None:
        self.call = call

    async def send(self, frame: SidecarFrame | bytes) -> None:
        encoded = frame if isinstance(frame, bytes) else frame.SerializeToString()
        await self.call.write(encoded)

    async def receive(self) -> HubFrame:
        async with asyncio.timeout(10):
            frame = await self.call.read()
        assert isinstance(frame, HubFrame), frame
        return frame

    async def ask(self, frame: SidecarFrame | bytes) -> HubFrame:
        await self.send(frame)
        return await self.receive()

    async def failed(self):
        """Waits until the hub has ended the stream; returns its error."""
        try:
            async with asyncio.timeout(10):
                while await self.call.read() is not grpc.aio.EOF:
                    pass
        except grpc.aio.AioRpcError as error:
            return failure(error)
        raise AssertionError("the hub ended the stream without an error")


@asynccontextmanager
async def stream(hub: HubClient) -> AsyncIterator[SidecarStream]:
    connect = hub.channel.stream_stream(
        rpcs.rpc("Connect").path, response_deserializer=HubFrame.FromString
    )
    call = connect()
    try:
        yield SidecarStream(call)
    finally:
        call.cancel()


@asynccontextmanager
async def sidecar(hub: HubClient, agent_id: str, token: str = "") -> AsyncIterator[SidecarStream]:
    token = token or await hub.token(ROLE_SIDECAR, agent_id)
    async with stream(hub) as connected:
        identify = IdentifyRequest(agent_id=agent_id, token=token)
        answer = await connected.ask(SidecarFrame(identify=identify))
        assert answer.identified.agent_id == agent_id
        yield connected


async def test_a_sidecar_identifies_reports_and_pings(hub):
    async with sidecar(hub, "node-1") as one:
        report = ReportResourcesRequest(cpu_percent=7)
        await one.send(SidecarFrame(resource_report=report))
        # No reply to the report: the next frame's answer is the next frame.
        assert (await one.ask(PING)).pong.timestamp.seconds > 1_700_000_000
        ollama = ReportOllamaRequest(ollama_url="127.0.0.1:9")
        ack = (await one.ask(SidecarFrame(ollama_report=ollama))).ollama_report_ack
        assert (ack.status, ack.endpoint_id) == ("registered", "127.0.0.1:9")
        snapshot = await hub.snapshot()
        assert snapshot.resources["node-1"].cpu_percent == 7
        assert [each.name for each in snapshot.endpoints] == ["node-1-local"]
        (info,) = (await hub.call("ListSidecars", ListSidecarsRequest())).sidecars
        assert (info.agent_id, info.transport, info.frames_received) == ("node-1", "grpc", 4)
        assert info.remote_address == "127.0.0.1"
    await wait_until(lambda: hub.hub.info().sidecar_count == 0)


async def test_a_flood_is_read_slowly_and_can_be_ended_at_any_time(hub):
    async with sidecar(hub, "node-1") as flood:
        presence = hub.handlers_of(rpcs.rpc("DisconnectSidecar"))._presence
        known = presence.get("node-1")

        async def write() -> None:
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                for _ in range(5_000):
                    await flood.send(PING)

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            await wait_until(lambda: known.violations)
            # 120 pings, 1,000 that are refused, and 21 for each of at most ten pauses.
            assert known.frames < 1_350
            await hub.call("DisconnectSidecar", DisconnectSidecarRequest(agent_id="node-1"))
            await wait_until(lambda: presence.get("node-1") is None)


async def test_an_unsolicited_frame_arrives_between_replies(hub):
    async with sidecar(hub, "node-1") as one:
        handlers = hub.handlers_of(rpcs.rpc("DisconnectSidecar"))
        connection = handlers._presence.get("node-1").connection
        for number in range(3):
            connection.send(HubFrame(model_action=ModelAction(action_id=str(number))))
        ids = [(await one.receive()).model_action.action_id for _ in range(3)]
        assert ids == ["0", "1", "2"]
        assert (await one.ask(PING)).pong.timestamp.seconds > 1_700_000_000
        connection.send(HubFrame(model_action=ModelAction(action_id="last")))
        assert (await one.receive()).model_action.action_id == "last"
        await hub.call("DisconnectSidecar", DisconnectSidecarRequest(agent_id="node-1"))
        assert (await one.failed()).reason == "DISCONNECTED"
        # What comes too late has no effect.
        connection.send(HubFrame(model_action=ModelAction(action_id="late")))


async def test_the_stream_ends_when_the_sidecar_ends_it(hub):
    async with sidecar(hub, "node-1") as one:
        await one.call.done_writing()
        assert await one.call.read() is grpc.aio.EOF
        assert await one.call.code() == grpc.StatusCode.OK
    assert hub.hub.info().sidecar_count == 0


async def test_the_stream_survives_errors(hub):
    async with stream(hub) as one:
        assert (await one.ask(PING)).error.error == "not_identified"
        assert (await one.ask(SidecarFrame())).error.error == "validation_failed"
        garbage = (await one.ask(b"\xff\xff")).error
        assert (garbage.error, garbage.message_type) == ("validation_failed", "unknown")
        assert garbage.errors[0].detail == "is not an encoded SidecarFrame"
        wrong = SidecarFrame(identify=IdentifyRequest(agent_id="node-1", token="wrong"))
        assert (await one.ask(wrong)).error.error == "invalid_token"
        token = await hub.token(ROLE_SIDECAR, "node-2")
        other = SidecarFrame(identify=IdentifyRequest(agent_id="node-1", token=token))
        assert (await one.ask(other)).error.error == "token_agent_mismatch"
        right = SidecarFrame(identify=IdentifyRequest(agent_id="node-2", token=token))
        assert (await one.ask(right)).identified.agent_id == "node-2"


async def test_the_token_is_in_the_frame_and_not_in_the_metadata(hub):
    async with stream(hub) as one:
        await one.send(PING)
        assert (await one.receive()).error.error == "not_identified"


async def test_a_connection_that_does_not_identify_is_closed(tmp_path):
    async with running_hub(tmp_path, ws={"identify_timeout_s": 0.5}) as hub, stream(hub) as one:
        await one.ask(PING)
        ended = await one.failed()
        assert (ended.code.name, ended.reason) == ("UNAUTHENTICATED", "NOT_IDENTIFIED")
        assert ended.message == "identify timeout"


@pytest.mark.parametrize("newer", ["grpc", "ws"])
async def test_a_second_connection_replaces_the_first(hub, newer):
    token = await hub.token(ROLE_SIDECAR, "node-1")
    async with sidecar(hub, "node-1", token) as old:
        second = (
            sidecar(hub, "node-1", token) if newer == "grpc" else hub.sidecar("node-1", token=token)
        )
        async with second:
            ended = await old.failed()
            assert (ended.code.name, ended.reason) == ("ABORTED", "CONNECTION_REPLACED")
            (info,) = (await hub.call("ListSidecars", ListSidecarsRequest())).sidecars
            assert info.transport == newer


async def test_too_many_violations_end_the_connection(hub):
    token = await hub.token(ROLE_SIDECAR, "node-1")
    async with sidecar(hub, "node-1", token) as one:
        for _ in range(10):
            await one.send(SidecarFrame())
        for _ in range(10):
            assert (await one.receive()).error.error == "validation_failed"
        ended = await one.failed()
        assert (ended.code.name, ended.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_VIOLATIONS")
        assert ended.message == "too many validation errors"
    async with stream(hub) as again:
        identify = IdentifyRequest(agent_id="node-1", token=token)
        await again.send(SidecarFrame(identify=identify))
        ended = await again.failed()
        assert (ended.code.name, ended.reason) == ("RESOURCE_EXHAUSTED", "COOLDOWN_ACTIVE")
        assert ended.message.startswith("cooldown active: retry in ")


async def test_a_revoked_token_ends_its_stream_at_once(hub):
    created = await hub.created_token(ROLE_SIDECAR, "node-1")
    async with sidecar(hub, "node-1", created.token) as one:
        await hub.call("RevokeToken", RevokeTokenRequest(id=created.token_info.id))
        ended = await one.failed()
        assert (ended.code.name, ended.reason) == ("UNAUTHENTICATED", "INVALID_TOKEN")
        assert ended.message == "token revoked"


async def test_an_admin_can_end_the_connection(hub):
    async with sidecar(hub, "node-1") as one:
        request = DisconnectSidecarRequest(agent_id="node-1", reason="maintenance")
        await hub.call("DisconnectSidecar", request)
        ended = await one.failed()
        assert (ended.code.name, ended.reason) == ("ABORTED", "DISCONNECTED")
        assert ended.message == "maintenance"


async def test_exceeding_a_rate_limit_is_refused(hub):
    async with sidecar(hub, "node-1") as one:
        kinds = [(await one.ask(PING)).WhichOneof("frame") for _ in range(95)]
        assert set(kinds) == {"pong"}
        await one.send(PING)
        frames = [await one.receive() for _ in range(2)]
        if frames[0].WhichOneof("frame") == "pong":
            # The bucket refilled by one meanwhile.
            frames = frames[1:]
        assert frames[0].rate_limit_warning.tier == "light"
        assert frames[0].rate_limit_warning.capacity == 120


async def test_a_stop_closes_as_going_away(tmp_path):
    async with running_hub(tmp_path) as hub, sidecar(hub, "node-1") as one, stream(hub) as new:
        await new.ask(PING)
        stopping = asyncio.create_task(hub.hub.stop())
        for each in (one, new):
            ended = await each.failed()
            assert (ended.code.name, ended.reason) == ("UNAVAILABLE", "SHUTTING_DOWN")
        await stopping

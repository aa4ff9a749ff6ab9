"""The channel to a hub: deadlines, pages and streams, with a real hub in a separate process."""

from collections.abc import Iterator
from contextlib import aclosing
from time import monotonic

import grpc
import pytest

from hub.client import AsyncHub, CallFailed, Retry, async_connection
from llmhub.v1.registry_service_pb2 import GetSnapshotRequest
from tests.support.hub_process import HubProcess, running_hub

UNREACHABLE = "127.0.0.1:1"


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    with running_hub(tmp_path_factory.mktemp("connection") / "data") as running:
        yield running


async def test_a_listing_fetches_one_page_after_another(
    process: HubProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(async_connection, "PAGE_SIZE", 2)
    async with AsyncHub(process.grpc, process.admin_token) as hub:
        for port in range(1, 6):
            await hub.register(f"127.0.0.1:{port}")
        listed = [each.id async for each in hub.list_endpoints()]
        assert listed == [f"127.0.0.1:{port}" for port in range(1, 6)]
        assert hub.address == process.grpc


async def test_retries_end_at_the_deadline_or_after_the_last_attempt() -> None:
    endless = Retry(attempts=10_000, first_s=0.001, longest_s=0.01)
    async with AsyncHub(UNREACHABLE, "t", retry=endless) as hub:
        began = monotonic()
        with pytest.raises(CallFailed) as raised:
            await hub.call("GetSnapshot", GetSnapshotRequest(), 0.3)
        assert raised.value.code in {
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.DEADLINE_EXCEEDED,
        }
        assert monotonic() - began < 10
    async with AsyncHub(UNREACHABLE, "t", retry=Retry(attempts=1), timeout_s=60) as hub:
        with pytest.raises(CallFailed) as raised:
            await hub.snapshot()
        assert (raised.value.code, raised.value.reason) == (grpc.StatusCode.UNAVAILABLE, "")


async def test_a_watch_that_does_not_resume_ends_with_its_connection(process: HubProcess) -> None:
    async with AsyncHub(UNREACHABLE, "t") as hub:
        with pytest.raises(CallFailed):
            await anext(hub.watch(resume=False))
    async with AsyncHub(process.grpc, process.admin_token) as hub:
        with pytest.raises(CallFailed) as raised:
            await anext(hub.watch(resume=False, after_revision=1))
        assert raised.value.reason == "REVISION_COMPACTED"
        async with aclosing(hub.watch(after_revision=1)) as events:
            assert (await anext(events)).revision > 1, "reads the state instead"

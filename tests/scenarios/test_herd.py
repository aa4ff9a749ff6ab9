"""200 concurrent callers over real sockets: leases spread them over the endpoints."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from llmhub.v1.admin_service_pb2 import RegisterEndpointRequest
from llmhub.v1.registry_service_pb2 import ReleaseSelectionRequest, SelectEndpointRequest
from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.hub import running_hub
from tests.support.waiting import wait_until
from tools.fleetsim import FakeOllama, Fleet

pytestmark = pytest.mark.usefixtures("grpc_engine")

MODEL = "llama3.2:3b"


async def test_200_leased_selections_spread_over_8_equal_endpoints(tmp_path: Path) -> None:
    async with Fleet() as fleet, running_hub(tmp_path) as hub:
        for _ in range(8):
            ollama = FakeOllama(MODEL)
            ollama.load(MODEL)
            server = await fleet.add(ollama)
            request = RegisterEndpointRequest(host=server.host, port=server.port)
            await hub.call("RegisterEndpoint", request)
        await wait_until(lambda: hub.hub.info().healthy_count == 8)
        reader = await hub.token(ROLE_READER)
        wanted = SelectEndpointRequest(model=MODEL)
        wanted.lease_ttl.FromSeconds(60)
        answers = await asyncio.gather(
            *(hub.call("SelectEndpoint", wanted, token=reader) for _ in range(200))
        )
        spread = Counter(answer.selections[0].endpoint.id for answer in answers)
        assert len(spread) == 8
        assert all(abs(count - 25) <= 2 for count in spread.values()), spread
        leases = {answer.selections[0].lease_id for answer in answers}
        assert len(leases) == 200
        await asyncio.gather(
            *(
                hub.call("ReleaseSelection", ReleaseSelectionRequest(lease_id=lease_id))
                for lease_id in leases
            )
        )

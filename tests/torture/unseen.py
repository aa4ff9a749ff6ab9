"""Writers of what no answer of a hub contains: API keys and leases."""

import grpc

from llmhub.v1.admin_service_pb2 import CheckEndpointRequest, RegisterEndpointRequest
from llmhub.v1.registry_service_pb2 import ReleaseSelectionRequest, SelectEndpointRequest
from tests.support.hub import HubClient
from tests.torture.outcome import Loss
from tests.torture.writers import Writer
from tools.fleetsim import FakeOllama, FakeServer, Fleet

_MODEL = "m"
_LEASES = 50
_SERVERS = 3


class KeyWriter(Writer):
    """Changes an endpoint's API key; what its server is sent shows which one the hub has."""

    name = "API keys"

    def __init__(self, number: int, servers: list[FakeServer]) -> None:
        super().__init__(number)
        self._servers = servers

    async def write(self, hub: HubClient) -> None:
        server = self.random.choice(self._servers)
        key = f"key-{self.ledger.writes}"
        request = RegisterEndpointRequest(host=server.host, port=server.port, api_key=key)
        await self.ledger.write(server.id, key, hub.call("RegisterEndpoint", request))

    async def found(self, hub: HubClient) -> dict[str, str]:
        found = {}
        for server in self._servers:
            if server.id in self.ledger.acknowledged:
                server.recent.clear()
                await hub.call("CheckEndpoint", CheckEndpointRequest(id=server.id))
                sent = server.recent[-1].headers.get("authorization", "")
                if sent:
                    found[server.id] = sent.removeprefix("Bearer ")
        return found


class LeaseWriter(Writer):
    """Takes leases. They end with the hub, so after a restart it must know none."""

    name = "leases"

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self._taken: list[str] = []

    async def write(self, hub: HubClient) -> None:
        request = SelectEndpointRequest(model=_MODEL)
        request.lease_ttl.FromSeconds(600)
        answer = await hub.call("SelectEndpoint", request)
        self._taken.append(answer.selections[0].lease_id)
        self.ledger.writes += 1

    async def settle(self, hub: HubClient) -> Loss:
        """A lease that can still be released has come back."""
        loss = Loss()
        for lease in self._taken[-_LEASES:]:
            try:
                await hub.call("ReleaseSelection", ReleaseSelectionRequest(lease_id=lease))
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
            else:
                loss.resurrected += 1
                loss.examples.append(f"lease {lease} is back")
        self._taken.clear()
        return loss

    async def found(self, hub: HubClient) -> dict[str, str]:
        return {}


async def unseen_writers(fleet: Fleet, hub: HubClient, each: int) -> list[Writer]:
    """`each` writers of both kinds, with the servers that they need."""
    made: list[Writer] = []
    for number in range(each):
        servers = [await fleet.add(FakeOllama(_MODEL)) for _ in range(_SERVERS)]
        for server in servers:
            request = RegisterEndpointRequest(host=server.host, port=server.port)
            await hub.call("RegisterEndpoint", request)
            await hub.call("CheckEndpoint", CheckEndpointRequest(id=server.id))
        made += [KeyWriter(number, servers), LeaseWriter(number)]
    return made

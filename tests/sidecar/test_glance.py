import pytest

from hub.sidecar import glance as glance_module
from hub.sidecar.glance import glance
from hub.sidecar.local_http import AskError
from hub.sidecar.local_server import LocalServer
from tools.fleetsim import Behaviour, FakeOpenAi, FakeVllm, Fleet


async def test_it_asks_the_cheapest_route_that_the_kind_of_server_has() -> None:
    async with Fleet() as fleet:
        server = await fleet.add(FakeVllm())
        assert await glance(LocalServer(f"http://{server.id}", "vllm")) == 200
        assert await glance(LocalServer(f"http://{server.id}", "ollama")) in (200, 404)
        assert await glance(LocalServer(f"http://{server.id}")) == 200
        assert server.paths == ["/health", "/", "/v1/models"]


@pytest.mark.parametrize("behaviour", [Behaviour.REFUSED, Behaviour.HANGING])
async def test_down_or_hanging_server_is_an_error(
    behaviour: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glance_module, "TIMEOUT_S", 0.2)
    async with Fleet() as fleet:
        server = await fleet.add(FakeOpenAi(), behaviour)
        with pytest.raises(AskError):
            await glance(LocalServer(f"http://{server.id}"))

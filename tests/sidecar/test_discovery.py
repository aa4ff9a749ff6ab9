import pytest

from hub.sidecar import discovery as discovery_module
from hub.sidecar.discovery import FORGET_MS, Discovery, glance_at_server
from hub.sidecar.local_http import AskError
from hub.sidecar.local_server import LocalServer
from tools.fleetsim import Behaviour, FakeOllama, FakeOpenAi, FakeVllm, Fleet

T0 = 1_800_000_000_000


async def test_discovery_finds_only_servers_that_answer_on_the_usual_ports() -> None:
    async with Fleet() as fleet:
        ollama = await fleet.add(FakeOllama("a:1"))
        page = await fleet.add(FakeOpenAi(), Behaviour.HTML)
        closed = await fleet.add(FakeOpenAi(), Behaviour.REFUSED)
        discovery = Discovery((), (ollama.port, page.port, closed.port))
        await discovery.look(T0)
    assert [each.url for each in discovery.servers] == [f"http://127.0.0.1:{ollama.port}"]


async def test_a_named_server_is_reported_even_while_it_is_down() -> None:
    async with Fleet() as fleet:
        closed = await fleet.add(FakeOpenAi(), Behaviour.REFUSED)
        url = f"http://{closed.id}"
        discovery = Discovery((url, url), (closed.port,))
        await discovery.look(T0)
    [server] = discovery.servers
    assert (server.url, server.reachable) == (url, False)


async def test_a_server_that_disappeared_is_reported_and_later_forgotten() -> None:
    answers = [
        LocalServer("http://127.0.0.1:1"),
        *[LocalServer("http://127.0.0.1:1", error="gone")] * 3,
    ]

    async def ask(_url: str) -> LocalServer:
        return answers.pop(0)

    discovery = Discovery((), (1,), ask)
    await discovery.look(T0)
    await discovery.look(T0 + FORGET_MS)
    assert [each.reachable for each in discovery.servers] == [False]
    await discovery.look(T0 + FORGET_MS + 1)
    assert discovery.servers == ()


URL = "http://127.0.0.1:1"
UP = LocalServer(URL, "ollama", "0.12")


class Server:
    """A server to probe and to glance at; `status` is None while it is down."""

    def __init__(self) -> None:
        self.status: int | None = 200
        self.asked = 0

    async def ask(self, _url: str) -> LocalServer:
        self.asked += 1
        return UP if self.status == 200 else LocalServer(URL, error="no answer")

    async def glance(self, _server: LocalServer) -> int:
        if self.status is None:
            raise AskError("Connection refused")
        return self.status


async def test_a_glance_probes_only_servers_that_have_changed() -> None:
    server = Server()
    discovery = Discovery((URL,), (), server.ask, server.glance)
    await discovery.look(T0)
    first = discovery.servers
    await discovery.glance()
    await discovery.glance()
    assert discovery.servers is first
    assert server.asked == 1
    server.status = None
    await discovery.glance()
    gone = discovery.servers
    assert gone == (LocalServer(URL, error="Connection refused"),)
    await discovery.glance()
    assert discovery.servers is gone
    assert server.asked == 1, "a server that does not answer is not probed twice"
    server.status = 200
    await discovery.glance()
    assert discovery.servers == (UP,)
    assert server.asked == 2


async def test_a_server_that_answers_differently_is_probed_again() -> None:
    server = Server()
    discovery = Discovery((URL,), (), server.ask, server.glance)
    await discovery.look(T0)
    await discovery.glance()
    server.status = 503
    await discovery.glance()
    assert discovery.servers == (LocalServer(URL, error="no answer"),)
    await discovery.glance()
    assert server.asked == 2
    server.status = 200
    await discovery.glance()
    assert discovery.servers == (UP,)


async def test_a_glance_notices_the_return_of_a_server_that_was_down() -> None:
    server = Server()
    discovery = Discovery((URL,), (), server.ask, server.glance)
    await discovery.look(T0)
    await discovery.glance()
    await discovery.glance()
    server.status = None
    await discovery.look(T0 + 15_000)
    assert discovery.servers == (LocalServer(URL, error="no answer"),)
    server.status = 200
    await discovery.glance()
    assert discovery.servers == (UP,)


async def test_a_glance_uses_the_cheapest_route_of_the_kind_of_server() -> None:
    async with Fleet() as fleet:
        server = await fleet.add(FakeVllm())
        assert await glance_at_server(LocalServer(f"http://{server.id}", "vllm")) == 200
        assert await glance_at_server(LocalServer(f"http://{server.id}", "ollama")) in (200, 404)
        assert await glance_at_server(LocalServer(f"http://{server.id}")) == 200
        assert server.paths == ["/health", "/", "/v1/models"]


@pytest.mark.parametrize("behaviour", [Behaviour.REFUSED, Behaviour.HANGING])
async def test_a_server_that_is_down_or_hangs_is_an_error(
    behaviour: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery_module, "_GLANCE_TIMEOUT_S", 0.2)
    async with Fleet() as fleet:
        server = await fleet.add(FakeOpenAi(), behaviour)
        with pytest.raises(AskError):
            await glance_at_server(LocalServer(f"http://{server.id}"))

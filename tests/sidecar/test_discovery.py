from hub.sidecar.discovery import FORGET_MS, Discovery
from hub.sidecar.local_server import LocalServer
from tools.fleetsim import Behaviour, FakeOllama, FakeOpenAi, Fleet

T0 = 1_800_000_000_000


async def test_it_finds_what_answers_on_the_usual_ports_and_only_that() -> None:
    async with Fleet() as fleet:
        ollama = await fleet.add(FakeOllama("a:1"))
        page = await fleet.add(FakeOpenAi(), Behaviour.HTML)
        closed = await fleet.add(FakeOpenAi(), Behaviour.REFUSED)
        discovery = Discovery((), (ollama.port, page.port, closed.port))
        await discovery.look(T0)
    assert [each.url for each in discovery.servers] == [f"http://127.0.0.1:{ollama.port}"]


async def test_one_that_was_named_is_reported_even_while_it_is_down() -> None:
    async with Fleet() as fleet:
        closed = await fleet.add(FakeOpenAi(), Behaviour.REFUSED)
        url = f"http://{closed.id}"
        discovery = Discovery((url, url), (closed.port,))
        await discovery.look(T0)
    [server] = discovery.servers
    assert (server.url, server.reachable) == (url, False)


async def test_one_that_goes_is_reported_as_gone_and_then_forgotten() -> None:
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

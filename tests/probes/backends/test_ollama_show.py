import asyncio

import pytest

from hub.base.settings import ProbeSettings
from hub.probes.backends.ollama_show import MODELS_PER_PROBE, learned, parse_show
from hub.probes.model_facts import ModelFacts
from hub.registry.observation import Observation
from llmhub.v1.endpoint_pb2 import MODEL_STATE_AVAILABLE, MODEL_STATE_LOADED, Model
from tests.support.observing import running_engine, target_of
from tools.fleetsim import FakeOllama, FakeServer, Fleet, Reply, Request
from tools.fleetsim.ollama import OllamaModel

RARELY = ProbeSettings(interval_s=600.0)


def capabilities(seen: Observation) -> dict[str, list[str] | None]:
    """The capabilities by model; None if they are unknown."""
    return {
        model.name: list(model.capabilities) if model.capabilities_known else None
        for model in seen.models or ()
    }


async def see(server: FakeServer) -> Observation:
    async with running_engine(RARELY) as (engine, _):
        engine.watch(target_of(server))
        return await engine.check(server.id, 10)


async def test_the_first_probe_finds_capabilities_trained_context_and_family(fleet: Fleet):
    fake = FakeOllama("chat:8b", "nomic-embed-text")
    fake.pull(OllamaModel("seer", capabilities=["completion", "vision", "thinking"]))
    fake.load("chat:8b", context_length=4096)
    seen = await see(await fleet.add(fake))
    assert capabilities(seen) == {
        "chat:8b": ["completion", "tools"],
        "nomic-embed-text": ["embedding"],
        "seer": ["completion", "vision", "thinking"],
    }
    contexts = {model.name: model.context_length for model in seen.models or ()}
    assert contexts == {"chat:8b": 4096, "nomic-embed-text": 131_072, "seer": 131_072}


async def test_a_digest_is_looked_up_once(fleet: Fleet):
    fake = FakeOllama("a")
    server = await fleet.add(fake)
    async with running_engine() as (engine, _):
        engine.watch(target_of(server))
        for _ in range(3):
            fake.load("a")
            await engine.check(server.id, 10)
            fake.unload("a")
            seen = await engine.check(server.id, 10)
        assert capabilities(seen) == {"a": ["completion", "tools"]}
        assert fake.shown == {"a": 1}
        # A server that comes back gets all requests again except this one.
        fleet.cut(server)
        await engine.check(server.id, 10)
    assert fake.shown == {"a": 1}


async def test_many_models_are_looked_up_a_few_per_probe_and_soon(fleet: Fleet):
    names = [f"m{number:02}" for number in range(2 * MODELS_PER_PROBE + 3)]
    fake = FakeOllama(*names)
    fake.load(names[-1])
    server = await fleet.add(fake)
    async with running_engine(RARELY) as (engine, notebook):
        engine.watch(target_of(server))
        first = await notebook.next_of(server.id)
        known = [name for name, words in capabilities(first).items() if words is not None]
        assert len(known) == MODELS_PER_PROBE
        assert names[-1] in known, "models in memory come first"
        await notebook.until(
            lambda: None not in capabilities(notebook.of(server.id)[-1]).values(), timeout_s=20
        )
        assert len(notebook.of(server.id)) == 3
    assert set(fake.shown.values()) == {1}


async def test_a_cloud_model_is_not_looked_up(fleet: Fleet):
    fake = FakeOllama()
    fake.pull(OllamaModel("gpt-oss:120b-cloud", remote_host="https://ollama.com:443"))
    seen = await see(await fleet.add(fake))
    assert capabilities(seen) == {"gpt-oss:120b-cloud": None}
    assert not fake.shown


async def test_facts_from_the_list_are_not_looked_up(fleet: Fleet):
    fake = FakeOllama("a", has_rich_tags=True)
    assert capabilities(await see(await fleet.add(fake))) == {"a": ["completion", "tools"]}
    assert not fake.shown


async def test_an_old_version_shows_the_context_but_not_the_capabilities(fleet: Fleet):
    fake = FakeOllama("a", is_old=True)
    seen = await see(await fleet.add(fake))
    assert capabilities(seen) == {"a": None}
    assert [model.context_length for model in seen.models or ()] == [131_072]


class BadShow:
    """An Ollama with a different answer to /api/show."""

    def __init__(self, reply: Reply) -> None:
        self.ollama = FakeOllama("a")
        self.reply = reply
        self.asked = 0

    def answer(self, request: Request) -> Reply:
        if request.path != "/api/show":
            return self.ollama.answer(request)
        self.asked += 1
        return self.reply


@pytest.mark.parametrize(
    "reply",
    [Reply(500, b"oops"), Reply(404), Reply(200, b"[]"), Reply(200, b"{"), Reply(401, b"{}")],
)
async def test_a_failed_lookup_does_no_harm_and_is_rarely_repeated(fleet: Fleet, reply: Reply):
    fake = BadShow(reply)
    server = await fleet.add(fake)
    async with running_engine(RARELY) as (engine, _):
        engine.watch(target_of(server))
        for _ in range(11):
            seen = await engine.check(server.id, 10)
            assert (seen.error, capabilities(seen)) == ("", {"a": None})
    assert fake.asked == 2


async def test_a_hanging_lookup_does_not_count_as_a_hanging_server():
    fake = FakeOllama("a")
    listener = await asyncio.start_server(hang_on_show(fake), "127.0.0.1", 0)
    async with listener, running_engine(RARELY) as (engine, _):
        port = listener.sockets[0].getsockname()[1]
        there = FakeServer("127.0.0.1", port, fake)
        engine.watch(target_of(there))
        seen = await engine.check(there.id, 10)
    assert (seen.error, capabilities(seen)) == ("", {"a": None})


def hang_on_show(fake: FakeOllama):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            method, path, _ = head.decode().split(" ", 2)
            if path == "/api/show":
                await reader.read()
                break
            body = fake.answer(Request(method, path, {}, {})).body
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    return serve


async def test_a_false_digest_affects_only_its_own_endpoint(fleet: Fleet):
    honest, liar = FakeOllama("a"), FakeOllama("a")
    liar.on_disk["a"].capabilities = ["completion", "vision", "telepathy"]
    servers = [await fleet.add(honest), await fleet.add(liar)]
    async with running_engine() as (engine, _):
        for server in servers:
            engine.watch(target_of(server))
        seen = [await engine.check(server.id, 10) for server in servers]
    assert seen[0].models[0].digest == seen[1].models[0].digest
    assert capabilities(seen[0]) == {"a": ["completion", "tools"]}
    assert capabilities(seen[1]) == {"a": ["completion", "vision", "telepathy"]}


async def test_facts_kept_across_a_restart_are_not_looked_up_again(fleet: Fleet):
    fake = FakeOllama("a")
    server = await fleet.add(fake)
    async with running_engine() as (engine, _):
        engine.watch(target_of(server))
        await engine.check(server.id, 10)
        kept = engine.facts.export(server.id)
    async with running_engine() as (engine, _):
        assert engine.facts.restore(kept) == 1
        engine.watch(target_of(server))
        seen = await engine.check(server.id, 10)
    assert capabilities(seen) == {"a": ["completion", "tools"]}
    assert fake.shown == {"a": 1}


async def test_a_removed_endpoint_is_forgotten(fleet: Fleet):
    server = await fleet.add(FakeOllama("a"))
    async with running_engine() as (engine, _):
        engine.watch(target_of(server))
        await engine.check(server.id, 10)
        assert len(engine.facts) == 1
        engine.unwatch(server.id)
        assert len(engine.facts) == 0


def test_the_trained_context_is_under_the_architectures_key():
    facts = parse_show(
        {
            "model_info": {"general.architecture": "qwen3", "qwen3.context_length": 40960},
            "capabilities": [],
        }
    )
    assert facts == ModelFacts(capabilities=(), context_length=40960, family="qwen3")


@pytest.mark.parametrize("value", [None, [], {}, {"error": "model 'x' not found"}, "x"])
def test_another_answer_gives_no_facts(value):
    assert parse_show(value) is None


def test_the_actual_context_takes_precedence():
    loaded = Model(name="a", state=MODEL_STATE_LOADED, context_length=4096)
    learned(loaded, ModelFacts(("tools",), 131_072, "llama"))
    assert (loaded.context_length, loaded.family) == (4096, "llama")
    on_disk = Model(name="a", state=MODEL_STATE_AVAILABLE)
    learned(on_disk, ModelFacts(None, 131_072))
    assert on_disk.context_length == 131_072
    assert not on_disk.HasField("capabilities_known")

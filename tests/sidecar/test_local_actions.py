"""Actions on fake servers, which the sidecar's own discovery finds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from hub.sidecar.discovery import Discovery
from hub.sidecar.local_action import LocalAction
from hub.sidecar.local_actions import LocalActions
from hub.sidecar.local_server import LocalServer
from tools.fleetsim import (
    Behaviour,
    FakeLlamaRouter,
    FakeLlamaSwap,
    FakeLmStudio,
    FakeOllama,
    FakeServer,
    FakeVllm,
    Fleet,
    Persona,
)

VLLM = "meta-llama/Llama-3.1-8B-Instruct"


@asynccontextmanager
async def found(
    persona: Persona, **settings: object
) -> AsyncIterator[tuple[Discovery, FakeServer]]:
    async with Fleet() as fleet:
        server = await fleet.add(persona, **settings)
        discovery = Discovery((f"http://{server.id}",), ())
        await discovery.look(0)
        yield discovery, server


async def act(
    discovery: Discovery,
    model: str,
    *,
    is_load: bool = True,
    keep_alive_s: int | None = None,
    timeout_s: float = 10.0,
    url: str | None = "",
) -> tuple[str, str]:
    url = discovery.servers[0].url if url == "" else url
    action = LocalAction("a1", is_load, "h:1", url, model, keep_alive_s, timeout_s)
    frame = await LocalActions(discovery).run(action)
    assert (frame["type"], frame["action_id"]) == ("model_action_result", "a1")
    return str(frame["outcome"]), str(frame.get("detail", ""))


async def test_ollama_loads_with_a_keep_alive_and_unloads() -> None:
    ollama = FakeOllama("llama3.1:8b")
    async with found(ollama) as (discovery, server):
        assert await act(discovery, "llama3.1:8b", keep_alive_s=600) == ("done", "")
        assert "llama3.1:8b" in ollama.loaded
        [asked] = [each for each in server.recent if each.path == "/api/generate"]
        assert b'"keep_alive": 600' in asked.body
        assert b"prompt" not in asked.body
        assert await act(discovery, "llama3.1:8b", is_load=False) == ("done", "")
        assert ollama.loaded == {}


async def test_a_model_that_only_embeds_is_loaded_by_its_own_route() -> None:
    ollama = FakeOllama("nomic-embed-text:latest")
    async with found(ollama) as (discovery, _):
        assert await act(discovery, "nomic-embed-text:latest") == ("done", "")
        assert list(ollama.loaded) == ["nomic-embed-text:latest"]


async def test_a_load_is_done_only_when_the_router_shows_the_model() -> None:
    router = FakeLlamaRouter()
    async with found(router) as (discovery, _):
        assert await act(discovery, "big") == ("done", "")
        assert router.status["big"] == "loaded"
        assert await act(discovery, "big", is_load=False) == ("done", "")
        assert router.status["big"] == "unloaded"


async def test_a_load_that_the_server_gives_up_fails() -> None:
    async with found(FakeLlamaRouter(fails_to_load=frozenset({"big"}))) as (discovery, _):
        outcome, detail = await act(discovery, "big")
    assert (outcome, "gave up" in detail) == ("failed", True)


async def test_the_outcome_of_a_load_that_takes_too_long_is_unknown() -> None:
    async with found(FakeLlamaRouter(lists_while_loading=10_000)) as (discovery, _):
        outcome, detail = await act(discovery, "big", timeout_s=0.2)
    assert (outcome, "may still" in detail) == ("unknown", True)


async def test_vllm_sleeps_and_wakes_up_if_it_can() -> None:
    vllm = FakeVllm(dev=True, sleeping=True)
    async with found(vllm) as (discovery, _):
        assert await act(discovery, VLLM) == ("done", "")
        assert not vllm.sleeping
        assert await act(discovery, VLLM, is_load=False) == ("done", "")
        assert vllm.sleeping
    async with found(FakeVllm()) as (discovery, _):
        outcome, detail = await act(discovery, VLLM)
    assert (outcome, "404 to /wake_up" in detail) == ("unsupported", True)


async def test_llama_swap_starts_and_stops_a_models_server() -> None:
    swap = FakeLlamaSwap()
    async with found(swap) as (discovery, _):
        assert await act(discovery, "big") == ("done", "")
        assert swap.state["big"] == "ready"
        assert await act(discovery, "big", is_load=False) == ("done", "")
        assert swap.state["big"] == "stopped"


async def test_a_server_without_such_an_api_gets_no_request() -> None:
    async with found(FakeLmStudio()) as (discovery, server):
        asked = server.requests
        outcome, detail = await act(discovery, "any")
        assert server.requests == asked
    assert (outcome, "lm_studio has no way to load" in detail) == ("unsupported", True)


async def test_the_servers_error_text_is_passed_on() -> None:
    async with found(FakeOllama("a:1")) as (discovery, _):
        outcome, detail = await act(discovery, "other:1")
    assert (outcome, "404 to /api/generate: model 'other:1' not found" in detail) == (
        "failed",
        True,
    )


async def test_only_servers_that_this_sidecar_reports_get_actions() -> None:
    async with found(FakeOllama("a:1")) as (discovery, server):
        asked = server.requests
        assert (await act(discovery, "a:1", url=None))[0] == "refused"
        assert (await act(discovery, "a:1", url="http://127.0.0.1:1"))[0] == "refused"
        assert server.requests == asked


async def test_an_address_that_is_not_loopback_is_refused() -> None:
    async def ask(url: str) -> LocalServer:
        raise AssertionError(url)

    discovery = Discovery((), (), ask)
    discovery.servers = (LocalServer("http://192.0.2.1:11434", "ollama"),)
    outcome, detail = await act(discovery, "a:1")
    assert (outcome, "not a loopback address" in detail) == ("refused", True)


@pytest.mark.parametrize(
    ("behaviour", "outcome"), [(Behaviour.HALF_OPEN, "unknown"), (Behaviour.HANGING, "unknown")]
)
async def test_a_broken_connection_leaves_the_outcome_unknown(
    behaviour: Behaviour, outcome: str
) -> None:
    async with found(FakeOllama("a:1")) as (discovery, server):
        server.behaviour = behaviour
        assert (await act(discovery, "a:1", timeout_s=0.3))[0] == outcome


async def test_an_action_on_an_unreachable_server_fails() -> None:
    async with Fleet() as fleet:
        server = await fleet.add(FakeOllama("a:1"))
        discovery = Discovery((f"http://{server.id}",), ())
        await discovery.look(0)
        await fleet.stop(server)
        outcome, detail = await act(discovery, "a:1")
    assert (outcome, "refused" in detail) == ("failed", True)


async def test_one_server_carries_out_one_action_at_a_time() -> None:
    async with found(FakeLlamaRouter(lists_while_loading=2)) as (discovery, _):
        actions, url = LocalActions(discovery), discovery.servers[0].url
        first = asyncio.create_task(
            actions.run(LocalAction("a1", True, "h:1", url, "big", None, 10.0))
        )
        await asyncio.sleep(0)
        second = await actions.run(LocalAction("a2", True, "h:1", url, "big", None, 10.0))
        assert second["outcome"] == "refused"
        assert (await first)["outcome"] == "done"

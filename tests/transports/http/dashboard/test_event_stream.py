import asyncio

import pytest

from hub.server import hub_server
from hub.transports.http.dashboard import event_stream
from llmhub.v1.admin_service_pb2 import RevokeTokenRequest
from llmhub.v1.resources_pb2 import ROLE_READER, ROLE_SIDECAR
from tests.support.browser_calls import STREAM, Browser, SseReader
from tests.support.hub import REGISTRY_PATH, running_hub
from tests.support.waiting import wait_until
from tools.fleetsim import FakeOllama, Fleet


@pytest.fixture
async def browser(hub) -> Browser:
    signed_in = Browser(hub)
    await signed_in.sign_in()
    return signed_in


async def test_the_stream_sends_hello_state_and_changes(hub, browser):
    await hub.http("POST", REGISTRY_PATH, body={"host": "127.0.0.1", "port": 9, "name": "old"})
    async with browser.stream() as events:
        assert events.response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert events.response.headers["Cache-Control"] == "no-store"
        _, kind, hello = await events.next()
        assert (kind, hello["role"]) == ("hello", "admin")
        assert {"build", "version", "started_at", "now"} <= set(hello)
        _, kind, state = await events.next()
        assert kind == "state"
        assert [each["name"] for each in state["endpoints"]] == ["old"]
        assert state["endpoints"][0] == (await hub.http("GET", f"{REGISTRY_PATH}/127.0.0.1:9")).json

        await hub.http("POST", REGISTRY_PATH, body={"host": "h", "name": "new"})
        while True:
            _, update = await events.until("update", "put")
            if any(each["name"] == "new" for each in update["put"]):
                break
        assert "h:11434" in [transition[1] for transition in update["history"]]
        await hub.http("DELETE", f"{REGISTRY_PATH}/h:11434")
        _, update = await events.until("update", "deleted")
        assert update["deleted"] == ["h:11434"]


async def test_the_stream_sends_probe_results_and_sidecar_reports(hub, browser):
    async with Fleet() as fleet:
        ollama = FakeOllama("llama3.1:8b", "phi4:14b")
        ollama.load("llama3.1:8b")
        server = await fleet.add(ollama)
        async with browser.stream() as events:
            async with hub.sidecar("node-1", ollama_url=f"http://{server.id}") as socket:
                _, update = await events.until("update", "sidecars")
                assert isinstance(update["sidecars"]["node-1"], int)
                await socket.send({"type": "resource_report", "cpu_percent": 42})
                _, update = await events.until("update", "resources")
                assert update["resources"]["node-1"]["cpu_percent"] == 42
            while update.get("sidecars") != {"node-1": None}:
                _, update = await events.until("update", "sidecars")
        async with browser.stream() as events:
            _, state = await events.until("state", "endpoints")
            (endpoint,) = state["endpoints"]
            loaded = {model["name"]: model["state"] for model in endpoint["models"]}
            assert loaded == {"llama3.1:8b": "loaded", "phi4:14b": "available"}
            assert state["sidecars"] == {}
            assert state["resources"]["node-1"]["cpu_percent"] == 42
            states = [each[2] for each in state["history"] if each[1] == server.id]
            assert states == ["unknown", "healthy"]
            assert state["since"][server.id] == state["history"][-1][0]


async def wait_for_name(events: SseReader, name: str) -> str:
    """The id of the update that tells an endpoint's new name; what was checked may come first."""
    while True:
        id_, update = await events.until("update", "put")
        if name in [each["name"] for each in update["put"]]:
            return id_


async def test_a_reconnecting_dashboard_resumes(hub, browser):
    one, two = f"{REGISTRY_PATH}/127.0.0.1:9", f"{REGISTRY_PATH}/127.0.0.2:9"
    for host in ("127.0.0.1", "127.0.0.2"):
        await hub.http("POST", REGISTRY_PATH, body={"host": host, "port": 9})
    # What the first probes find would be updates too.
    for path in (one, two):
        assert (await hub.http("POST", f"{path}/check")).status == 200
    async with browser.stream() as other, browser.stream() as events:
        await events.until("state", "endpoints")
        await hub.http("PATCH", one, body={"name": "a"})
        id_ = await wait_for_name(events, "a")
        await wait_for_name(other, "a")
        await hub.http("PATCH", two, body={"name": "b"})
        await wait_for_name(events, "b")
        async with browser.stream(Last_Event_ID=id_) as again:
            assert (await again.next())[1] == "hello"
            _, kind, update = await again.next()
            assert (kind, [each["name"] for each in update["put"]]) == ("update", ["b"])


@pytest.mark.parametrize(
    "last", ["", "x", "1.1", "<epoch>.99999", "<epoch>.-1", "<epoch>." + "9" * 40]
)
async def test_a_dashboard_that_cannot_resume_starts_again(hub, browser, last):
    last = last.replace("<epoch>", str(hub.hub.info().first_revision))
    async with browser.stream(Last_Event_ID=last) as events:
        assert [(await events.next())[1] for _ in range(2)] == ["hello", "state"]


async def test_revoking_the_token_ends_the_stream(hub):
    created = await hub.created_token(ROLE_READER)
    browser = Browser(hub)
    await browser.sign_in(created.token)
    async with browser.stream() as events:
        await events.until("state", "endpoints")
        await hub.call("RevokeToken", RevokeTokenRequest(id=created.token_info.id))
        while (ended := await events.next())[1] != "end":
            pass
        assert ended[2] == {"reason": "signed_out"}
        assert await events.ended()


async def test_a_stopping_hub_ends_the_streams_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(hub_server, "_GRACE_S", 120.0)
    async with running_hub(tmp_path) as hub:
        browser = Browser(hub)
        await browser.sign_in()
        async with browser.stream() as events:
            await events.until("state", "endpoints")
            # The stream does not use up the time that running requests get.
            async with asyncio.timeout(30):
                await hub.hub.stop()
            while (ended := await events.next())[1] != "end":
                pass
            assert ended[2] == {"reason": "stopping"}


async def test_an_idle_stream_sends_beats(hub, browser, monkeypatch):
    monkeypatch.setattr(event_stream, "_BEAT_S", 0.01)
    async with browser.stream() as events:
        _, beat = await events.until("beat", "now")
        assert beat["now"] > 1_700_000_000_000


async def test_dashboards_are_limited(hub, browser, monkeypatch):
    monkeypatch.setattr(event_stream, "EVENT_STREAMS", 1)
    async with browser.stream() as events:
        await events.until("state", "endpoints")
        refused = await browser.call("GET", STREAM)
        assert (refused.status, (await refused.json())["error"]) == (429, "limit_reached")
    # The hub notices that a browser has gone when it next has something to say.
    await hub.http("POST", REGISTRY_PATH, body={"host": "h"})
    await wait_until(lambda: hub.hub._listeners.dashboard.followers == 0)


async def test_dashboards_per_token_are_limited(hub, browser, monkeypatch):
    monkeypatch.setattr(event_stream, "EVENT_STREAMS_PER_TOKEN", 1)
    other = Browser(hub)
    await other.sign_in(await hub.token(ROLE_READER))
    async with browser.stream() as events:
        await events.until("state", "endpoints")
        assert (await browser.call("GET", STREAM)).status == 429
        async with other.stream() as seen:
            await seen.until("state", "endpoints")
    await hub.http("POST", REGISTRY_PATH, body={"host": "h"})
    await wait_until(lambda: hub.hub._listeners.dashboard.followers == 0)
    async with browser.stream() as events:
        await events.until("state", "endpoints")


async def test_an_unauthorised_caller_gets_no_stream(hub):
    browser = Browser(hub)
    assert (await browser.call("GET", STREAM)).status == 401
    sidecar = await hub.token(ROLE_SIDECAR, "node-1")
    refused = await browser.call("GET", STREAM, Authorization=f"Bearer {sidecar}")
    assert (refused.status, await refused.json()) == (403, {"error": "forbidden"})

import time
from datetime import UTC, datetime

from playwright.async_api import expect

from hub.service.overload.pressure import Load
from hub.service.records import durable_fields, encode_endpoint, endpoint_key
from hub.stores.store import Put
from llmhub.v1.admin_service_pb2 import CheckEndpointRequest
from llmhub.v1.endpoint_pb2 import Endpoint
from tests.support.hub import running_hub
from tests.support.ports import lasting_address
from tests.support.screen import screen
from tests.support.waiting import wait_until
from tools.fleetsim import Behaviour, FakeOllama, FakeVllm

REGISTRY = "/api/admin/llm-registry"

_CUT_OFF_WITHOUT_A_TITLE = """() => [...document.querySelectorAll("main *")]
  .filter((each) => !each.children.length && !each.matches(".unseen, input, select"))
  .filter((each) => each.scrollWidth > each.clientWidth + 1)
  .filter((each) => getComputedStyle(each).textOverflow === "ellipsis")
  .filter((each) => !each.closest("[title]")?.title)
  .map((each) => each.className + ": " + each.textContent)"""


async def register(hub, server, **body):
    body = {"host": server.host, "port": server.port} | body
    answer = await hub.http("POST", REGISTRY, body=body)
    assert answer.status == 201, answer


def in_minutes(minutes: int) -> str:
    return datetime.fromtimestamp(time.time() + 60 * minutes, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def test_changes_appear_without_a_reload(signed_in, hub, fleet):
    page = signed_in.page
    await page.evaluate("window.here = 'still'")
    ollama = FakeOllama("llama3.1:8b", "phi4:14b", version="0.12.6")
    server = await fleet.add(ollama)
    await register(hub, server, name="atlas", labels={"zone": "a"})
    row = signed_in.row("atlas")
    await expect(row).to_contain_text("Healthy")
    await expect(row).to_contain_text("Ollama")
    await expect(row).to_contain_text("0.12.6")
    await expect(row).to_contain_text("zone=a")
    await expect(row.locator(".model")).to_have_text(["llama3.1:8b", "phi4:14b"])
    await expect(row.locator(".model.is-loaded")).to_have_count(0)

    ollama.load("phi4:14b", expires_at=in_minutes(30))
    loaded = row.locator(".model.is-loaded")
    await expect(loaded).to_contain_text("phi4:14b")
    await expect(loaded).to_contain_text("warm until ")
    await expect(loaded).to_contain_text("loaded")
    chip = page.get_by_title("1 host has phi4:14b, 1 loaded")
    await expect(chip).to_be_visible()
    await expect(page.get_by_title("1 host has llama3.1:8b, 0 loaded")).to_be_visible()

    server.behaviour = Behaviour.HTML
    await expect(row).to_contain_text("Unhealthy")
    await expect(row.locator(".row-reason.is-error")).to_contain_text("HTML")
    await expect(page.locator("[data-figure=unhealthy]")).to_contain_text("1")
    server.behaviour = Behaviour.OK
    await expect(row).to_contain_text("Healthy")
    # Registered, healthy, unhealthy, healthy.
    await expect(row.locator("svg.strip rect:not(.strip-empty)")).to_have_count(4)
    assert "3 changes" in await row.locator("svg.strip").get_attribute("aria-label")

    await hub.http("DELETE", f"{REGISTRY}/{server.id}")
    await expect(row).to_have_count(0)
    await expect(page.get_by_text("No endpoints yet")).to_be_visible()
    assert await page.evaluate("window.here") == "still"


async def test_a_sidecars_resources_are_shown(signed_in, hub, fleet):
    server = await fleet.add(FakeOllama("llama3.1:8b"))
    gib = 2**30
    async with hub.sidecar("node-1", ollama_url=f"http://{server.id}") as socket:
        await socket.send(
            {
                "type": "resource_report",
                "cpu_percent": 37,
                "ram_used_bytes": 16 * gib,
                "ram_total_bytes": 64 * gib,
                "vram_used_bytes": 22 * gib,
                "vram_total_bytes": 24 * gib,
                "gpus": [{"index": 0, "name": "Test GPU", "utilization_percent": 81.4}],
            }
        )
        row = signed_in.row("node-1-local")
        await expect(row.locator(".meter-value")).to_have_text(["37 %", "25 %", "92 %", "81 %"])
        await expect(row.locator(".meter.is-high")).to_have_count(1)
        await expect(row.locator("[data-sidecar=connected]")).to_have_text("node-1")
        await expect(signed_in.page.locator("[data-figure=sidecars]")).to_contain_text("1")
        await expect(signed_in.page.locator("[data-figure=vram]")).to_contain_text("2.0 GiB")
    await expect(row.locator("[data-sidecar=gone]")).to_have_text("node-1 not connected")
    await expect(signed_in.page.locator("[data-figure=sidecars]")).to_contain_text("0")


async def test_the_details_of_an_endpoint_update_live(signed_in, hub, fleet):
    vllm = FakeVllm(models=["meta-llama/Llama-3.1-8B-Instruct"])
    server = await fleet.add(vllm)
    await register(hub, server, name="borealis")
    await signed_in.row("borealis").locator(".row-name").click()
    drawer = signed_in.page.get_by_role("dialog", name="borealis")
    await expect(drawer).to_contain_text("meta-llama/Llama-3.1-8B-Instruct")
    await expect(drawer).to_contain_text("vLLM 0.11.0")
    await expect(drawer).to_contain_text(f"http://{server.id}")
    server.behaviour = Behaviour.HALF_OPEN
    await expect(drawer.locator(".detail-health")).to_contain_text("Unhealthy")
    await expect(drawer.locator(".changes li")).to_have_count(3)
    await signed_in.page.keyboard.press("Escape")
    await expect(drawer).to_have_count(0)
    await expect(signed_in.row("borealis")).to_be_focused()


async def test_the_page_reconnects_after_a_hub_restart(browser, tmp_path):
    address = lasting_address()
    async with (
        running_hub(tmp_path, http={"address": address}) as hub,
        screen(browser, hub) as shown,
    ):
        shown.tolerated += [
            "ERR_CONNECTION_REFUSED",
            "ERR_INCOMPLETE_CHUNKED",
            "ERR_CONNECTION_RESET",
        ]
        await hub.http("POST", REGISTRY, body={"host": "h", "name": "before"})
        await shown.sign_in()
        await expect(shown.row("before")).to_be_visible()
        await hub.hub.stop()
        notice = shown.page.get_by_role("alert").filter(has_text="The data shown is")
        await expect(notice).to_be_visible()
        await expect(shown.page.locator("#link")).to_have_text("Reconnecting")
        # The page keeps the last data and shows its age.
        await expect(shown.row("before")).to_be_visible()
        await shown.shot("reconnecting")
        async with running_hub(tmp_path, http={"address": address}) as again:
            await again.http("POST", REGISTRY, body={"host": "i", "name": "after"})
            await expect(shown.page.locator("#link")).to_have_text("Live")
            await expect(notice).to_be_hidden()
            await expect(shown.row("after")).to_be_visible()
            await expect(shown.row("before")).to_be_visible()


async def test_a_disabled_endpoint_does_not_count_as_unknown(signed_in, hub, fleet):
    server = await fleet.add(FakeOllama("llama3.1:8b"))
    body = {"host": server.host, "port": server.port, "name": "off"}
    assert (await hub.http("POST", REGISTRY, body=body)).status == 201
    change = {"admin_state": "disabled"}
    assert (await hub.http("PATCH", f"{REGISTRY}/{server.id}", body=change)).status == 200
    page = signed_in.page
    await expect(page.locator("[data-figure=draining]")).to_contain_text("1 disabled")
    await expect(page.locator("[data-figure=unhealthy]")).to_contain_text("none unknown")
    await page.locator("#by-health").select_option("unknown")
    await expect(signed_in.rows()).to_have_count(0)
    await page.locator("#by-health").select_option("disabled")
    await expect(signed_in.row("off")).to_be_visible()


async def test_a_narrow_row_has_full_texts_in_its_tooltips(browser, hub, fleet):
    names = ["hf.co/somebody/A-Model-With-A-Very-Long-Name-GGUF:Q4_K_M", "b:1b", "c:1b", "d:1b"]
    ollama = FakeOllama(*names)
    ollama.load(names[0])
    server = await fleet.add(ollama)
    body = {
        "host": server.host,
        "port": server.port,
        "name": "an-endpoint-with-a-name-that-is-far-too-long-for-its-column",
        "labels": {"zone": "east-wing-1", "rack": "seventeen", "tier": "production"},
    }
    assert (await hub.http("POST", REGISTRY, body=body)).status == 201
    async with screen(browser, hub, width=1280) as shown:
        await shown.sign_in()
        await expect(shown.row(body["name"])).to_contain_text("and 2 on disk")
        assert await shown.page.evaluate(_CUT_OFF_WITHOUT_A_TITLE) == []
        rest = shown.page.locator(".model-rest")
        await expect(rest).to_have_attribute("title", "c:1b\nd:1b")
        labels = shown.page.locator(".row-labels")
        await expect(labels).to_have_attribute(
            "title", "rack=seventeen\ntier=production\nzone=east-wing-1"
        )


async def test_a_restarted_hub_says_what_it_has_not_checked_since(browser, tmp_path, fleet):
    server = await fleet.add(FakeOllama("llama3.1:8b"))
    async with running_hub(tmp_path) as hub:
        await register(hub, server, name="borealis")
        await wait_until(lambda: hub.hub.info().healthy_count == 1)
    # The first probe after the restart finds no answer, so the restored facts stand.
    server.behaviour = Behaviour.HANGING
    async with (
        running_hub(tmp_path, probes={"interval_s": 3600, "total_timeout_s": 60}) as hub,
        screen(browser, hub) as shown,
    ):
        await shown.sign_in()
        row = shown.row("borealis")
        await expect(row).to_contain_text("Healthy")
        await expect(row.locator(".row-reason")).to_contain_text("restored, checked")
        await row.locator(".row-name").click()
        drawer = shown.page.get_by_role("dialog", name="borealis")
        await expect(drawer.locator(".detail-health")).to_contain_text("not checked since")
        server.behaviour = Behaviour.OK
        fleet.cut(server)
        await hub.call("CheckEndpoint", CheckEndpointRequest(id=server.id))
        await expect(drawer.locator(".detail-health")).not_to_contain_text("not checked since")
        await expect(row.locator(".row-reason")).not_to_contain_text("restored")


async def test_two_addresses_of_one_server_are_shown_as_one_host(browser, tmp_path, fleet):
    server = await fleet.add(FakeOllama("llama3.1:8b"))
    other = Endpoint(
        id=f"localhost:{server.port}",
        host="localhost",
        port=server.port,
        scheme="http",
        name="twin",
    )
    # An earlier hub stored each spelling as an endpoint of its own.
    other.registered_at.FromSeconds(4_000_000_000)
    async with running_hub(tmp_path) as hub, screen(browser, hub) as shown:
        await register(hub, server, name="atlas")
        put = Put(endpoint_key(other.id), encode_endpoint(durable_fields(other)))
        await hub.hub._storage.store.commit([put])
        await hub.call("CheckEndpoint", CheckEndpointRequest(id=other.id))
        await shown.sign_in()
        hosts = shown.page.locator("[data-figure=hosts]")
        await expect(hosts.locator(".figure-value")).to_have_text("1")
        await expect(hosts.locator(".figure-note")).to_have_text("2 endpoints")
        await expect(shown.page.locator(".model-counts")).to_contain_text("1 host")
        await shown.row("twin").locator(".row-name").click()
        drawer = shown.page.get_by_role("dialog", name="twin")
        await expect(drawer).to_contain_text(f"Same server as127.0.0.1:{server.port}; counted once")


async def test_an_overloaded_hub_says_so(signed_in, hub):
    overload, word = hub.hub._observability.overload, signed_in.page.locator("#overload")
    await expect(word).to_be_hidden()
    overload.update(Load(memory=1e18), 0)
    await expect(word).to_be_visible()
    assert "overloaded (memory)" in (await word.get_attribute("title") or "")
    # The hub's own readings end it.
    await expect(word).to_be_hidden(timeout=20_000)

import re

import pytest
from playwright.async_api import expect

from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.hub import running_hub
from tests.support.screen import screen
from tests.support.waiting import wait_until
from tools.fleetsim import Behaviour, FakeOllama

REGISTRY = "/api/admin/llm-registry"
ROWS = 2_000


async def test_an_empty_fleet_shows_how_to_register_an_endpoint(signed_in, hub):
    page = signed_in.page
    await expect(page.get_by_role("heading", name="No endpoints yet")).to_be_visible()
    lines = await page.locator(".paste code").all_inner_texts()
    assert lines[0] == f"llm-hub --hub {hub.grpc_address} register gpu-1.lan"
    assert f"http://{hub.http_address}{REGISTRY}" in lines[1]
    assert lines[2].endswith("token create --role sidecar --agent node-1")
    await expect(page.get_by_text(f"ws://{hub.ws_address}/ws")).to_be_visible()
    await signed_in.shot("empty")
    await page.locator("#blank").get_by_role("button", name="Add endpoint").click()
    await expect(page.get_by_role("dialog", name="Add endpoint")).to_be_visible()


async def test_keyboard_navigation(signed_in, hub):
    for name in ("a", "b", "c"):
        await hub.http("POST", REGISTRY, body={"host": name, "name": name})
    page, keyboard = signed_in.page, signed_in.page.keyboard
    await expect(signed_in.rows()).to_have_count(3)
    await keyboard.press("/")
    await expect(page.get_by_label("Search endpoints")).to_be_focused()
    await keyboard.press("ArrowDown")
    await expect(signed_in.row("a")).to_be_focused()
    await keyboard.press("End")
    await expect(signed_in.row("c")).to_be_focused()
    await keyboard.press("ArrowUp")
    await expect(signed_in.row("b")).to_be_focused()
    outline = await signed_in.row("b").evaluate("(row) => getComputedStyle(row).outlineStyle")
    assert outline == "solid"
    await keyboard.press("Tab")
    actions = page.get_by_role("button", name="Actions for b")
    await expect(actions).to_be_focused()
    await keyboard.press("Enter")
    await expect(page.get_by_role("menuitem", name="Details")).to_be_focused()
    await keyboard.press("End")
    await expect(page.get_by_role("menuitem", name="Remove")).to_be_focused()
    await keyboard.press("Escape")
    await expect(actions).to_be_focused()
    await keyboard.press("Shift+Tab")
    await keyboard.press("Enter")
    await expect(page.get_by_role("dialog", name="b")).to_be_visible()
    await keyboard.press("Escape")
    await expect(signed_in.row("b")).to_be_focused()
    await keyboard.press("d")
    await expect(signed_in.row("b")).to_contain_text("Draining")
    await keyboard.press("Delete")
    await expect(page.get_by_role("alertdialog", name="Remove b?")).to_be_visible()
    await keyboard.press("Tab")
    await keyboard.press("Enter")
    await expect(signed_in.row("b")).to_have_count(0)
    await expect(signed_in.rows()).to_have_count(2)


async def test_every_control_has_a_name(signed_in, hub):
    await hub.http("POST", REGISTRY, body={"host": "a", "name": "a"})
    await expect(signed_in.rows()).to_have_count(1)
    tree = await signed_in.page.locator("body").aria_snapshot()
    assert not re.search(r"- (button|textbox|combobox|searchbox|link|img|menuitem)\s*$", tree, re.M)
    assert 'grid "Endpoints"' in tree
    assert 'searchbox "Search endpoints"' in tree


@pytest.fixture
async def spacious_hub(tmp_path):
    async with running_hub(
        tmp_path / "data", probes={"unhealthy_after": 1, "interval_s": 600}
    ) as running:
        yield running


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_themes(browser, hub, scheme):
    async with screen(browser, hub, scheme=scheme) as shown:
        await shown.sign_in()
        page, theme = shown.page, shown.page.get_by_role("button", name="Theme")
        colour = "getComputedStyle(document.body).backgroundColor"
        system = await page.evaluate(colour)
        await theme.click()
        await expect(theme).to_have_text("Theme: light")
        light = await page.evaluate(colour)
        await theme.click()
        await expect(theme).to_have_text("Theme: dark")
        dark = await page.evaluate(colour)
        assert light != dark
        assert system == (light if scheme == "light" else dark)
        await page.reload()
        await expect(theme).to_have_text("Theme: dark")
        assert await page.evaluate(colour) == dark


async def test_phone_layout(browser, hub, fleet):
    model = "a-model-with-quite-a-long-name-from-somebody/that-does-not-fit:70b-instruct-q4_K_M"
    for number in range(6):
        ollama = FakeOllama(f"{number}-{model}", "llama3.1:8b")
        ollama.load("llama3.1:8b")
        behaviour = Behaviour.HTML if number == 3 else Behaviour.OK
        server = await fleet.add(ollama, behaviour)
        body = {"host": server.host, "port": server.port, "name": f"host-{number}.rack.example"}
        await hub.http("POST", REGISTRY, body=body)
    async with screen(browser, hub, width=360, height=780) as shown:
        page = shown.page
        await _fits(page)
        await shown.sign_in(await hub.token(ROLE_READER))
        await expect(shown.row("host-0.rack.example")).to_contain_text("Healthy")
        await _fits(page)
        for control in await page.locator(".bar button, .tools select, .tools input").all():
            box = await control.bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 360
            assert box["height"] >= 36
        await shown.shot("phone", full_page=True)
        await shown.row("host-0.rack.example").locator(".row-name").click()
        drawer = page.get_by_role("dialog", name="host-0.rack.example")
        await expect(drawer).to_contain_text("Facts")
        assert await drawer.evaluate("(it) => it.scrollWidth <= it.clientWidth")
        await _fits(page)
        await shown.shot("phone-detail")


async def _fits(page) -> None:
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360


async def test_two_thousand_rows(browser, spacious_hub, fleet):
    """Real servers, each of them probed. Only the rows in view exist; a filter takes a few ms."""
    hub = spacious_hub
    personas = [FakeOllama("llama3.1:8b", f"model-{number % 40}:7b") for number in range(ROWS)]
    behaviours = [Behaviour.HTML if number % 100 == 7 else Behaviour.OK for number in range(ROWS)]
    servers = await fleet.add_spread(personas, behaviours)
    for number, server in enumerate(servers):
        body = {
            "host": server.host,
            "port": server.port,
            "name": f"gpu-{number:04}",
            "labels": {"zone": "abc"[number % 3]},
        }
        assert (await hub.http("POST", REGISTRY, body=body)).status == 201
    await wait_until(lambda: hub.hub.info().healthy_count == ROWS - ROWS // 100, timeout_s=40)
    async with screen(browser, hub) as shown:
        page, count = shown.page, shown.page.locator("#count")
        await shown.sign_in()
        await expect(count).to_have_text("2,000 endpoints")
        assert await shown.rows().count() < 40
        await expect(page.get_by_role("grid")).to_have_attribute("aria-rowcount", "2001")
        # Problems first, then by name.
        await expect(shown.row("gpu-0007")).to_contain_text("Unhealthy")
        await shown.shot("2000-rows")

        search = page.get_by_label("Search endpoints")
        await page.evaluate("performance.clearMeasures('filter')")
        for text, found in (
            ("gpu-01", "100 of 2,000 endpoints"),
            ("model-3:7b zone=a", "17 of 2,000 endpoints"),
            ("gpu-1999", "1 of 2,000 endpoints"),
        ):
            await search.fill(text)
            await expect(count).to_have_text(found)
        await expect(shown.rows()).to_have_count(1)
        await search.fill("nothing like this")
        await expect(page.get_by_text("No endpoint matches")).to_be_visible()
        await shown.shot("no-match")
        await page.get_by_role("button", name="Clear search and filters").click()
        await page.get_by_role("combobox", name="Health").select_option("unhealthy")
        await expect(count).to_have_text("20 of 2,000 endpoints")
        await page.get_by_role("combobox", name="Health").select_option("")

        await shown.row("gpu-0007").focus()
        await page.keyboard.press("End")
        await expect(shown.row("gpu-1999")).to_be_focused()
        assert await shown.rows().count() < 40
        took = await page.evaluate(
            "performance.getEntriesByType('measure').map((each) => [each.name, each.duration])"
        )
        for name in ("state", "filter", "update"):
            times = sorted(time for kind, time in took if kind == name)
            print(
                f"{name}: {len(times)}, median {times[len(times) // 2]:.1f} ms" if times else name
            )

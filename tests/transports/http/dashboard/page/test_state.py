"""What the dashboard says of servers that are down, loading, draining, or silent about a fact."""

import re
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Locator, expect

from tests.support.hub import RunningHub, running_hub
from tests.support.ports import lasting_port
from tests.support.screen import Screen, screen
from tools.fleetsim import Behaviour, FakeDockerModelRunner, FakeOllama, FakeOpenAi, FakeServer

REGISTRY = "/api/admin/llm-registry"


@pytest.fixture
async def patient_hub(tmp_path) -> AsyncIterator[RunningHub]:
    """A hub to which a server that fails stays healthy: what it says of such a server stands."""
    probes = {"interval_s": 1, "unhealthy_after": 1000}
    async with running_hub(tmp_path / "data", probes=probes) as running:
        yield running


async def add(hub: RunningHub, server: FakeServer, name: str, **fields: object) -> None:
    body = {"host": server.host, "port": server.port, "name": name, **fields}
    answer = await hub.http("POST", REGISTRY, body=body)
    assert answer.status == 201, answer


def loaded(*names: str) -> FakeOllama:
    ollama = FakeOllama(*names)
    ollama.load(names[0])
    return ollama


def figure(shown: Screen, key: str) -> Locator:
    return shown.page.locator(f"[data-figure={key}] .figure-value")


def chip(shown: Screen, model: str) -> Locator:
    named = shown.page.get_by_text(model, exact=True)
    return shown.page.locator(".model-chip").filter(has=named).locator(".model-counts")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_fleet_in_every_state(browser, hub, fleet, scheme):
    two = await fleet.add(loaded("llama3.1:8b", "phi4:14b"))
    dead = await fleet.add(loaded("llama3.1:8b"), host="127.0.0.2", port=lasting_port())
    local = await fleet.add(loaded("qwen3:8b"), host="127.0.0.3", port=lasting_port())
    loading = FakeDockerModelRunner(["ai/smollm2"], {"ai/smollm2": True})
    runner = await fleet.add(loading, host="127.0.0.4")
    silent = await fleet.add(FakeOpenAi(["gpt-oss-120b"]), host="127.0.0.5")
    drained = await fleet.add(loaded("phi4:14b"))
    off = await fleet.add(loaded("gone:1b"))
    mute = await fleet.add(FakeOllama("m"), Behaviour.HANGING)
    named = [
        (two, "answers"),
        (dead, "dead"),
        (runner, "loading"),
        (silent, "silent"),
        (drained, "draining"),
        (off, "off"),
    ]
    for server, name in named:
        await add(hub, server, name)
    report = {"type": "endpoint_report", "url": f"http://{local.id}", "reachable": True}
    async with hub.sidecar("node-1") as sidecar, screen(browser, hub, scheme=scheme) as shown:
        await sidecar.ask(report)
        await shown.sign_in()
        await expect(figure(shown, "healthy")).to_have_text("7")
        for server, state in ((drained, "draining"), (off, "disabled")):
            change = {"admin_state": state}
            assert (await hub.http("PATCH", f"{REGISTRY}/{server.id}", body=change)).status == 200
        await fleet.stop(dead)
        await fleet.stop(local)
        await sidecar.ask(report | {"reachable": False, "error": "connection refused"})
        await expect(shown.row("dead")).to_contain_text("Unhealthy")
        await expect(shown.row("node-1-local").or_(shown.row(local.id))).to_contain_text(
            "Unhealthy"
        )
        await add(hub, mute, "mute")
        await expect(figure(shown, "hosts")).to_have_text("5")

        row = shown.row("dead")
        await expect(row.locator(".sign")).to_have_attribute("data-state", "unhealthy")
        await expect(row.locator(".model.is-loaded")).to_have_count(0)
        await expect(row.locator(".model.is-unknown")).to_contain_text("loaded when last seen")
        await expect(row).not_to_contain_text("warm until")
        await expect(shown.row("loading").locator(".model.is-loading")).to_contain_text("loading")
        await expect(shown.row("silent").locator(".model.is-unknown")).to_contain_text(
            "state unknown"
        )
        await expect(shown.row("mute")).to_contain_text("Unknown")
        await expect(shown.row("mute")).to_contain_text("not checked yet")

        await expect(chip(shown, "llama3.1:8b")).to_have_text("1 host, 1 loaded, 1 down")
        await expect(chip(shown, "qwen3:8b")).to_have_text("0 hosts, 1 down")
        await expect(chip(shown, "gpt-oss-120b")).to_have_text("1 host, state unknown")
        await expect(chip(shown, "gone:1b")).to_have_text("1 host, state unknown")

        # Every endpoint is in exactly one state, and each filter shows what its figure counts.
        total = 0
        for state, number in {
            "healthy": 3,
            "failing": 0,
            "unhealthy": 2,
            "unknown": 1,
            "draining": 1,
            "disabled": 1,
        }.items():
            await shown.page.locator("#by-health").select_option(state)
            await expect(shown.page.locator("#count")).to_have_text(f"{number} of 8 endpoints")
            total += number
        assert total == 8
        await expect(figure(shown, "healthy")).to_have_text("3")
        await expect(figure(shown, "unhealthy")).to_have_text("2")
        await expect(shown.page.locator("[data-figure=unhealthy]")).to_contain_text("1 unknown")
        await expect(figure(shown, "draining")).to_have_text("1")
        await shown.page.locator("#by-health").select_option("")
        await shown.shot(f"states-{scheme}")

        await shown.page.locator(f".row[data-id='{local.id}'] .row-name").click()
        drawer = shown.page.locator("dialog.drawer")
        await expect(drawer).to_contain_text("Neither the hub nor the sidecar")
        await expect(drawer).to_contain_text("node-1 gets no answer: connection refused")
        await expect(drawer).to_contain_text(
            re.compile("the hub.s probe: status, backend, version, models")
        )
        await expect(drawer).not_to_contain_text("answered in")
        await expect(drawer.locator(".model-warmth")).to_have_text(["loaded when last seen"])
        await shown.shot(f"states-{scheme}-dead")
        await shown.page.keyboard.press("Escape")
        await shown.row("silent").locator(".row-name").click()
        await expect(drawer.locator(".model-warmth")).to_have_text(["state unknown"])
        await expect(drawer).to_contain_text("no sidecar reports on this server")
        await shown.shot(f"states-{scheme}-silent")


async def test_a_server_that_fails_is_not_green_while_the_hub_still_trusts_it(
    browser, patient_hub, fleet
):
    hub = patient_hub
    one = await fleet.add(loaded("phi4:14b"), port=lasting_port())
    await add(hub, one, "one")
    async with screen(browser, hub) as shown:
        await shown.sign_in()
        await expect(chip(shown, "phi4:14b")).to_have_text("1 host, 1 loaded")
        await fleet.stop(one)
        row = shown.row("one")
        await expect(row).to_contain_text("Failing")
        await expect(row.locator(".sign")).to_have_attribute("data-state", "failing")
        await expect(row.locator(".row-reason.is-error")).to_contain_text("refused")
        await expect(row.locator(".model.is-loaded")).to_have_count(0)
        await expect(chip(shown, "phi4:14b")).to_have_text("0 hosts, 1 down")
        await expect(figure(shown, "healthy")).to_have_text("0")
        await expect(shown.page.locator("[data-figure=unhealthy]")).to_contain_text("1 failing")
        await row.locator(".row-name").click()
        drawer = shown.page.get_by_role("dialog", name="one")
        await expect(drawer).to_contain_text("The hub gets no answer.")
        await expect(drawer).not_to_contain_text("answered in")
        await shown.shot("failing")


async def test_hosts_are_counted_by_agent_and_not_by_spelling(browser, hub, fleet):
    first = await fleet.add(FakeOllama("a:1b"))
    second = await fleet.add(FakeOllama("b:1b"))
    await add(hub, first, "first")
    body = {"host": "localhost", "port": second.port, "name": "second"}
    assert (await hub.http("POST", REGISTRY, body=body)).status == 201
    third = await fleet.add_spread([FakeOllama("a:1b")], [Behaviour.OK])
    async with hub.sidecar("node-1") as sidecar, screen(browser, hub) as shown:
        for server in (first, *third):
            await sidecar.ask({"type": "endpoint_report", "url": f"http://{server.id}"})
        await shown.sign_in()
        await expect(shown.page.locator("[data-figure=hosts]")).to_contain_text("3 endpoints")
        await expect(figure(shown, "hosts")).to_have_text("1")
        await expect(chip(shown, "a:1b")).to_contain_text("1 host,")


async def test_a_name_without_a_tag_means_the_tag_latest(signed_in, hub, fleet):
    await add(hub, await fleet.add(FakeOpenAi(["smollm2"])), "untagged")
    await add(hub, await fleet.add(FakeOllama("smollm2:latest")), "tagged")
    await add(hub, await fleet.add(FakeOllama("smollm2:1.7b")), "other")
    page = signed_in.page
    await expect(figure(signed_in, "healthy")).to_have_text("3")
    await page.get_by_title("1 host has smollm2, state unknown").click()
    await expect(page.get_by_label("Search endpoints")).to_have_value("model=smollm2")
    await expect(page.locator("#count")).to_have_text("2 of 3 endpoints")
    await expect(signed_in.row("untagged")).to_be_visible()
    await expect(signed_in.row("tagged")).to_be_visible()
    # The name with its tag means that one alone.
    await page.get_by_label("Search endpoints").fill("model=smollm2:latest")
    await expect(page.locator("#count")).to_have_text("1 of 3 endpoints")
    await page.get_by_label("Search endpoints").fill("")
    # The other endpoint answers to the name too, so draining this one asks nothing.
    await signed_in.menu("untagged", "Drain")
    await expect(signed_in.toast("untagged is draining")).to_be_visible()

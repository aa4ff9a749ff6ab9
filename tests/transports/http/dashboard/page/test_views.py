"""The dashboard's views: each has an address, and shows and changes what it says."""

import re

from playwright.async_api import expect

from llmhub.v1.resources_pb2 import ROLE_READER
from tests.support.hub import RunningHub
from tests.support.screen import Screen, screen
from tools.fleetsim import Behaviour, FakeOllama, FakeServer, Fleet

REGISTRY = "/api/admin/llm-registry"


async def add(hub: RunningHub, server: FakeServer, name: str, **fields: object) -> None:
    body = {"host": server.host, "port": server.port, "name": name, **fields}
    assert (await hub.http("POST", REGISTRY, body=body)).status == 201


async def two_servers(hub: RunningHub, fleet: Fleet) -> None:
    """One with a loaded model, and one that does not answer."""
    ollama = FakeOllama("llama3.1:8b", "phi4:14b")
    ollama.load("llama3.1:8b")
    await add(hub, await fleet.add(ollama), "good")
    await add(hub, await fleet.add(FakeOllama("llama3.1:8b"), Behaviour.HANGING), "bad")


async def visit(shown: Screen, title: str) -> None:
    await shown.page.get_by_role("navigation", name="Views").get_by_role("link", name=title).click()
    await expect(shown.page).to_have_title(f"{title} · LLM Registry Hub")


async def test_every_view_has_an_address_and_back_returns(signed_in):
    page = signed_in.page
    addresses = []
    links = page.get_by_role("navigation", name="Views").get_by_role("link")
    for title in await links.all_inner_texts():
        await visit(signed_in, title)
        await expect(links.filter(has_text=title)).to_have_attribute("aria-current", "page")
        addresses.append(page.url)
        await signed_in.shot(f"view-{title.lower().replace(' ', '-')}")
    assert len(set(addresses)) == 8
    await page.go_back()
    await expect(page).to_have_url(addresses[-2])
    await expect(page.locator("#view-aliases")).to_be_visible()
    await expect(page.locator("#view-tokens")).to_be_hidden()


async def test_filters_are_in_the_address(browser, hub, fleet):
    await two_servers(hub, fleet)
    async with screen(browser, hub, view="#/endpoints?health=healthy&sort=name") as shown:
        await shown.sign_in()
        await expect(shown.rows()).to_have_count(1)
        await expect(shown.page.locator("#sort")).to_have_value("name")
        await shown.page.locator("#by-health").select_option("")
        await shown.page.get_by_label("Search endpoints").fill("bad")
        await expect(shown.page).to_have_url(re.compile(r"#/endpoints\?text=bad&sort=name$"))
        await expect(shown.row("bad")).to_be_visible()


async def test_an_endpoint_has_an_address_of_its_own(browser, hub, fleet):
    server = await fleet.add(FakeOllama("m"))
    await add(hub, server, "box")
    async with screen(browser, hub, view=f"#/endpoints/{server.id}") as shown:
        await shown.sign_in()
        drawer = shown.page.get_by_role("dialog", name="box")
        await expect(drawer).to_be_visible()
        await drawer.get_by_role("button", name="Close").click()
        await expect(shown.page).to_have_url(re.compile(r"#/endpoints$"))
        await shown.page.go_back()
        await expect(drawer).to_be_visible()
        await shown.page.go_back()
        await expect(drawer).to_be_hidden()


async def test_the_overview_says_what_is_wrong(browser, hub, fleet):
    await two_servers(hub, fleet)
    async with screen(browser, hub, view="#/") as shown:
        await shown.sign_in()
        wrong = shown.page.locator(".problems")
        await expect(wrong).to_contain_text("no answer")
        await wrong.get_by_role("link", name="bad").click()
        await expect(shown.page.get_by_role("dialog", name="bad")).to_be_visible()


async def test_models_are_counted_and_lead_to_their_servers(browser, hub, fleet):
    await two_servers(hub, fleet)
    async with screen(browser, hub, view="#/models") as shown:
        await shown.sign_in()
        table = shown.page.get_by_role("table", name="Models")
        row = table.get_by_role("row").filter(has_text="llama3.1:8b")
        await expect(row.get_by_role("cell").first).to_have_text("1")
        await expect(row).to_contain_text("1, the last")
        await table.get_by_role("button", name="Model", exact=True).click()
        await expect(shown.page).to_have_url(re.compile(r"#/models\?sort=name$"))
        await row.get_by_role("button").click()
        await expect(shown.page.get_by_label("Search endpoints")).to_have_value("model=llama3.1:8b")


async def test_a_host_is_added_and_seen_to_connect(browser, hub):
    async with screen(browser, hub, view="#/hosts") as shown:
        await shown.sign_in()
        page = shown.page
        await page.get_by_role("button", name="Add host").click()
        await page.get_by_role("textbox", name="Name").fill("gpu-9")
        await page.get_by_role("button", name="Make its command").click()
        dialog = page.get_by_role("dialog", name="Connect gpu-9")
        command = await dialog.locator(".paste code").first.inner_text()
        assert f"sidecar --hub ws://{hub.ws_address}/ws --agent gpu-9" in command
        await expect(dialog.get_by_role("status")).to_have_text("Waiting for gpu-9 to connect…")
        token = command.partition("LLM_HUB_TOKEN=")[2].split()[0]
        async with hub.sidecar("gpu-9", token=token) as sidecar:
            await expect(dialog.get_by_role("status")).to_have_text("gpu-9 is connected.")
            await dialog.get_by_role("button", name="Done").click()
            gpu = {"index": 0, "name": "L40S", "vram_used_bytes": 46 << 30}
            gpu |= {"vram_total_bytes": 48 << 30, "utilization_percent": 10}
            report = {"vram_used_bytes": 46 << 30, "vram_total_bytes": 48 << 30, "gpus": [gpu]}
            await sidecar.send({"type": "resource_report", **report})
            row = (
                page.get_by_role("table", name="Hosts").get_by_role("row").filter(has_text="gpu-9")
            )
            await expect(row).to_contain_text("0 L40S · 46 GiB of 48 GiB · 10 %")
            await expect(row.locator(".meter.is-high")).to_have_count(1)


async def test_a_selection_is_explained(browser, hub, fleet):
    await two_servers(hub, fleet)
    off = await fleet.add(FakeOllama("llama3.1:8b"))
    await add(hub, off, "off")
    await hub.http("POST", f"{REGISTRY}/{off.id}/check")
    change = {"admin_state": "disabled"}
    assert (await hub.http("PATCH", f"{REGISTRY}/{off.id}", body=change)).status == 200
    async with screen(browser, hub, view="#/select?model=llama3.1:8b") as shown:
        await shown.sign_in()
        page = shown.page
        await expect(page.locator(".chosen")).to_contain_text("good")
        candidates = page.get_by_role("list", name="Candidates").get_by_role("listitem")
        await expect(candidates).to_have_count(2)
        await expect(candidates.last).to_contain_text("off")
        await expect(candidates.last).to_contain_text("disabled")
        await page.get_by_text("The same from a program").click()
        curl = await page.locator(".explained .paste code").first.inner_text()
        assert '"model":"llama3.1:8b"' in curl
        await page.get_by_label("Least context").fill("many")
        await page.get_by_role("button", name="Select").click()
        await expect(page.locator(".field-error").filter(has_text="expected")).to_be_visible()
        shown.tolerated.append("422")


async def test_aliases_are_made_changed_and_removed(browser, hub):
    async with screen(browser, hub, view="#/aliases") as shown:
        await shown.sign_in()
        page = shown.page
        await page.get_by_role("button", name="Add alias").click()
        await page.get_by_role("textbox", name="Alias").fill("chat")
        await page.get_by_role("textbox", name="Models").fill(
            "llama3.1:8b\nfamily=llama min_context_length=8192"
        )
        await page.get_by_role("button", name="Save alias").click()
        row = page.get_by_role("table", name="Aliases").get_by_role("row").filter(has_text="chat")
        await expect(row).to_contain_text("family=llama min_context_length=8192")
        await page.get_by_role("button", name="Edit chat").click()
        await page.get_by_role("textbox", name="Models").fill("phi4:14b")
        await page.get_by_role("button", name="Save alias").click()
        await expect(row).to_contain_text("phi4:14b")
        await page.get_by_role("button", name="Remove chat").click()
        await page.get_by_role("alertdialog").get_by_role("button", name="Remove").click()
        await expect(page.get_by_text("No aliases.")).to_be_visible()


async def test_a_token_is_created_and_revoked(browser, hub):
    async with screen(browser, hub, view="#/tokens") as shown:
        await shown.sign_in()
        page = shown.page
        await page.get_by_role("button", name="Create token").click()
        form = page.get_by_role("dialog", name="Create token")
        await form.get_by_label("Note").fill("billing")
        await form.get_by_label("Only these models").fill("phi4:14b")
        await form.get_by_role("button", name="Create token").click()
        secret = await page.get_by_role("dialog", name="The new token").locator("code").inner_text()
        await page.get_by_role("button", name="Done").click()
        assert (await hub.http("GET", REGISTRY, token=secret)).status == 200
        row = page.get_by_role("table", name="Tokens").get_by_role("row").filter(has_text="billing")
        await expect(row).to_contain_text("phi4:14b")
        await row.get_by_role("button", name="Revoke").click()
        await page.get_by_role("alertdialog").get_by_role("button", name="Revoke").click()
        await expect(row).to_have_count(0)
        assert (await hub.http("GET", REGISTRY, token=secret)).status == 401


async def test_activity_is_one_list_of_changes_of_both_kinds(browser, hub, fleet):
    await add(hub, await fleet.add(FakeOllama("m")), "box")
    async with screen(browser, hub, view="#/activity") as shown:
        await shown.sign_in()
        items = shown.page.get_by_role("list", name="Activity").get_by_role("listitem")
        await expect(items.filter(has_text="register endpoint")).to_contain_text("box")
        await expect(items.filter(has_text="is healthy")).to_contain_text("box")
        await shown.page.get_by_role("combobox", name="Kind").select_option("state")
        await expect(items.filter(has_text="register endpoint")).to_have_count(0)
        await shown.page.get_by_label("Search activity").fill("absent")
        await expect(shown.page.get_by_text("Nothing to show.")).to_be_visible()


async def test_a_reader_may_look_and_change_nothing(browser, hub):
    token = await hub.token(ROLE_READER)
    async with screen(browser, hub, view="#/aliases") as shown:
        await shown.sign_in(token)
        await expect(shown.page.get_by_role("button", name="Add alias")).to_be_disabled()
        await visit(shown, "Hosts")
        await expect(shown.page.get_by_role("button", name="Add host")).to_be_disabled()
        await visit(shown, "Activity")
        await expect(shown.page.get_by_text("The audit trail is for admins")).to_be_visible()
        shown.tolerated.append("403")
        await visit(shown, "Tokens")
        await expect(shown.page.get_by_text("token may list tokens")).to_be_visible()

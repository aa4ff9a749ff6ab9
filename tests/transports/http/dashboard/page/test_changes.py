import pytest
from playwright.async_api import expect

from tests.support.waiting import wait_until
from tools.fleetsim import Behaviour, FakeOllama

REGISTRY = "/api/admin/llm-registry"


@pytest.fixture
async def atlas(hub, fleet):
    """A healthy endpoint, the only one with its model, and its fake server."""
    server = await fleet.add(FakeOllama("llama3.1:8b"))
    body = {"host": server.host, "port": server.port, "name": "atlas", "labels": {"zone": "a"}}
    assert (await hub.http("POST", REGISTRY, body=body)).status == 201
    await wait_until(lambda: _is_healthy(hub, server.id))
    return server


async def _is_healthy(hub, id_: str) -> bool:
    return (await hub.http("GET", f"{REGISTRY}/{id_}")).json["status"] == "healthy"


async def registered(hub, id_: str):
    return (await hub.http("GET", f"{REGISTRY}/{id_}")).json


async def test_add(signed_in, hub, fleet):
    server = await fleet.add(FakeOllama("llama3.1:8b"))
    page = signed_in.page
    await page.get_by_role("button", name="Add endpoint").click()
    dialog = page.get_by_role("dialog", name="Add endpoint")
    await expect(dialog.get_by_label("Host", exact=True)).to_be_focused()
    await dialog.get_by_label("Host", exact=True).fill(server.host)
    await dialog.get_by_label("Port").fill(str(server.port))
    await dialog.get_by_text("More:").click()
    await dialog.get_by_label("Name").fill("atlas")
    await dialog.get_by_label("Labels").fill("zone=a\ntier = prod")
    await signed_in.shot("add")
    await page.keyboard.press("Tab")
    await dialog.get_by_role("button", name="Add endpoint").click()
    await expect(signed_in.toast("atlas is registered")).to_be_visible()
    await expect(signed_in.row("atlas")).to_contain_text("Healthy")
    assert (await registered(hub, server.id))["labels"] == {"zone": "a", "tier": "prod"}


async def test_add_by_url(signed_in, hub):
    page = signed_in.page
    await page.get_by_role("button", name="Add endpoint").click()
    await page.get_by_label("Host", exact=True).fill("https://gpu-1.test/ollama/")
    await page.keyboard.press("Enter")
    await expect(signed_in.toast("is registered")).to_be_visible()
    shown = await registered(hub, "gpu-1.test:443")
    assert (shown["scheme"], shown["base_path"]) == ("https", "/ollama")


@pytest.mark.parametrize(
    ("given", "id_"),
    [
        ("gpu-1.test:8001", "gpu-1.test:8001"),
        ("[::1]:8001", "[::1]:8001"),
        ("::1", "[::1]:11434"),
        ("http://gpu-1.test", "gpu-1.test:80"),
    ],
)
async def test_add_by_address(signed_in, hub, given, id_):
    page = signed_in.page
    await page.get_by_role("button", name="Add endpoint").click()
    await page.get_by_label("Host", exact=True).fill(given)
    await page.keyboard.press("Enter")
    await expect(signed_in.toast("is registered")).to_be_visible()
    shown = (await hub.http("GET", REGISTRY)).json["endpoints"]
    assert [each["id"] for each in shown] == [id_]


async def test_pasted_url_fills_the_fields(signed_in):
    page = signed_in.page
    await page.get_by_role("button", name="Add endpoint").click()
    host = page.get_by_label("Host", exact=True)
    for text, shown in (
        ("gpu-1.test:8001/ollama", ("gpu-1.test", "8001", "/ollama")),
        ("https://gpu-2.test/v2/", ("gpu-2.test", "443", "/v2")),
    ):
        await host.fill("")
        await page.evaluate(
            "(text) => document.execCommand('insertText', false, text)"
            " && document.activeElement.dispatchEvent(new ClipboardEvent('paste'))",
            text,
        )
        await expect(host).to_have_value(shown[0])
        await expect(page.get_by_label("Port")).to_have_value(shown[1])
        await expect(page.get_by_label("Base path")).to_be_visible()
        await expect(page.get_by_label("Base path")).to_have_value(shown[2])


@pytest.mark.parametrize(
    ("fields", "wrong", "text"),
    [
        ({"Host": ""}, "Host", "is required"),
        ({"Host": "a b"}, "Host", "must be a host name"),
        ({"Host": "http://user:word@h/"}, "Host", "must be a host name"),
        ({"Host": "ftp://h"}, "Host", "must be a host name"),
        ({"Host": "h:99999"}, "Port", "65535"),
        ({"Host": "h", "Port": "99999"}, "Port", "65535"),
        ({"Host": "h", "Port": "x"}, "Port", "expected integer"),
    ],
)
async def test_errors_are_shown_next_to_their_field(signed_in, hub, fields, wrong, text):
    signed_in.tolerated.append("422 (Unprocessable")
    page = signed_in.page
    await page.get_by_role("button", name="Add endpoint").click()
    dialog = page.get_by_role("dialog", name="Add endpoint")
    for label, value in fields.items():
        await dialog.get_by_label(label).fill(value)
    await page.keyboard.press("Enter")
    field = dialog.get_by_label(wrong)
    await expect(field).to_be_focused()
    await expect(field).to_have_attribute("aria-invalid", "true")
    error = dialog.locator(".field:has([aria-invalid])").get_by_role("alert")
    await expect(error).to_contain_text(text)
    assert (await hub.http("GET", REGISTRY)).json == {"endpoints": []}
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)


async def test_edit_labels(signed_in, hub, atlas):
    signed_in.tolerated += ["422 (Unprocessable", "409 (Conflict"]
    page = signed_in.page
    await signed_in.menu("atlas", "Edit labels")
    labels = page.get_by_role("textbox", name="Labels")
    await expect(labels).to_have_value("zone=a")
    await labels.fill("zone=b\n-bad=1")
    save = page.get_by_role("button", name="Save labels")
    await save.click()
    await expect(page.get_by_role("dialog").get_by_role("alert").first).to_contain_text("-bad")
    await labels.fill("zone=b\nrack=7")
    await save.click()
    await expect(signed_in.row("atlas")).to_contain_text("rack=7")
    assert (await registered(hub, atlas.id))["labels"] == {"zone": "b", "rack": "7"}

    await signed_in.menu("atlas", "Edit labels")
    await hub.http("PATCH", f"{REGISTRY}/{atlas.id}", body={"labels": {"zone": "mine"}})
    await labels.fill("zone=yours")
    await save.click()
    await expect(page.get_by_text("The endpoint was changed in the meantime")).to_be_visible()
    assert (await registered(hub, atlas.id))["labels"] == {"zone": "mine"}


async def test_drain_and_undo(signed_in, hub, atlas, fleet):
    twin = await fleet.add(FakeOllama("llama3.1:8b"))
    await hub.http("POST", REGISTRY, body={"host": twin.host, "port": twin.port, "name": "twin"})
    await expect(signed_in.row("twin")).to_contain_text("llama3.1:8b")
    await signed_in.menu("atlas", "Drain")
    await expect(signed_in.row("atlas")).to_contain_text("Draining")
    assert (await registered(hub, atlas.id))["admin_state"] == "draining"
    await signed_in.toast("atlas is draining").get_by_role("button", name="Undo").click()
    await expect(signed_in.row("atlas")).to_contain_text("Healthy")
    assert (await registered(hub, atlas.id))["admin_state"] == "enabled"


async def test_draining_the_last_endpoint_of_a_model_asks_first(signed_in, hub, atlas):
    await expect(signed_in.row("atlas")).to_contain_text("llama3.1:8b")
    await signed_in.menu("atlas", "Drain")
    dialog = signed_in.page.get_by_role("alertdialog", name="Drain atlas?")
    await expect(dialog).to_contain_text("No other healthy endpoint has llama3.1:8b")
    await expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    await signed_in.page.keyboard.press("Enter")
    await expect(dialog).to_have_count(0)
    assert (await registered(hub, atlas.id))["admin_state"] == "enabled"
    await signed_in.menu("atlas", "Drain")
    await dialog.get_by_role("button", name="Drain anyway").click()
    await expect(signed_in.row("atlas")).to_contain_text("Draining")


async def test_check_now(signed_in, hub, atlas):
    await signed_in.menu("atlas", "Check now")
    await expect(signed_in.toast("atlas answers")).to_be_visible()
    atlas.behaviour = Behaviour.HTML
    await signed_in.menu("atlas", "Check now")
    await expect(signed_in.toast("HTML, not JSON")).to_be_visible()


async def test_remove_asks_first(signed_in, hub, atlas):
    page = signed_in.page
    await signed_in.menu("atlas", "Remove")
    dialog = page.get_by_role("alertdialog", name="Remove atlas?")
    await expect(dialog).to_contain_text(atlas.id)
    await signed_in.shot("remove")
    await dialog.get_by_role("button", name="Cancel").click()
    await expect(dialog).to_have_count(0)
    assert (await hub.http("GET", f"{REGISTRY}/{atlas.id}")).status == 200
    await signed_in.menu("atlas", "Remove")
    await dialog.get_by_role("button", name="Remove").click()
    await expect(signed_in.row("atlas")).to_have_count(0)
    assert (await hub.http("GET", f"{REGISTRY}/{atlas.id}")).status == 404


async def test_markup_in_a_name_is_shown_as_text(signed_in, hub):
    name = "<img src=x onerror=alert(1)>"
    await hub.http("POST", REGISTRY, body={"host": "h", "name": name, "labels": {"a": "<b>"}})
    row = signed_in.row(name)
    await expect(row).to_contain_text("a=<b>")
    await row.locator(".row-name").click()
    await expect(signed_in.page.get_by_role("dialog", name=name)).to_be_visible()
    assert await signed_in.page.locator("img").count() == 0

from playwright.async_api import expect

from llmhub.v1.admin_service_pb2 import RevokeTokenRequest
from llmhub.v1.resources_pb2 import ROLE_READER, ROLE_SIDECAR
from tests.support.screen import screen


async def test_signing_in_and_out(browser, hub):
    async with screen(browser, hub) as shown:
        await expect(shown.page.get_by_label("Token", exact=True)).to_be_focused()
        await shown.shot("sign-in")
        await shown.sign_in()
        await expect(shown.page.get_by_text("No endpoints yet")).to_be_visible()
        # No script can read the token or the session.
        assert await shown.page.evaluate("document.cookie") == ""
        stored = await shown.page.evaluate(
            "JSON.stringify([{...localStorage}, {...sessionStorage}])"
        )
        assert hub.admin_token not in stored + await shown.page.content()
        (cookie,) = await shown.page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")

        await shown.page.reload()
        await expect(shown.page.locator("#link")).to_have_text("Live")
        await shown.page.get_by_role("button", name="Sign out").click()
        await expect(shown.page.get_by_label("Token", exact=True)).to_be_focused()
        assert await shown.page.context.cookies() == []
        await shown.page.reload()
        await expect(shown.page.get_by_label("Token", exact=True)).to_be_visible()


async def test_a_failed_sign_out_is_reported(browser, hub):
    async with screen(browser, hub) as shown:
        shown.tolerated.append("503 (Service Unavailable)")
        await shown.sign_in()
        await expect(shown.page.locator("#link")).to_have_text("Live")

        async def refuse(route):
            if route.request.method == "DELETE":
                await route.fulfill(status=503, json={"error": "store_unavailable"})
            else:
                await route.continue_()

        await shown.page.route("**/api/dashboard/session", refuse)
        await shown.page.get_by_role("button", name="Sign out").click()
        await expect(shown.page.get_by_text("You are still signed in")).to_be_visible()
        await expect(shown.page.locator("#link")).to_have_text("Live")
        await shown.page.unroute("**/api/dashboard/session")
        await shown.page.get_by_role("button", name="Try again").click()
        await expect(shown.page.get_by_label("Token", exact=True)).to_be_focused()


async def test_a_wrong_token(browser, hub):
    async with screen(browser, hub) as shown:
        shown.tolerated.append("401 (Unauthorized)")
        await shown.page.get_by_label("Token", exact=True).fill("llmhub_wrong")
        await shown.page.keyboard.press("Enter")
        alert = shown.page.get_by_role("alert").filter(has_text="does not accept this token")
        await expect(alert).to_be_visible()
        await expect(shown.page.get_by_label("Token", exact=True)).to_be_focused()
        await shown.shot("sign-in-wrong")
        await shown.sign_in()


async def test_a_sidecar_token_has_its_own_error(browser, hub):
    token = await hub.token(ROLE_SIDECAR, "node-1")
    async with screen(browser, hub) as shown:
        shown.tolerated.append("403 (Forbidden)")
        await shown.page.get_by_label("Token", exact=True).fill(token)
        await shown.page.keyboard.press("Enter")
        await expect(shown.page.get_by_text("It can only report for its host")).to_be_visible()


async def test_revoking_the_token_signs_the_browser_out(browser, hub):
    created = await hub.created_token(ROLE_READER)
    async with screen(browser, hub) as shown:
        await shown.sign_in(created.token)
        await hub.call("RevokeToken", RevokeTokenRequest(id=created.token_info.id))
        await expect(shown.page.get_by_label("Token", exact=True)).to_be_visible()
        await expect(shown.page.get_by_text("its token was revoked")).to_be_visible()


async def test_a_reader_cannot_change_anything(browser, hub):
    await hub.http("POST", "/api/admin/llm-registry", body={"host": "h", "name": "one"})
    async with screen(browser, hub) as shown:
        await shown.sign_in(await hub.token(ROLE_READER))
        await expect(shown.page.get_by_text("read only")).to_be_visible()
        add = shown.page.get_by_role("button", name="Add endpoint")
        await expect(add).to_be_disabled()
        await expect(add).to_have_attribute(
            "title",
            "Your token is read-only. Sign in with an admin token to change the fleet.",
        )
        await shown.row("one").get_by_role("button", name="Actions").click()
        await expect(shown.page.get_by_role("menuitem", name="Details")).to_be_enabled()
        for name in ("Check now", "Drain", "Disable", "Edit labels", "Remove"):
            item = shown.page.get_by_role("menuitem", name=name)
            await expect(item).to_have_attribute("aria-disabled", "true")
        await expect(shown.page.get_by_text("Your token is read-only")).to_be_visible()
        await shown.shot("reader")
        await shown.page.get_by_role("menuitem", name="Remove").click(force=True)
        await expect(shown.page.get_by_role("alertdialog")).to_have_count(0)
        await shown.page.keyboard.press("Escape")
        await shown.page.keyboard.press("Delete")
        await expect(shown.page.get_by_role("alertdialog")).to_have_count(0)

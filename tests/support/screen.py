"""The dashboard in a real browser: the system's Chromium, driven by Playwright."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright, expect

from tests.support.hub import ROOT, HubClient

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARTIFACTS = ROOT / "artifacts" / "dashboard"

_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_EXPECT_MS = 15_000

expect.set_options(timeout=_EXPECT_MS)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    assert CHROMIUM is not None
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


class Screen:
    """One page of the dashboard, with its errors.

    A console error, an uncaught exception, a violation of the page's policy or a
    request to another origin fails the test at its end, unless `tolerated`.
    """

    def __init__(self, page: Page, hub: HubClient, view: str) -> None:
        self.page = page
        self.view = view
        self.hub = hub
        self.tolerated: list[str] = []
        self._faults: list[str] = []
        self._origin = f"http://{hub.http_address}/"
        page.set_default_timeout(_EXPECT_MS)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self._faults.append(f"exception: {error}"))
        page.on("request", self._request)

    def rows(self):
        return self.page.get_by_role("grid").locator(".row")

    def row(self, name: str):
        return self.rows().filter(has=self.page.get_by_text(name, exact=True))

    def toast(self, text: str):
        return self.page.locator(".toast").filter(has_text=text)

    async def open(self) -> None:
        await self.page.add_init_script(
            "document.addEventListener('securitypolicyviolation', (event) =>"
            " console.error('policy: ' + event.violatedDirective + ' ' + event.blockedURI))"
        )
        await self.page.goto(self._origin + self.view)

    async def sign_in(self, token: str | None = None) -> None:
        await self.page.get_by_label("Token", exact=True).fill(
            self.hub.admin_token if token is None else token
        )
        await self.page.get_by_role("button", name="Sign in").click()
        await expect(self.page.locator("#link")).to_have_text("Live")

    async def menu(self, name: str, action: str) -> None:
        await self.row(name).get_by_role("button", name="Actions").click()
        await self.page.get_by_role("menuitem", name=action).click()

    async def shot(self, name: str, *, full_page: bool = False) -> Path:
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        path = ARTIFACTS / f"{name}.png"
        await self.page.screenshot(path=path, full_page=full_page)
        return path

    def check(self) -> None:
        """Raises AssertionError if the page had an error that the test does not tolerate."""
        unexpected = [
            fault
            for fault in self._faults
            if not any(tolerated in fault for tolerated in self.tolerated)
        ]
        assert not unexpected, unexpected

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._faults.append(f"{message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith(self._origin):
            self._faults.append(f"request to another origin: {request.url}")


@asynccontextmanager
async def screen(
    browser: Browser,
    hub: HubClient,
    *,
    width: int = 1440,
    height: int = 900,
    scheme: str = "light",
    view: str = "#/endpoints",
) -> AsyncIterator[Screen]:
    """Opens a view of the dashboard in a separate browser profile."""
    context = await browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, locale="en-GB"
    )
    shown = Screen(await context.new_page(), hub, view)
    try:
        await shown.open()
        yield shown
    finally:
        await context.close()
    shown.check()

"""A real browser, and a dashboard that is served to it; what the browser complains of fails the
test.
"""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import axe_playwright_python
import pytest
from playwright.async_api import Browser, BrowserContext, Page, Request, async_playwright

from soniq import Soniq
from soniq_dashboard.web import PERMISSIONS, Authorize, anyone
from soniq_dashboard.web.serve import listening, serve
from tests.support.processes import signal_self

ARGUMENTS = [
    "--no-sandbox",  # which root cannot have
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--host-resolver-rules=MAP *.test 127.0.0.1",
]
OPEN = "for (const each of document.querySelectorAll('details')) each.open = true"
"""Shows what is folded."""
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def program() -> str:
    """The browser of SONIQ_TEST_BROWSER, or the one that is installed."""
    found = os.environ.get("SONIQ_TEST_BROWSER") or next(
        filter(None, map(shutil.which, NAMES)), None
    )
    if found is None:
        pytest.skip("no chromium: install chromium-headless-shell, or set SONIQ_TEST_BROWSER")
    return found


@asynccontextmanager
async def opened() -> AsyncIterator[Browser]:
    """A browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program(), args=ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def served(app: Soniq, authorize: Authorize | None = None) -> AsyncIterator[str]:
    """The address at which a dashboard of an app is served."""
    await app.start()
    with listening("127.0.0.1", 0) as listens:
        up = asyncio.Event()
        serving = asyncio.create_task(
            serve(app, authorize or anyone(*PERMISSIONS), listens, ready=up.set)
        )
        await up.wait()
        try:
            yield f"http://localhost:{listens.getsockname()[1]}"
        finally:
            signal_self(signal.SIGTERM)
            await serving


@dataclass
class Watched:
    """A window of a browser, and what it complained of."""

    page: Page
    base: str
    complaints: list[str]

    async def go(self, path: str) -> None:
        await self.page.goto(self.base + path)

    async def scrolls_sideways(self) -> bool:
        return bool(
            await self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
        )


@asynccontextmanager
async def window(
    browser: Browser, base: str, *, width: int = 1440, **options: Any
) -> AsyncIterator[Watched]:
    """A window; afterwards nothing may be on the console, and nothing asked of another host."""
    context: BrowserContext = await browser.new_context(
        viewport={"width": width, "height": 900}, **options
    )
    page = await context.new_page()
    seen = Watched(page, base, [])

    def asked(request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(base).netloc:
            seen.complaints.append(f"asked for {request.url}")

    page.on("console", lambda message: seen.complaints.append(message.text))
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.on("request", asked)
    page.set_default_timeout(15_000)
    try:
        yield seen
        assert seen.complaints == [], seen.complaints
    finally:
        await context.close()


async def examine(
    browser: Browser, base: str, paths: Sequence[str], *, width: int, scheme: str
) -> None:
    """Look at pages: none complains, is wider than the window, or hard to read for somebody. What is
    said of pages that are not there is no complaint.
    """
    look: dict[str, Any] = {"width": width, "color_scheme": scheme}
    async with window(browser, base, **look) as seen:
        for path in paths:
            await seen.go(path)
            await seen.page.evaluate(OPEN)
            assert not await seen.scrolls_sideways(), path
        seen.complaints = [each for each in seen.complaints if "404" not in each]

    # axe is a script that the policy would refuse
    async with window(browser, base, bypass_csp=True, **look) as seen:
        for path in paths:
            await seen.go(path)
            await seen.page.evaluate(OPEN)
            await seen.page.evaluate(AXE)
            found = await seen.page.evaluate("axe.run().then(each => each.violations)")
            assert [(each["id"], each["nodes"][0]["html"]) for each in found] == [], path
        seen.complaints.clear()  # axe has some of its own

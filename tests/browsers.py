"""Debian's Chromium, driven by Playwright: what a page shows, asks for and complains of."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: apt-get install chromium")
LOOKS = [
    pytest.param("light", 1280, id="light-1280"),
    pytest.param("dark", 1280, id="dark-1280"),
    pytest.param("light", 400, id="light-400"),
    pytest.param("dark", 400, id="dark-400"),
]
"""Colour schemes and widths in pixels."""


@dataclass  # without slots, for Playwright marks the methods that it calls
class Seen:
    """What a page asked for, and what it complained of."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def serious(self) -> list[tuple[str, str]]:
        """What axe finds that keeps people out: rules, and where they are broken."""
        found = Axe().run(self.page).response["violations"]
        return [
            (each["id"], str(each["nodes"][0]["target"])) for each in found if each["impact"] in ("serious", "critical")
        ]

    def width_px(self) -> int:
        """Of what is shown: more than the window's where it scrolls sideways."""
        return int(self.page.evaluate("document.documentElement.scrollWidth"))


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; a container has no sandbox for it."""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def opened(browser: Browser, url: str, **context: Any) -> Seen:
    """A page at an address, in a context of its own."""
    seen = Seen(page=browser.new_context(**context).new_page())
    seen.page.on("request", lambda request: seen.requests.append(request.url))
    seen.page.on("console", seen.on_console)
    seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    seen.page.goto(url, wait_until="load")
    return seen


def file_url(path: Path) -> str:
    return path.resolve().as_uri()

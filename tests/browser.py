"""Chromium, driven by Playwright, and where its screenshots go."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
OUTPUT = Path(os.environ.get("GREENLIT_TEST_OUTPUT") or Path(__file__).parent.parent / ".work/test-output")
"""CI keeps this folder."""
_QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run",
]  # fmt: skip


@contextmanager
def browser_page() -> Iterator:
    """A page in a headless browser; the test skips where there is none."""
    if CHROMIUM is None:
        pytest.skip("needs chromium (`make browser` installs it)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_QUIET)
        page = browser.new_page(viewport={"width": 1280, "height": 1500})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def screenshot(page, name: str) -> None:
    """Keep what the page shows."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=OUTPUT / f"{name}.png")

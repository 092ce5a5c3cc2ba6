"""Retry pressed in the dashboard by a browser without a screen, and pictures of what it shows before and after."""

import shutil
from pathlib import Path
from typing import Any

from prefect.settings import PREFECT_API_URL
from rerun_theatre import Theatre

PATIENCE_MS = 240_000  # a busy machine is no failure
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip
SIZE = {"width": 1280, "height": 760}


def press_retry_in_browser(theatre: Theatre, pictures: Path) -> None:
    """Open the red segment's page, press Retry, confirm; wait for the film and look at it and at the episode.

    Raises: FileNotFoundError when there is no chromium, playwright's TimeoutError when the page is not as expected.
    """
    from playwright.sync_api import sync_playwright

    browser_path = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser_path is None:
        raise FileNotFoundError("chromium is not installed: apt-get install chromium")
    child = theatre.child
    assert child is not None
    root = str(PREFECT_API_URL.value()).removesuffix("/api")
    pictures.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=list(FLAGS))
        page = browser.new_page(viewport=SIZE)
        page.set_default_timeout(PATIENCE_MS)
        page.goto(f"{root}/runs/flow-run/{child.id}")
        page.get_by_text("Failed", exact=True).first.wait_for()
        retry = page.get_by_role("button", name="Retry", exact=True)
        retry.first.wait_for()
        shoot(page, pictures / "retry-before.png")
        retry.first.click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="Retry", exact=True).wait_for()
        shoot(page, pictures / "retry-asked.png")
        dialog.get_by_role("button", name="Retry", exact=True).click()
        theatre.until("a run that is on its way", lambda: theatre.child is None or theatre.child.state != "FAILED")
        page.goto("about:blank")  # the page draws all the time
        theatre.until_episode_is("COMPLETED")
        page.goto(f"{root}/runs/flow-run/{child.id}")
        page.get_by_text("Completed", exact=True).first.wait_for()
        shoot(page, pictures / "retry-after.png")
        page.goto(f"{root}/runs/flow-run/{theatre.parent}?tab=Artifacts")
        page.get_by_text("Completed", exact=True).first.wait_for()
        shoot(page, pictures / "retry-episode.png")
        browser.close()


def shoot(page: Any, path: Path) -> None:
    """Keep what the page shows once it has come to rest."""
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(1500)
    page.screenshot(path=str(path))

"""The page in a real browser, on a whole running system."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright, expect

from e2e.conftest import System
from tastytrades import runtime

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(240)]


def chromium() -> str:
    """The machine's Chromium; without one the test is skipped, in CI it fails."""
    names = (os.environ.get("TT_TEST_CHROMIUM") or "chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        message = "no Chromium: `make browser` installs it"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


@pytest.fixture
async def page(system: System) -> AsyncIterator[Page]:
    """A signed-in page; anything the console calls an error fails the test."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        page = await browser.new_page(viewport={"width": 1440, "height": 900})
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if "Content Security" in message.text else None)
        await page.goto(system.state.url)
        await page.get_by_test_id("login-user").fill("demo")
        await page.get_by_test_id("login-password").fill(runtime.secret(system.folder, "demo-password"))
        await page.get_by_test_id("login-submit").click()
        await expect(page.get_by_test_id("mode-badge")).to_have_text("SIM")
        yield page
        await browser.close()
        assert not faults


async def running(system: System) -> None:
    for row in system.get("/control/gate")["rows"]:
        if row["mode"] != "run":
            body = {"scope": row["scope"], "scope_value": row["scope_value"], "reason": "before the page is tried"}
            system.post("/control/resume", body)


async def test_a_candidate_shows_every_rule_with_value_and_limit(system: System, page: Page) -> None:
    """Log in, choose a candidate, read why it passed; a near miss says by how much it failed."""
    await running(system)
    rows = page.get_by_test_id("candidate-row")
    await expect(rows.first).to_be_visible(timeout=60_000)
    await rows.first.click()
    rules = page.get_by_test_id("rule-row")
    await expect(rules.first).to_be_visible()
    assert await rules.count() >= 9
    assert {await rule.get_attribute("data-passed") for rule in await rules.all()} == {"true"}
    await expect(page.get_by_test_id("payoff")).to_be_visible()
    await page.get_by_test_id("tab-near").click()
    await rows.first.click()
    await expect(page.locator("[data-testid=rule-row][data-passed=false]").first).to_be_visible()
    await expect(page.get_by_test_id("service-row")).to_have_count(7)
    await expect(page.get_by_test_id("gauge").first).to_be_visible()


async def test_stop_is_one_press_confirmed_by_the_server_and_resumed_with_a_reason(
    system: System, page: Page, tmp_path: Path
) -> None:
    """Press STOP, see it confirmed; resuming takes a reason and a typed word."""
    await running(system)
    await expect(page.get_by_test_id("stopped-panel")).to_have_count(0)
    await page.get_by_test_id("stop").click()
    await expect(page.get_by_test_id("stopped-panel")).to_be_visible(timeout=5_000)
    await expect(page.get_by_test_id("stopped-confirmed")).to_be_visible(timeout=20_000)
    assert any(row["mode"] == "cancel_working" for row in system.get("/control/gate")["rows"])
    assert not system.get("/orders", state="working")
    await page.screenshot(path=tmp_path / "stopped.png")
    await page.get_by_test_id("resume-reason").fill("the browser test is over")
    await page.get_by_test_id("resume-word").fill("RESUME")
    await page.get_by_test_id("resume-submit").click()
    await expect(page.get_by_test_id("stopped-panel")).to_have_count(0, timeout=10_000)
    assert all(row["mode"] == "run" for row in system.get("/control/gate")["rows"])


async def test_the_keyboard_stops_too(system: System, page: Page) -> None:
    await running(system)
    await page.keyboard.press("Control+Shift+Space")
    await expect(page.get_by_test_id("stopped-panel")).to_be_visible(timeout=5_000)
    await running(system)
    await expect(page.get_by_test_id("stopped-panel")).to_have_count(0, timeout=10_000)


async def test_a_trade_proposed_by_hand_becomes_an_order(system: System, page: Page) -> None:
    """Propose a candidate and find its order, with the controls that let it through."""
    await running(system)
    await page.get_by_test_id("tab-pass").click()
    await page.get_by_test_id("candidate-row").first.click()
    before = {order["intent_id"] for order in system.get("/orders") if order["source"] == "demo"}
    await page.get_by_test_id("propose").click()
    for _ in range(100):
        mine = [order for order in system.get("/orders") if order["source"] == "demo"]
        if {order["intent_id"] for order in mine} - before:
            break
        await page.wait_for_timeout(100)
    else:
        raise AssertionError("no order came of the proposal")
    assert any(len(order["rules"]) > 20 for order in mine)

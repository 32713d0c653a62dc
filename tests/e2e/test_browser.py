"""The consoles in a real Chromium: they fit, they live, they act, and they read without script."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

import chromium
from console_house import House, served
from console_stand import CLOCK, ORIGIN, Stand
from davy.fact.event import AlarmType
from davy.people import Place, Role

#: One browser and one loop for all of them; each test has tabs, cookies and a console of its own.
pytestmark = [pytest.mark.tool, pytest.mark.asyncio(loop_scope="module")]

#: Leaf elements whose text is wider than they are, where nothing says how it gives way.
OVERFLOWING = """[...document.querySelectorAll('main *, header *, nav *')].filter(e => {
  const s = getComputedStyle(e);
  return !e.children.length && e.textContent.trim() && e.clientWidth > 0 && s.display !== 'inline'
    && !e.closest('svg, .vh, script, [hidden], noscript, .scroll') && s.textOverflow !== 'ellipsis'
    && e.scrollWidth > e.clientWidth + 1;
}).map(e => e.className + ': ' + e.textContent.trim().slice(0, 60))"""
#: Text in a drawing that leaves it.
OUTSIDE = """[...document.querySelectorAll('svg.plot text, svg.lane text, svg.times text')].filter(e => {
  const t = e.getBoundingClientRect(), f = e.closest('.tg').getBoundingClientRect();
  return t.left < f.left - 1 || t.right > f.right + 1;
}).map(e => e.textContent)"""
WIDER_THAN_THE_SCREEN = "document.documentElement.scrollWidth - innerWidth"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[chromium.Chromium]:
    executable = chromium.find()
    if executable is None:
        pytest.skip("tool: chromium is not installed")
    async with chromium.started(executable) as found:
        yield found


async def enter(
    browser: chromium.Chromium, house: House, role: Role = Role.operator, language: str = "en"
) -> chromium.Page:
    """A tab that came in by the one-time link, as a person does."""
    page = await browser.page()
    await page.cookie(house.url, "davy-lang", language)
    token = house.app.state.console.door.enter_link(f"{role}-person", "Wei Lan", role)
    await page.go(f"{house.url}/link/{token}")
    page.loaded.clear()
    await page.click("main form button")
    await page.settled()
    return page


PAGES = ("/", "/alarms", "/points", "/points/2", "/points/18", "/black-box", "/people")


@pytest.mark.feature("F74")
async def test_no_page_overflows_at_any_size_theme_or_language(browser: chromium.Chromium, tmp_path: Path) -> None:
    wrong = []
    async with served(tmp_path) as house:
        for width, height, scheme, language in (
            (1366, 768, "light", "en"), (1366, 768, "dark", "zh"), (1920, 1080, "dark", "en"),
            (820, 1100, "light", "zh"),
        ):  # fmt: skip
            page = await enter(browser, house, Role.admin, language)
            await page.screen(width, height, scheme)
            for path in PAGES:
                await page.go(house.url + path)
                found = [*await page.run(OVERFLOWING), *await page.run(OUTSIDE)]
                if found or await page.run(WIDER_THAN_THE_SCREEN) > 0 or page.trouble:
                    wrong.append((width, language, path, found, page.trouble[:]))
    assert wrong == []


async def test_the_centre_fits_too(browser: chromium.Chromium, tmp_path: Path) -> None:
    async with served(tmp_path, Place.centre) as house:
        for index in range(7):
            other = Stand(
                tmp_path, f"davy/site-{index}/bb1", {"en": f"Long-named Petrochemical Works {index}"}, calm=True
            )
            house.stand.tell(other.snapshot())
        page = await enter(browser, house, Role.inspector)
        await page.screen(1366, 768)
        for path in ("/", f"/sites/{ORIGIN}/", f"/sites/{ORIGIN}/alarms", f"/sites/{ORIGIN}/points/2"):
            await page.go(house.url + path)
            assert await page.run(OVERFLOWING) == [] and await page.run(WIDER_THAN_THE_SCREEN) <= 0
        assert page.trouble == []


@pytest.mark.feature("F10")
async def test_values_ages_and_alarms_move_without_a_reload(browser: chromium.Chromium, tmp_path: Path) -> None:
    async with served(tmp_path) as house:
        page = await enter(browser, house)
        await page.run("window.same = true")
        house.stand.values[0] = 66.6
        house.stand.push_latest([0])
        await page.until("document.querySelector('.tile[data-tag=\"0\"] .n').innerText === '66.6'")
        first = await page.text('.tile[data-tag="1"] .age')
        await page.until(f"document.querySelector('.tile[data-tag=\"1\"] .age').innerText !== {first!r}")
        house.stand.status[3] = 0x808A0000
        house.stand.push_latest([3])
        await page.until("document.querySelector('.tile[data-tag=\"3\"]').className.includes('q-bad')")
        assert await page.text('.tile[data-tag="3"] .n') == "—"
        if not await page.run("!!window.htmx"):
            return  # built without the npm assets: lists renew with the page, values have just been seen to live
        house.stand.raise_alarm(4, AlarmType.high, 2, 90.0, CLOCK.now_us())
        await page.until("document.querySelector('#list').innerText.includes('T105.LEVEL')")
        await page.until("document.querySelector('.tile[data-tag=\"4\"]').className.includes('al1')")
        assert await page.run("document.querySelector('#tally .n').innerText.trim()") == "2"
        assert "Tank 105 level high-high" in await page.run("document.getElementById('shout').textContent")
        assert await page.run("window.same") is True
        assert page.trouble == []


async def test_an_operator_acknowledges_by_one_key_and_sees_it_sealed(
    browser: chromium.Chromium, tmp_path: Path
) -> None:
    async with served(tmp_path) as house:
        page = await enter(browser, house)
        await page.go(house.url + "/alarms")
        await page.until("document.querySelector('#side h2').innerText.includes('T103.LEVEL')")
        await page.key("a")
        await page.until("document.querySelector('#side').innerText.includes('sealed in leaf')")
        await page.until("document.querySelector('#list tbody tr').innerText.includes('Acknowledged')")
        assert len(house.stand.acts) == 1
        await page.go(house.url + "/choose/keys/off?back=/alarms?alarm=104")
        await page.key("a")
        await asyncio.sleep(0.1)
        assert len(house.stand.acts) == 1


async def test_a_form_being_filled_in_is_not_pulled_from_under_the_hands(
    browser: chromium.Chromium, tmp_path: Path
) -> None:
    async with served(tmp_path) as house:
        page = await enter(browser, house)
        await page.go(house.url + "/alarms?alarm=152")
        await page.run("document.querySelector('#side details').open = true")
        await page.fill("#side details textarea", "bearing known")
        house.stand.raise_alarm(4, AlarmType.high, 2, 90.0, CLOCK.now_us())
        if await page.run("!!window.htmx"):
            await page.until("document.querySelector('#list').innerText.includes('T105.LEVEL')")
        assert await page.run("document.querySelector('#side details textarea').value") == "bearing known"
        page.loaded.clear()
        await page.click("#side details form button")
        await page.settled()
        await page.until("document.querySelector('#side').innerText.includes('Shelved')")
        assert house.stand.acts[-1]["reason"] == "bearing known"


async def test_everything_reads_and_acts_without_script(browser: chromium.Chromium, tmp_path: Path) -> None:
    async with served(tmp_path) as house:
        page = await enter(browser, house)
        await page.scripts(False)
        for path, words in (
            ("/", "Tank 103 level is above"),
            ("/points/2", "Limits in force"),
            ("/alarms", "Unacknowledged"),
        ):
            await page.go(house.url + path)
            assert words in await page.text("main")
        assert await page.run("document.querySelectorAll('svg.plot path.ln').length") == 0
        page.loaded.clear()
        await page.run("document.querySelector('#side form.act').submit()")
        await page.settled()
        assert "sealed in leaf" in await page.text("#side")
        assert len(house.stand.acts) == 1


@pytest.mark.feature("F10")
async def test_a_dead_stream_is_said_and_ages_go_on(browser: chromium.Chromium, tmp_path: Path) -> None:
    async with served(tmp_path) as house:
        page = await enter(browser, house)
        house.stand.push_latest()
        house.stand.fall()
        await page.until("document.getElementById('offline').innerText.includes('Screen cut off for')", 90)
        house.stand.rise()
        await page.until("document.getElementById('offline').hidden", 90)


async def test_the_cursor_reads_the_trend_out(browser: chromium.Chromium, tmp_path: Path) -> None:
    async with served(tmp_path) as house:
        page = await enter(browser, house)
        await page.go(house.url + "/points/2")
        await page.run("""(() => {
          const plot = document.querySelector('svg.plot'), box = plot.getBoundingClientRect();
          const at = {bubbles: true, clientX: box.left + box.width * 0.9, clientY: 300};
          plot.dispatchEvent(new PointerEvent('pointermove', at));
        })()""")
        told = await page.text(".cur-t")
        assert "%" in told and told.count(":") == 2
        assert np.isfinite(float(told.split()[1]))
        await page.key("ArrowLeft")
        assert await page.text(".cur-t") != told
        assert page.trouble == []

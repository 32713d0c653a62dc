"""Both consoles as processes see them: real sockets, a real server, a real client; no browser."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from console_house import House, served, until
from console_stand import CLOCK, ORIGIN, Stand
from davy import console
from davy.fact.event import AlarmType, State, Verb
from davy.people import Place, Role

PASSWORD = "correct horse battery"
T103, GAS2, LATCHED, SHELVED = 2 * 8, 13 * 8, 16 * 8, 20 * 8


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with served(tmp_path) as found:
        yield found


@pytest.fixture
async def centre(tmp_path: Path) -> AsyncIterator[House]:
    async with served(tmp_path, Place.centre) as found:
        yield found


def csrf(html: str) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', html)
    assert found is not None
    return found[1]


async def act(client: httpx.AsyncClient, alarm: int, **form: Any) -> httpx.Response:
    page = await client.get("/alarms", params={"alarm": alarm})
    return await client.post(f"/alarms/{alarm}/acts", data={"csrf": csrf(page.text), **form}, follow_redirects=True)


SITE = f"/sites/{ORIGIN}"


# ---- pages


@pytest.mark.feature("F10")
@pytest.mark.parametrize("path", ["/", "/alarms", "/points", "/points/2", "/points/22", "/black-box", "/people"])
async def test_every_page_is_whole_html_without_inline_script_or_style(house: House, path: str) -> None:
    async with house.signed_in(Role.admin) as client:
        answer = await client.get(path)
    assert answer.status_code == 200
    assert re.search(r"\sstyle=|\son\w+=|<style|<script>(?!\[)", answer.text) is None
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    for header in ("x-content-type-options", "x-frame-options", "referrer-policy"):
        assert header in answer.headers
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers


async def test_the_wall_says_the_worst_first_and_gives_every_value_an_age_and_a_quality(house: House) -> None:
    async with house.signed_in() as client:
        html = (await client.get("/")).text
    assert "Tank 103 level is above its high-high limit (91.3 %)" in html
    tiles = re.findall(r'<a class="tile ([^"]*)".*?</a>', html, re.DOTALL)
    assert len(tiles) == len(house.stand.tags)
    assert html.count("data-taken") >= len(tiles)
    by_tag = {
        m[1]: m[0] for m in re.finditer(r'<a class="tile [^"]*" href="[^"]*" data-tag="(\d+)">.*?</a>', html, re.DOTALL)
    }
    assert "q-bad hatch" in by_tag["9"] and "no connection" in by_tag["9"] and ">—<" in by_tag["9"]
    assert "q-stale" in by_tag["5"] and "old" in by_tag["5"]
    assert "shelved, 2" in by_tag["20"]


async def test_the_badge_and_the_sentence_say_what_the_county_holds(house: House) -> None:
    async with house.signed_in() as client:
        html = (await client.get("/black-box")).text
    assert re.search(r"Everything before \d\d:\d\d:\d\d is held by the county\.", html)
    assert "3 entries" in html and f"{house.stand.index:,}" in html


@pytest.mark.feature("F74")
async def test_both_languages_by_the_browser_and_by_choice(house: House) -> None:
    async with house.signed_in() as client:
        chinese = (await client.get("/", headers={"Accept-Language": "zh-CN,zh;q=0.9"})).text
        assert '<html lang="zh-CN"' in chinese and "103罐液位超过高高限" in chinese
        chosen = await client.get("/choose/lang/zh", params={"back": "/alarms"}, follow_redirects=True)
        assert chosen.url.path == "/alarms" and "未确认" in chosen.text
        assert (await client.get("/choose/lang/xx")).status_code == 404
        away = await client.get("/choose/lang/en", params={"back": "//evil.example/"})
        assert away.headers["location"] == "/"


async def test_a_trend_has_its_table_and_its_csv(house: House) -> None:
    async with house.signed_in() as client:
        html = (await client.get("/points/2", params={"range": 3600})).text
        assert 'class="ch plot"' in html and "high-high ≥ 90" in html and 'class="gap"' in html
        assert html.count("<tr>") > 300
        csv = (await client.get("/points/2/csv")).text.splitlines()
        assert csv[0] == "tag,unit,time,min,avg,max,readings,good"
        assert re.fullmatch(r"T103\.LEVEL,%,20\d\d-\d\d-\d\dT[\d:.]+Z(,[-\d.e]+){3},\d+,\d+", csv[1])
        assert (await client.get("/points/2", params={"range": 7})).status_code == 422
        assert (await client.get("/points/999")).status_code == 404


async def test_a_page_lives_on_when_the_history_does_not(house: House) -> None:
    for server in house.stand._servers[1:]:
        server.close()
    house.stand.history_path.unlink(missing_ok=True)
    async with house.signed_in() as client:
        answer = await client.get("/points/2")
    assert answer.status_code == 200
    assert "The history does not answer" in answer.text and "91.3" in answer.text


# ---- people


async def test_nobody_sees_anything_before_signing_in(house: House) -> None:
    async with house.stranger() as client:
        for path in ("/", "/alarms", "/points/2", "/black-box", "/people"):
            answer = await client.get(path)
            assert answer.status_code == 303 and answer.headers["location"].startswith("/sign-in?next=")
        for path in ("/api/v1/latest", "/api/v1/alarms", "/api/v1/events", "/api/v1/history?tag=0&t0=0&t1=9"):
            answer = await client.get(path)
            assert answer.status_code == 401
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["reason"] == "not_allowed"


@pytest.mark.feature("F74")
async def test_the_first_admin_comes_in_by_the_one_time_link_and_signs_in_by_password_after(house: House) -> None:
    address = console.first_link(house.app, house.server.port)  # type: ignore[attr-defined]
    assert address is not None
    file = house.config.first_link
    assert file.read_text().strip() == address and file.stat().st_mode & 0o777 == 0o600
    path = address.removeprefix(house.url)
    async with house.stranger() as client:
        page = await client.get(path)
        assert "You are the first administrator" in page.text
        assert (await client.get(path)).status_code == 200, "looking does not use it up"
        form = {"csrf": csrf(page.text), "login": "wei", "name": "Wei Lan", "password": "short"}
        refused = await client.post(path, data=form)
        assert refused.status_code == 422 and "expected 10 to" in refused.text and 'value="wei"' in refused.text
        answer = await client.post(path, data=form | {"password": PASSWORD})
        assert answer.status_code == 303
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=lax" in cookie and "secure" not in cookie
        assert (await client.get("/people")).status_code == 200
    assert not file.exists()
    assert console.first_link(house.app) is None
    async with house.stranger() as client:
        assert (await client.get(path)).status_code == 410
        page = await client.get("/sign-in", params={"next": "/alarms"})
        wrong = await client.post("/sign-in", data={"csrf": csrf(page.text), "login": "wei", "password": "x" * 12})
        assert wrong.status_code == 401 and "Login or password is wrong" in wrong.text
        right = await client.post(
            "/sign-in", data={"csrf": csrf(page.text), "login": "wei", "password": PASSWORD, "next": "/alarms"}
        )
        assert right.status_code == 303 and right.headers["location"] == "/alarms"


def test_behind_tls_cookies_are_secure_and_bound_to_the_host(tmp_path: Path) -> None:
    config = console.ConsoleConfig(
        place=Place.edge, feed=tmp_path / "f", history=tmp_path / "h", people=tmp_path / "p.db", run=tmp_path,
        secure_cookies=True,
    )  # fmt: skip
    assert config.cookie.startswith("__Host-davy-")
    app = console.build(config, CLOCK)
    app.state.console.door.store.close()


async def test_a_form_without_its_sessions_token_changes_nothing(house: House) -> None:
    async with house.signed_in() as client, house.signed_in(Role.manager) as other:
        foreign = csrf((await other.get("/alarms")).text)
        for token in ("", "0" * 64, foreign):
            data = {"csrf": token, "verb": "acknowledge", "version": 2}
            answer = await client.post(f"/alarms/{T103}/acts", data=data)
            assert answer.status_code == 403 and "Nothing was changed" in answer.text
        cross = await client.post(
            "/sign-out", data={"csrf": csrf((await client.get("/")).text)}, headers={"Sec-Fetch-Site": "cross-site"}
        )
        assert cross.status_code == 403
        api = {"alarm": T103, "verb": "acknowledge", "version": 2}
        assert (await client.post("/api/v1/acts", json=api)).status_code == 403
        assert (await client.get("/")).status_code == 200
    assert house.stand.acts == []


async def test_signing_out_ends_the_session_everywhere(house: House) -> None:
    async with house.signed_in() as client:
        token = client.cookies[house.config.cookie]
        await client.post("/sign-out", data={"csrf": csrf((await client.get("/")).text)})
        answer = await client.get("/", cookies=None, headers={"Cookie": f"{house.config.cookie}={token}"})
        assert answer.status_code == 303


async def test_an_admin_invites_and_nobody_else_does(house: House) -> None:
    async with (
        house.signed_in(Role.admin) as admin,
        house.signed_in(Role.operator) as operator,
        house.stranger() as new,
    ):
        assert (await operator.get("/people")).status_code == 403
        page = await admin.get("/people")
        made = await admin.post("/people/invite", data={"csrf": csrf(page.text), "role": "viewer"})
        found = re.search(r'id="invited">http://[^/]+(/link/[0-9a-f]{64})<', made.text)
        assert found is not None
        form = {"csrf": csrf((await new.get(found[1])).text), "login": "liu", "name": "Liu Yang", "password": PASSWORD}
        assert (await new.post(found[1], data=form)).status_code == 303
        assert "Your role, viewer, may look but not act" in (await new.get(f"/alarms?alarm={T103}")).text
        person = house.app.state.console.door.store.person_by_login("liu")
        token = csrf((await admin.get("/people")).text)
        await admin.post(f"/people/{person.uid}/active", data={"csrf": token, "active": "0"})
        assert (await new.get("/")).status_code == 303


async def test_too_large_a_body_is_refused(house: House) -> None:
    async with house.stranger() as client:
        answer = await client.post("/sign-in", data={"csrf": "x" * 100_000})
        assert answer.status_code == 413


# ---- acts


@pytest.mark.feature("F37")
async def test_an_acknowledgement_is_done_once_it_has_its_leaf(house: House) -> None:
    async with house.signed_in() as client:
        answer = await act(client, T103, verb="acknowledge", version=3)
        leaf = house.stand.index
        assert answer.status_code == 200
        assert "Acknowledged</b>, sealed in leaf" in answer.text and f"{leaf:,}" in answer.text
    [sent] = house.stand.acts
    assert sent["verb"] == Verb.acknowledge and sent["role"] == "operator"
    assert re.fullmatch(r"p:[0-9a-f-]{36}", sent["actor"])


async def test_an_act_that_is_not_sealed_yet_says_so(house: House) -> None:
    house.stand.slow.clear()
    async with house.signed_in() as client:
        answer = await act(client, T103, verb="acknowledge", version=3)
        assert "Sent, not yet sealed" in answer.text
        assert "sealed in leaf" not in answer.text
        house.stand.slow.set()
        await until(lambda: house.app.state.console.acts.last(T103).leaf is not None)
        html = (await client.get("/alarms", params={"alarm": T103})).text
        assert "sealed in leaf" in html and "Sent, not yet sealed" not in html


async def test_shelving_asks_for_a_reason_and_a_time_and_shows_both(house: House) -> None:
    async with house.signed_in() as client:
        refused = await act(client, 19 * 8, verb="timed_shelve", version=2, minutes=30, reason="  ")
        assert refused.status_code == 422 and "expected a reason" in refused.text
        odd = await act(client, 19 * 8, verb="timed_shelve", version=2, minutes=100_000, reason="Bearing known")
        assert odd.status_code == 422 and "Bearing known" in odd.text, "what was typed is kept"
        done = await act(client, 19 * 8, verb="timed_shelve", version=2, minutes=30, reason="Bearing known")
        assert "Shelved</b>, sealed in leaf" in done.text and "“Bearing known”" in done.text
        listed = (await client.get("/alarms", params={"tab": "shelved"})).text
        assert "PM-14.VIB" in listed
    assert house.stand.acts[-1]["until"] > CLOCK.now_us()
    assert house.stand.fold.live[19 * 8].state & State.shelved


@pytest.mark.feature("F10")
async def test_a_statutory_alarm_offers_no_shelving_and_refuses_it(house: House) -> None:
    async with house.signed_in(Role.manager) as client:
        page = (await client.get("/alarms", params={"alarm": GAS2})).text
        assert 'name="minutes"' not in page and "Statutory: shelving it needs two persons" in page
        refused = await act(client, GAS2, verb="timed_shelve", version=1, minutes=30, reason="please")
        assert refused.status_code == 403 and "Your role may not do this" in refused.text
    assert house.stand.acts == []


async def test_a_stale_version_is_refused_with_the_difference(house: House) -> None:
    async with house.signed_in() as client:
        answer = await act(client, T103, verb="add_comment", version=1, reason="typed already")
        assert answer.status_code == 409
        assert "you saw version 1, it is now version 3" in answer.text and "typed already" in answer.text


async def test_a_latched_alarm_is_reset_and_gone(house: House) -> None:
    async with house.signed_in() as client:
        answer = await act(client, LATCHED, verb="reset", version=3)
        await until(lambda: LATCHED not in house.app.state.console.feed.picture(None).alarms)
        answer = await client.get("/alarms", params={"alarm": LATCHED})
        assert "This alarm is back to normal" in answer.text and "Reset</b>, sealed in leaf" in answer.text
        gone = await client.post(
            f"/alarms/{LATCHED}/acts", data={"csrf": csrf(answer.text), "verb": "reset", "version": 4}
        )
        assert gone.status_code == 404


@pytest.mark.feature("F10")
async def test_nothing_at_a_centre_can_act_on_an_alarm(centre: House) -> None:
    async with centre.signed_in(Role.admin) as client:
        token = csrf((await client.get("/people")).text)
        data = {"csrf": token, "verb": "acknowledge", "version": 3}
        for path in (f"{SITE}/alarms/{T103}/acts", f"/alarms/{T103}/acts"):
            assert (await client.post(path, data=data)).status_code in (404, 405)
        body = {"alarm": T103, "verb": "acknowledge", "version": 3}
        answer = await client.post("/api/v1/acts", json=body, headers={"X-CSRF-Token": token})
        assert answer.status_code == 404
        html = (await client.get(f"{SITE}/alarms", params={"alarm": T103})).text
        assert "Seen from here, acted on at the site" in html
        assert "/acts" not in html
    assert centre.stand.acts == []


# ---- the centre


async def test_a_centre_opens_on_its_sites_and_leads_to_each(centre: House) -> None:
    async with centre.signed_in(Role.inspector) as client:
        html = (await client.get("/")).text
        assert "1 of 1 sites need a look: Harbour Chemicals" in html
        assert f'href="{SITE}/"' in html
        for path in ("/", "/alarms", "/points", "/points/2", "/black-box"):
            assert (await client.get(SITE + path)).status_code == 200
        assert (await client.get("/sites/no/such/box/")).status_code == 404


async def test_a_centre_hears_of_a_new_site_while_it_runs(centre: House, tmp_path: Path) -> None:
    other = Stand(tmp_path / "b", "davy/north/bb1", {"en": "North Colliery"}, calm=True)
    centre.stand.tell(other.snapshot())
    async with centre.signed_in() as client:
        await until(lambda: len(centre.app.state.console.feed.pictures) == 2)
        html = (await client.get("/")).text
        assert "North Colliery" in html and "Quiet, data live" in html
        items = (await client.get("/api/v1/sites")).json()["items"]
        assert [i["origin"] for i in items] == [ORIGIN, "davy/north/bb1"]
        assert (await client.get("/api/v1/latest")).status_code == 404, "which of the two?"
        latest = (await client.get("/api/v1/latest", params={"origin": "davy/north/bb1"})).json()
        assert latest["origin"] == "davy/north/bb1"


# ---- the API


async def test_latest_gives_values_with_quality_and_pages_by_cursor(house: House) -> None:
    async with house.signed_in() as client:
        answer = await client.get("/api/v1/latest", params={"limit": 10})
        body = answer.json()
        assert len(body["items"]) == 10 and body["next"] == 9
        rest = (await client.get("/api/v1/latest", params={"limit": 100, "after": body["next"]})).json()
        assert len(rest["items"]) == len(house.stand.tags) - 10 and rest["next"] is None
        first = body["items"][2]
        assert (first["name"], first["value"], first["unit"], first["quality"]) == ("T103.LEVEL", 91.3, "%", "good")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["source_time"])
        same = await client.get(
            "/api/v1/latest", params={"limit": 10}, headers={"If-None-Match": answer.headers["etag"]}
        )
        assert same.status_code == 304
        assert (await client.get("/api/v1/latest", params={"tag": 999})).json()["reason"] == "unknown_target"
        assert (await client.get("/api/v1/latest", params={"limit": 0})).json()["reason"] == "bad_request"


async def test_the_api_acts_once_for_one_key(house: House) -> None:
    async with house.signed_in() as client:
        headers = {"X-CSRF-Token": csrf((await client.get("/")).text), "Idempotency-Key": "k1"}
        body = {"alarm": T103, "verb": "acknowledge", "version": 3}
        one = await client.post("/api/v1/acts", json=body, headers=headers)
        two = await client.post("/api/v1/acts", json=body, headers=headers)
        assert one.status_code == 201 and one.json() == two.json()
        assert len(house.stand.acts) == 1
        late = await client.post("/api/v1/acts", json=body, headers=headers | {"Idempotency-Key": "k2"})
        assert late.status_code == 409 and late.json()["reason"] == "stale_version"
        extra = await client.post("/api/v1/acts", json=body | {"force": True}, headers=headers)
        assert extra.status_code == 422


async def test_history_by_the_api(house: House) -> None:
    now = CLOCK.now_us()
    async with house.signed_in() as client:
        query = {"tag": 2, "t0": now - 60_000_000, "t1": now, "n": 12}
        items = (await client.get("/api/v1/history", params=query)).json()["items"]
        assert len(items) == 12
        assert items[0]["min"] <= items[0]["avg"] <= items[0]["max"]
        assert (await client.get("/api/v1/history", params=query | {"t1": 0})).status_code == 422


# ---- the live stream


async def events(answer: httpx.Response) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    name = ""
    async for line in answer.aiter_lines():
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            yield name, json.loads(line[6:])


async def test_the_stream_tells_values_alarms_and_checkpoints(house: House) -> None:
    async with (
        asyncio.timeout(90),
        house.signed_in() as client,
        client.stream("GET", "/api/v1/events", params={"tags": "0,2"}) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        heard = events(answer)
        name, data = await anext(heard)
        assert name == "log.checkpoint" and data["size"] == house.stand.index and not data["exposed"]
        house.stand.values[:] = 88.8
        house.stand.push_latest()
        house.stand.raise_alarm(3, AlarmType.high, 1, 85.0, CLOCK.now_us())
        house.stand.push_checkpoint(behind_s=60)
        seen: dict[str, dict[str, Any]] = {}
        async for name, data in heard:
            seen[name] = data
            if {"reading.latest", "alarm.transition"} <= seen.keys() and seen.get("log.checkpoint", {}).get("exposed"):
                break
    assert [(i["tag"], i["text"], i["quality"]) for i in seen["reading.latest"]["items"]] == [
        (0, "88.8", "good"),
        (2, "88.8", "good"),
    ]
    assert seen["alarm.transition"]["annunciates"]
    assert seen["alarm.transition"]["alarm"]["words"] == "Tank 104 level high"


async def test_a_pages_stream_begins_with_what_moved_since_the_page_was_made(house: House) -> None:
    async with asyncio.timeout(90), house.signed_in() as client:
        made = re.search(r'data-moves="(\d+)"', (await client.get("/")).text)
        house.stand.values[2] = 77.7
        house.stand.push_latest([2])
        house.stand.raise_alarm(3, AlarmType.high, 1, 85.0, CLOCK.now_us())
        await until(lambda: 3 * 8 in house.app.state.console.feed.picture(None).alarms)
        query = {"origin": ORIGIN, "tags": "2"}
        async with client.stream("GET", "/api/v1/events", params=query) as answer:
            heard = events(answer)
            name, state = await anext(heard)
            assert made is not None and state["moves"] == int(made[1]) + 1
            name, data = await anext(heard)
            assert name == "reading.latest" and [i["text"] for i in data["items"]] == ["77.7"]


async def test_a_quiet_stream_still_beats(house: House) -> None:
    async with house.signed_in() as client, asyncio.timeout(90), client.stream("GET", "/api/v1/events") as answer:
        heard = events(answer)
        assert [(await anext(heard))[0] for _ in range(2)] == ["log.checkpoint"] * 2


@pytest.mark.feature("F10")
async def test_a_lost_core_ends_the_streams_and_every_page_says_so(house: House) -> None:
    async with house.signed_in() as client, asyncio.timeout(90):
        async with client.stream("GET", "/api/v1/events") as answer:
            house.stand.fall()
            async for _ in answer.aiter_lines():
                pass
        assert (await client.get("/api/v1/events")).status_code == 503
        html = (await client.get("/")).text
        assert "Console cut off from the core since" in html and "91.3" in html
        refused = await act(client, T103, verb="acknowledge", version=3)
        assert refused.status_code == 503 and "The core did not answer" in refused.text
        house.stand.rise()
        await until(lambda: house.app.state.console.feed.connected)
        assert "Console cut off" not in (await client.get("/")).text


async def test_an_open_stream_does_not_hold_up_the_stop(house: House) -> None:
    async with house.signed_in() as client, asyncio.timeout(90), client.stream("GET", "/api/v1/events") as answer:
        house.server.should_exit = True
        async for _ in answer.aiter_lines():
            pass


async def test_stray_addresses_read_as_pages_or_as_problems(house: House) -> None:
    async with house.signed_in() as client:
        page = await client.get("/nope")
        assert page.status_code == 404 and "There is nothing at this address" in page.text
        api = await client.get("/api/v1/nope")
        assert api.status_code == 404 and api.json()["reason"] == "unknown_target"
        assert (await client.get("/static/../people.db")).status_code == 404
        assert (await client.get("/static/console.css")).status_code == 200

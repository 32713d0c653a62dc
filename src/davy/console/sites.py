"""The centre's first page: every site it hears of, the abnormal first."""

from dataclasses import dataclass

from fastapi import APIRouter
from fastapi.responses import Response

from davy.clock import SECOND
from davy.console import numbers, quality, view
from davy.console.picture import Picture
from davy.console.visit import SignedIn, site_path

#: A site without a reading for this long is silent (design default).
SILENT_AFTER = 30 * SECOND

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Site:
    """One card. kind: "alarm", "silent", "doubt" or "quiet", in that order of urgency."""

    picture: Picture
    name: str
    path: str
    kind: str
    worst: view.AlarmRow | None
    tally: dict[int, tuple[int, int]]
    words: str
    newest: str
    untrusted: int


_ORDER = ("alarm", "silent", "doubt", "quiet")


def card(picture: Picture, s: view.Scope) -> Site:
    """One site's card."""
    t = s.t
    listed = view.tab(picture, "active")
    kinds = [quality.judge(tag, picture.latest(tag.index), s.now).kind for tag in picture.tags.tags]
    untrusted = sum(kind in ("bad", "stale") for kind in kinds)
    quiet_for = s.now - picture.newest
    worst = view.row(picture, listed[0], s) if listed else None
    if picture.newest == 0 or quiet_for > SILENT_AFTER:
        kind = "silent" if worst is None else "alarm"
    else:
        kind = "alarm" if worst else "doubt" if untrusted else "quiet"
    if kind == "alarm" and worst is not None:
        words = t("site_alarms_1" if len(listed) == 1 else "site_alarms", n=len(listed), name=worst.title)
    elif kind == "silent":
        words = t("site_silent", age=numbers.span(quiet_for) if picture.newest else "—")
    elif kind == "doubt":
        words = t("site_untrusted", n=untrusted, all=len(kinds))
    else:
        words = t("site_quiet")
    name = t.pick(picture.site.get("name"), picture.origin)
    newest = numbers.age(quiet_for) if picture.newest else "—"
    return Site(picture, name, site_path(picture.origin), kind, worst, picture.tally(), words, newest, untrusted)


def _urgency(site: Site) -> tuple[int, int, str]:
    return _ORDER.index(site.kind), site.worst.alarm.priority if site.worst else 9, site.name


@router.get("/")
async def sites(here: SignedIn) -> Response:
    """Where, and how bad?"""
    s = here.scope
    cards = sorted((card(p, s) for p in here.console.feed.pictures.values()), key=_urgency)
    loud = [c for c in cards if c.kind != "quiet"]
    if not cards:
        say = s.t("say_no_sites")
    elif loud:
        say = s.t("say_sites", n=len(loud), all=len(cards), names=view.names([c.name for c in loud], s.t))
    else:
        say = s.t("say_sites_calm", n=len(cards))
    return here.page("sites.html", crumb="sites", cards=cards, sentence=say, worst=loud[0] if loud else None)

"""Coming in and going out: sign-in, one-time links, sign-out, and the people page."""

import asyncio
import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from davy.clock import SECOND
from davy.console.visit import THEMES, Anyone, SignedIn, Visit, Writing, WrongForm, local_path
from davy.console.words import LANGUAGES
from davy.errors import BadRequest, NotAllowed, UnknownTarget
from davy.people import Role, Session, SignInFailed
from davy.people.door import SESSION_LIFE, csrf_matches, csrf_of

YEAR = 365 * 86_400
Text = Annotated[str, Form()]

router = APIRouter(include_in_schema=False)


def _let_in(here: Visit, session: Session, to: str) -> Response:
    answer = RedirectResponse(to, 303)
    config = here.console.config
    answer.set_cookie(
        config.cookie,
        session.token,
        max_age=SESSION_LIFE // SECOND,
        path="/",
        secure=config.secure,
        httponly=True,
        samesite="lax",
    )
    return answer


def _before(here: Visit) -> tuple[str, str]:
    """(cookie name, token) that ties a form to this browser before anybody is signed in."""
    name = f"{here.console.config.cookie}-form"
    held = here.request.cookies.get(name, "")
    return name, held if len(held) == 64 else secrets.token_hex(32)


def _form(here: Visit, template: str, *, status: int = 200, **values: Any) -> Response:
    name, token = _before(here)
    answer = here.page(template, status=status, csrf=csrf_of(token), **values)
    answer.set_cookie(
        name, token, max_age=86_400, path="/", secure=here.console.config.secure, httponly=True, samesite="strict"
    )
    return answer


def _check(here: Visit, sent: str) -> None:
    name, _ = _before(here)
    if not csrf_matches(here.request.cookies.get(name, ""), sent):
        raise WrongForm("the form's token does not fit this browser")


@router.get("/sign-in")
async def sign_in_page(here: Anyone, next: str = "/") -> Response:
    if here.session is not None:
        return RedirectResponse(local_path(next), 303)
    return _form(here, "sign-in.html", next=local_path(next), login="", fault="")


@router.post("/sign-in")
async def sign_in(here: Anyone, csrf: Text, login: Text = "", password: Text = "", next: Text = "/") -> Response:
    _check(here, csrf)
    address = here.request.client.host if here.request.client else ""
    try:
        session = await asyncio.to_thread(here.console.door.sign_in, login, password, address)
    except SignInFailed as failed:
        seconds = -(-failed.wait_us // SECOND)
        fault = here.words("sign_in_wait", n=seconds) if seconds else here.words("sign_in_failed")
        return _form(here, "sign-in.html", status=401, next=local_path(next), login=login, fault=fault)
    return _let_in(here, session, local_path(next))


@router.post("/sign-out")
async def sign_out(here: Writing) -> Response:
    assert here.session is not None
    here.console.door.sign_out(here.session.token)
    answer = RedirectResponse("/sign-in", 303)
    answer.delete_cookie(here.console.config.cookie, path="/", secure=here.console.config.secure, httponly=True)
    return answer


@router.get("/link/{token}")
async def link_page(here: Anyone, token: str) -> Response:
    """What the link would do. Looking at it does not use it up: browsers and chats fetch ahead."""
    return _link(here, token)


def _link(here: Visit, token: str, *, status: int = 200, fault: str = "", login: str = "", name: str = "") -> Response:
    link = here.console.door.link(token)
    person = here.console.door.store.person(link.uid) if link and link.purpose == "enter" else None
    return _form(
        here, "link.html", status=status if link else 410, link=link, person=person, fault=fault, login=login, name=name
    )


@router.post("/link/{token}")
async def use_link(
    here: Anyone, token: str, csrf: Text, login: Text = "", name: Text = "", password: Text = ""
) -> Response:
    _check(here, csrf)
    door = here.console.door
    link = door.link(token)
    try:
        if link is not None and link.purpose == "enter":
            session = await asyncio.to_thread(door.enter, token)
        else:
            session = await asyncio.to_thread(door.enrol, token, login, name, password)
    except SignInFailed:
        return _link(here, token, status=410)
    except BadRequest as error:
        fault = here.words("not_taken", detail=str(error))
        return _link(here, token, status=422, fault=fault, login=login, name=name)
    if link is not None and link.purpose == "first":
        here.console.config.first_link.unlink(missing_ok=True)
    return _let_in(here, session, "/")


_CHOICES = {"lang": LANGUAGES, "theme": (*THEMES, "auto"), "keys": ("on", "off")}


@router.get("/choose/{what}/{value}")
async def choose(here: Anyone, what: str, value: str, back: str = "/") -> Response:
    """Remember a language, a theme or the keys in this browser."""
    if value not in _CHOICES.get(what, ()):
        raise UnknownTarget(f"choice {what}/{value}: not one this console knows")
    answer = RedirectResponse(local_path(back), 303)
    answer.set_cookie(f"davy-{what}", value, max_age=YEAR, path="/", samesite="lax", httponly=True)
    return answer


def _admin(here: Visit) -> None:
    if not here.may("people"):
        raise NotAllowed(f"role {here.person.role} may not manage people")


def _people(here: Visit, invited: str = "", role: str = "") -> Response:
    people = here.console.door.store.people()
    return here.page("people.html", crumb="people", people=people, roles=list(Role), invited=invited, role=role)


@router.get("/people")
async def people_page(here: SignedIn) -> Response:
    _admin(here)
    return _people(here)


@router.post("/people/invite")
async def invite(here: Writing, request: Request, role: Text) -> Response:
    _admin(here)
    if role not in Role.__members__:
        raise BadRequest(f"role: expected one of {', '.join(Role)}, got {role!r}")
    token = here.console.door.invite_link(Role(role))
    address = f"{request.url.scheme}://{request.url.netloc}/link/{token}"
    return _people(here, address, role)


@router.post("/people/{uid}/active")
async def set_active(here: Writing, uid: str, active: Text) -> Response:
    """Let a person in or keep them out. Nobody keeps themselves out: the last admin could not come back."""
    _admin(here)
    if uid == here.person.uid:
        raise BadRequest("people: expected somebody else, got yourself")
    if here.console.door.store.person(uid) is None:
        raise UnknownTarget(f"person {uid}: not known here")
    here.console.door.store.set_active(uid, active == "1")
    return RedirectResponse("/people", 303)

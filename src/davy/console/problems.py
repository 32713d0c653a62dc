"""What goes wrong, as an answer: RFC 9457 for the API, a page in words for people."""

import traceback
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from davy.console.visit import NotSignedIn, Visit, WrongForm
from davy.errors import DavyError

log = structlog.get_logger(room="console")

#: reason slug (errors.py) -> HTTP status; any other is 500.
STATUS = {
    "not_allowed": 403,
    "stale_version": 409,
    "unknown_target": 404,
    "bad_request": 422,
    "unreachable": 503,
    "link_down": 503,
    "disk_full": 503,
}
#: HTTP status -> reason slug, for what the framework itself refuses.
REASON = {401: "not_allowed", 403: "not_allowed", 404: "unknown_target", 405: "bad_request", 413: "bad_request"}
_WORDS = {403: "fault_403", 404: "fault_404", 405: "fault_404", 503: "fault_503", 500: "fault_500"}


def status_of(error: DavyError) -> int:
    return 401 if isinstance(error, NotSignedIn) else STATUS.get(error.reason, 500)


def problem(status: int, reason: str, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """An RFC 9457 answer; `reason` is a slug of errors.py."""
    body: dict[str, Any] = {"type": "about:blank", "status": status, "reason": reason, "detail": detail}
    return JSONResponse(body, status, dict(headers or {}), media_type="application/problem+json")


def answer(request: Request, status: int, reason: str, detail: str, words: str = "") -> Response:
    """In the manner of the address: JSON under /api, else a page."""
    headers = {"Retry-After": "1"} if status == 503 else {}
    if request.url.path.startswith("/api/"):
        return problem(status, reason, detail, headers)
    here = Visit(request)
    key = words or _WORDS.get(status)
    said = here.words(key) if key else here.words("fault_other", detail=detail)
    return here.page("problem.html", status=status, headers=headers, said=said, detail=detail, code=status)


def install(app: FastAPI) -> None:
    """Answer every error of the tree, of the framework, and our own mistakes."""

    async def davy_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, DavyError)
        if isinstance(error, NotSignedIn) and not request.url.path.startswith("/api/"):
            back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"/sign-in?next={quote(back)}" if request.method == "GET" else "/sign-in", 303)
        words = "fault_csrf" if isinstance(error, WrongForm) else ""
        return answer(request, status_of(error), error.reason, str(error), words)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return answer(request, error.status_code, REASON.get(error.status_code, "bad_request"), str(error.detail))

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        detail = "; ".join(f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors())
        return answer(request, 422, "bad_request", detail)

    async def mistake(request: Request, error: Exception) -> Response:
        # The outermost edge of a request: say so, log it whole, keep serving the others.
        # The trace as text: a renderer that prints local variables would print tokens.
        route = getattr(request.scope.get("route"), "path", "")
        log.error("page_failed", path=route, trace="".join(traceback.format_exception(error)))
        return answer(request, 500, "davy", "the console made a mistake; its log has it")

    app.add_exception_handler(DavyError, davy_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, mistake)

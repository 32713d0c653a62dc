"""What every answer carries and what no request may exceed: security headers, a size, a cache rule."""

from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: No inline script, no inline style, nothing from elsewhere; nobody may frame a console.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
MOST_BODY = 64 << 10  # a form or an act is a few hundred bytes


class TooLarge(Exception):
    pass


class Guard:
    """ASGI middleware; pure pass-through for streams."""

    def __init__(self, app: ASGIApp, *, secure: bool) -> None:
        self._app = app
        self._headers = HEADERS | ({"Strict-Transport-Security": "max-age=31536000"} if secure else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        read, started = 0, False
        told = dict(scope["headers"]).get(b"content-length", b"0")

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > MOST_BODY:
                raise TooLarge
            return message

        async def dressed(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers.update(self._headers)
                if scope["path"].startswith("/static/"):
                    fixed = b"v=" in scope["query_string"]
                    headers["Cache-Control"] = "public, max-age=31536000, immutable" if fixed else "no-cache"
                elif "cache-control" not in headers:
                    headers["Cache-Control"] = "no-store"
            await send(message)

        try:
            if told.isdigit() and int(told) > MOST_BODY:
                raise TooLarge
            await self._app(scope, counted, dressed)
        except TooLarge:
            if not started:
                answer: Any = PlainTextResponse(f"expected at most {MOST_BODY} bytes", 413)
                await answer(scope, receive, dressed)
        return None

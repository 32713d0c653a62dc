"""One centre's intake over HTTPS: requests with deadlines in, what it holds or a named error out."""

import asyncio
import json
from typing import Any

import httpx

from davy.blackbox.held import Held
from davy.errors import BadRequest, Conflict, DavyError, Refused, Unreachable
from davy.uplink.enrol import CentreKeys
from davy.uplink.envelope import MEDIA_TYPE, Advance, Entries, decode_held

#: A request may take this long, and longer by its size at the slowest link we plan for (GPRS: 32 kbit/s).
DEADLINE_S = 20.0
SLOWEST_BYTES_S = 4000
_PREFIX = "/api/v1/log"


class Link:
    """Speaks for one log to one centre. Safe for concurrent calls.

    Every call raises Unreachable (retry: no answer in time, or the centre is in trouble), Refused (this
    edge or this request is not wanted) or Conflict (our log contradicts what it has shown before).
    """

    def __init__(self, keys: CentreKeys) -> None:
        self.keys = keys
        self._http = httpx.AsyncClient(
            base_url=keys.url,
            verify=keys.tls(),
            headers={"authorization": f"Bearer {keys.token}"},
            timeout=None,  # `_ask` sets one deadline for the whole of it
            trust_env=False,
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def state(self) -> Held:
        """What the centre holds."""
        return await self._ask("GET", "/state", b"")

    async def resume(self, note: bytes) -> Held:
        """Say that `note` is our newest checkpoint."""
        return await self._ask("POST", "/resume", note, "text/plain; charset=utf-8")

    async def entries(self, entries: Entries) -> Held:
        return await self._ask("POST", "/entries", await asyncio.to_thread(entries.encode))

    async def advance(self, advance: Advance) -> Held:
        return await self._ask("POST", "/advance", advance.encode())

    async def keyring(self, epoch: int, data: bytes) -> Held:
        return await self._ask("PUT", f"/keyring/{epoch}", data)

    async def _ask(self, method: str, path: str, content: bytes, media_type: str = MEDIA_TYPE) -> Held:
        try:
            async with asyncio.timeout(DEADLINE_S + len(content) / SLOWEST_BYTES_S):
                answer = await self._http.request(
                    method, _PREFIX + path, content=content, headers={"content-type": media_type}
                )
        except (httpx.HTTPError, TimeoutError) as error:
            raise Unreachable(f"centre {self.keys.url}: {error!r}") from error
        if answer.headers.get("content-type", "").startswith(MEDIA_TYPE):
            try:
                return decode_held(answer.content)
            except BadRequest as error:
                raise Unreachable(f"centre {self.keys.url}: {error}") from error
        raise _error(answer.status_code, _problem(answer), self.keys.url)


def _problem(answer: httpx.Response) -> dict[str, Any]:
    try:
        problem = answer.json()
    except json.JSONDecodeError:
        problem = None
    return problem if isinstance(problem, dict) else {}


def _error(status: int, problem: dict[str, Any], url: str) -> DavyError:
    """What an RFC 9457 answer means."""
    text = f"centre {url}: {problem.get('detail', status)}"
    if problem.get("reason") == Conflict.reason:
        return Conflict(text, str(problem.get("proof", "")).encode())
    return Refused(text) if 400 <= status < 500 else Unreachable(text)

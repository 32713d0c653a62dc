"""A real Chromium, driven over its debugging pipe (Chrome DevTools Protocol); needs nothing but the browser."""

import asyncio
import base64
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--no-default-browser-check", "--lang=en", "--remote-debugging-pipe",
)  # fmt: skip
DEADLINE_S = 90.0
#: The browser reads commands from descriptor 3 and answers on 4; both are first moved out of the way.
LAUNCH = """
import fcntl, os, sys
reads, writes = (fcntl.fcntl(int(n), fcntl.F_DUPFD, 10) for n in sys.argv[1:3])
os.dup2(reads, 3)
os.dup2(writes, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One tab. `trouble` holds every script error, refused load and policy violation it reported."""

    def __init__(self, browser: "Chromium", session: str) -> None:
        self._browser, self._session = browser, session
        self.trouble: list[str] = []
        self.loaded = asyncio.Event()

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        return await self._browser.send(method, self._session, **params)

    async def go(self, url: str) -> None:
        self.loaded.clear()
        await self.send("Page.navigate", url=url)
        await self.settled()

    async def settled(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            await self.loaded.wait()

    async def run(self, script: str) -> Any:
        """The value of an expression; promises are awaited."""
        answer = await self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    async def until(self, script: str, timeout_s: float = 90.0) -> None:
        """Wait until an expression is true."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    with suppress(AssertionError, RuntimeError):  # the page may be between two documents
                        if await self.run(script):
                            return
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"never became true: {script}") from None

    async def text(self, selector: str) -> str:
        return str(await self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    async def click(self, selector: str) -> None:
        await self.run(f"document.querySelector({json.dumps(selector)}).click()")

    async def fill(self, selector: str, value: str) -> None:
        await self.run(f"document.querySelector({json.dumps(selector)}).value = {json.dumps(value)}")

    async def key(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            typed = {"text": key} if kind == "keyDown" and len(key) == 1 else {}
            await self.send("Input.dispatchKeyEvent", type=kind, key=key, **typed)

    async def screen(self, width: int, height: int, scheme: str = "light") -> None:
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        await self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    async def scripts(self, on: bool) -> None:
        await self.send("Emulation.setScriptExecutionDisabled", value=not on)

    async def cookie(self, url: str, name: str, value: str) -> None:
        await self.send("Network.setCookie", url=url, name=name, value=value)

    async def shot(self, path: Path) -> None:
        answer = await self.send("Page.captureScreenshot", format="png")
        await asyncio.to_thread(path.write_bytes, base64.b64decode(answer["data"]))

    def heard(self, method: str, params: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self.loaded.set()
        elif method == "Runtime.exceptionThrown":
            self.trouble.append(str(params["exceptionDetails"].get("exception", params["exceptionDetails"])))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.trouble.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")


class Chromium:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._pages: dict[str, Page] = {}
        self._number = 0

    async def send(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        future = self._waiting[self._number] = asyncio.get_running_loop().create_future()
        self._writer.write(json.dumps(message).encode() + b"\0")
        await self._writer.drain()
        async with asyncio.timeout(DEADLINE_S):
            return await future

    async def pump(self) -> None:
        while True:
            message = json.loads((await self._reader.readuntil(b"\0"))[:-1])
            if future := self._waiting.pop(message.get("id", 0), None):
                if "error" in message:
                    future.set_exception(RuntimeError(message["error"]["message"]))
                elif not future.done():
                    future.set_result(message.get("result", {}))
            elif page := self._pages.get(message.get("sessionId", "")):
                page.heard(message["method"], message.get("params", {}))

    async def page(self) -> Page:
        """A tab of its own, without the cookies of others."""
        context = (await self.send("Target.createBrowserContext"))["browserContextId"]
        target = (await self.send("Target.createTarget", url="about:blank", browserContextId=context))["targetId"]
        session = (await self.send("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            await page.send(f"{domain}.enable")
        return page


@asynccontextmanager
async def started(executable: str) -> AsyncIterator[Chromium]:
    """A browser with a fresh profile, gone afterwards."""
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    profile = tempfile.mkdtemp(prefix="davy-chromium-")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LAUNCH, str(to_read), str(from_write), executable, *FLAGS, f"--user-data-dir={profile}",
        pass_fds=(to_read, from_write), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    os.close(to_read)
    os.close(from_write)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=64 << 20)
    reading, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(from_read, "rb", 0)
    )
    writing, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, os.fdopen(to_write, "wb", 0))
    browser = Chromium(reader, asyncio.StreamWriter(writing, protocol, None, loop))
    pump = asyncio.create_task(browser.pump())
    try:
        yield browser
    finally:
        with suppress(TimeoutError, RuntimeError, ConnectionError, BrokenPipeError):
            await browser.send("Browser.close")
        pump.cancel()
        await asyncio.gather(pump, return_exceptions=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()
        writing.close()
        reading.close()
        shutil.rmtree(profile, ignore_errors=True)

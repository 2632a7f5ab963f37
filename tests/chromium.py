"""A page in a real Chromium, over its DevTools protocol: how wide it is, and what it asked for and complained about."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
MISSING = f"no browser here: none of {', '.join(NAMES)} is installed"

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
)


@dataclass
class Seen:
    """What a browser saw of a page at one width."""

    requests: list[str] = field(default_factory=list)
    """URLs of all requests, the page's own included."""
    complaints: list[str] = field(default_factory=list)
    """Errors and warnings of the console, and of what the page may not do."""
    width: int = 0
    """Pixels of the page: more than the window's if it scrolls sideways."""
    height: int = 0
    value: Any = None
    """Of the expression that was asked for."""


def look(path: Path, width: int, scratch: Path, expression: str = "null") -> Seen:
    """Open a file in a window of this width.

    Args:
        path: an HTML file.
        width: pixels.
        scratch: an empty folder for the browser.
        expression: JavaScript that is evaluated in the page.
    """
    return asyncio.run(asyncio.wait_for(_look(path.resolve().as_uri(), width, scratch, expression), 60))


async def _look(url: str, width: int, scratch: Path, expression: str) -> Seen:
    seen = Seen()
    loaded = asyncio.Event()
    async with _browser(scratch) as port, aiohttp.ClientSession() as session:
        async with session.put(f"http://127.0.0.1:{port}/json/new?about:blank") as answer:
            address = (await answer.json())["webSocketDebuggerUrl"]
        async with session.ws_connect(address, max_msg_size=0) as socket:
            replies: dict[int, asyncio.Future[dict[str, Any]]] = {}

            async def ask(method: str, **parameters: Any) -> dict[str, Any]:
                number = len(replies)
                replies[number] = asyncio.get_running_loop().create_future()
                await socket.send_json({"id": number, "method": method, "params": parameters})
                return await replies[number]

            reading = asyncio.create_task(_read(socket, replies, seen, loaded))
            for domain in ("Page", "Network", "Log", "Runtime"):
                await ask(f"{domain}.enable")
            metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
            await ask("Emulation.setDeviceMetricsOverride", **metrics)
            await ask("Page.navigate", url=url)
            await loaded.wait()
            root = "document.documentElement"
            for name in ("width", "height"):
                found = await ask("Runtime.evaluate", expression=f"{root}.scroll{name.title()}")
                setattr(seen, name, found["result"]["result"]["value"])
            found = await ask("Runtime.evaluate", expression=expression, returnByValue=True)
            assert "exceptionDetails" not in found["result"], found
            seen.value = found["result"]["result"].get("value")
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
    return seen


async def _read(
    socket: aiohttp.ClientWebSocketResponse,
    replies: dict[int, asyncio.Future[dict[str, Any]]],
    seen: Seen,
    loaded: asyncio.Event,
) -> None:
    async for message in socket:
        said = message.json()
        if "id" in said:
            replies[said["id"]].set_result(said)
            continue
        about = said["params"]
        match said["method"]:
            case "Network.requestWillBeSent":
                seen.requests.append(about["request"]["url"])
            case "Log.entryAdded" if about["entry"]["level"] in ("error", "warning"):
                seen.complaints.append(about["entry"]["text"])
            case "Runtime.exceptionThrown" | "Runtime.consoleAPICalled":
                seen.complaints.append(str(about))
            case "Page.loadEventFired":
                loaded.set()


@contextlib.asynccontextmanager
async def _browser(scratch: Path) -> AsyncIterator[int]:
    """The port of a browser's DevTools."""
    assert CHROMIUM is not None
    pipe = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        CHROMIUM, *_FLAGS, f"--user-data-dir={scratch}", "about:blank", stdout=pipe, stderr=pipe
    )
    written = scratch / "DevToolsActivePort"
    try:
        while not written.exists() or "\n" not in written.read_text():
            assert process.returncode is None, "the browser ended"
            await asyncio.sleep(0.05)
        yield int(written.read_text().split()[0])
    finally:
        process.terminate()
        await process.wait()

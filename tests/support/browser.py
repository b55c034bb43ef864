"""A real Chromium that looks at pages: driven over a pipe by its own protocol, without a driver program."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.processes import end, start

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--remote-debugging-pipe",
)

_LAUNCH = """
import os, sys
came, to = os.dup(int(sys.argv[1])), os.dup(int(sys.argv[2]))
os.dup2(came, 3)
os.dup2(to, 4)
for descriptor in (3, 4):
    os.set_inheritable(descriptor, True)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Chromium reads its commands from descriptor 3 and answers on 4."""


class Browser:
    """One tab. Everything that the console says and everything that a page asks for is kept."""

    def __init__(self, to: int, came: int) -> None:
        self._to = os.fdopen(to, "wb", buffering=0)
        self._came = os.fdopen(came, "rb")
        self._count = 0
        self._session: str | None = None
        self.complaints: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Give a command and wait for its answer; events that come before it are kept."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._count:
            self._keep(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, file: Path, *, width: int = 1100, dark: bool = False, paper: bool = False) -> None:
        """Show a page at a width in CSS pixels; returns when it is loaded."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", media="print" if paper else "screen", features=features)
        self.call("Page.navigate", url=file.as_uri())
        while (event := self._read()).get("method") != "Page.loadEventFired":
            self._keep(event)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, file: Path) -> None:
        """The page as a PNG, from its top to its end; for who writes a page and wants to see it."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))

    def pdf(self) -> bytes:
        """The page as it would be printed."""
        return base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"])

    def close(self) -> None:
        """Close the pipe; the browser ends with it."""
        self._to.close()
        self._came.close()

    def _read(self) -> dict[str, Any]:
        message = bytearray()
        while (byte := self._came.read(1)) != b"\0":
            assert byte, "the browser has gone"
            message += byte
        read: dict[str, Any] = json.loads(message)
        return read

    def _keep(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded":
                self.complaints.append(json.dumps(params))
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])


@contextmanager
def browser(directory: Path) -> Iterator[Browser]:
    """A browser for as long as the block lasts, its profile in a directory of the test's."""
    assert CHROMIUM is not None
    theirs_in, to = os.pipe()
    came, theirs_out = os.pipe()
    process = start(
        [
            sys.executable,
            "-c",
            _LAUNCH,
            str(theirs_in),
            str(theirs_out),
            CHROMIUM,
            *_ARGUMENTS,
            f"--user-data-dir={directory}",
        ],
        pass_fds=(theirs_in, theirs_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        opened = Browser(to, came)
        yield opened
        opened.close()
        process.wait(20)
    finally:
        end(process)

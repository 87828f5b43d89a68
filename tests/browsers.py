"""A real browser without a window, driven over the WebDriver protocol (W3C)."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from processes import descendants, kill_all, lives, wait_for

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # of which root has none
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
)
PATIENCE = 60  # seconds for one command
MISSING = "needs a browser and its driver: apt-get install chromium chromium-driver"


def has_browser() -> bool:
    """Return whether there are Chromium and its driver."""
    return _browser() is not None and shutil.which("chromedriver") is not None


class Browser:
    """A session of a browser.

    Parameters
    ----------
    address : str
        The session, at the driver.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    def open(self, page: Path | str, width: int, height: int = 900) -> None:
        """Show a file or an address in a viewport of this size, in pixels of CSS."""
        address = page if isinstance(page, str) else page.resolve().as_uri()
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        command = {"cmd": "Emulation.setDeviceMetricsOverride", "params": size}
        self._post("goog/cdp/execute", command)
        self._post("url", {"url": address})

    def prefer(self, colors: str) -> None:
        """Prefer "light" or "dark" colors, in pages that are opened from now on."""
        features = [{"name": "prefers-color-scheme", "value": colors}]
        command = {"cmd": "Emulation.setEmulatedMedia", "params": {"features": features}}
        self._post("goog/cdp/execute", command)

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript in the page."""
        return self._post("execute/sync", {"script": f"return {expression}", "args": []})

    def messages(self) -> list[str]:
        """Return what the page has put on the console since the last call, errors and all."""
        entries = self._post("se/log", {"type": "browser"})
        return [entry["message"] for entry in entries]

    def point(self, x: int, y: int) -> None:
        """Move the mouse to a place in the viewport, in pixels of CSS."""
        move = {"type": "pointerMove", "duration": 0, "x": x, "y": y}
        mouse = {"type": "pointer", "id": "mouse", "actions": [move]}
        self._post("actions", {"actions": [mouse]})

    def screenshot(self, path: Path, *, is_whole: bool = True) -> None:
        """Save a picture of the whole page, or of what the viewport shows of it."""
        params = {"captureBeyondViewport": is_whole, "format": "png"}
        command = {"cmd": "Page.captureScreenshot", "params": params}
        found = self._post("goog/cdp/execute", command)
        path.write_bytes(base64.b64decode(found["data"]))

    def _post(self, name: str, content: dict[str, Any]) -> Any:
        return _post(f"{self._address}/{name}", content)


@contextmanager
def browser() -> Iterator[Browser]:
    """Start a browser with an empty profile; in the end kill it and all that it started."""
    with tempfile.TemporaryDirectory() as profile, _driver() as (driver, pid):
        options = {
            "binary": _browser(),
            "args": [*FLAGS, f"--user-data-dir={profile}"],
        }
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = _post(f"{driver}/session", {"capabilities": {"alwaysMatch": wanted}})
        address = f"{driver}/session/{session['sessionId']}"
        try:
            yield Browser(address)
        finally:
            left = descendants(pid)
            with urlopen(Request(address, method="DELETE"), timeout=PATIENCE):
                pass
            kill_all(left)  # they may write into the profile, which is to be removed
            wait_for(lambda: not any(map(lives, left)))


@contextmanager
def _driver() -> Iterator[tuple[str, int]]:
    """Start what drives a browser; yield its address and its process."""
    command = ["chromedriver", "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = next(
                m[1]
                for line in process.stdout
                if (m := re.search(r"successfully on port (\d+)", line))
            )
            yield f"http://127.0.0.1:{port}", process.pid
        finally:
            kill_all([process.pid])


def _browser() -> str | None:
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def _post(address: str, content: dict[str, Any]) -> Any:
    request = Request(address, json.dumps(content).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer)["value"]

"""One headless Chromium for all tests, spoken to through its debugging pipe."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HTML = Path(__file__).parents[2] / "_build" / "html"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

STILL = "<style>* { transition: none !important }</style>"  # the theme fades its colours


class Browser:
    """Speaks the Chrome DevTools protocol (https://chromedevtools.github.io/devtools-protocol) with one tab."""

    def __init__(self, profile: str) -> None:
        to_browser, self._commands = os.pipe()
        answers, from_browser = os.pipe()
        fds = f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}'
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
        options += ["--remote-debugging-pipe", f"--user-data-dir={profile}"]
        self._process = subprocess.Popen(
            ["bash", "-c", fds, str(BROWSER), *options], pass_fds=(to_browser, from_browser), stderr=subprocess.DEVNULL
        )
        os.close(to_browser)
        os.close(from_browser)
        self._answers = os.fdopen(answers, "rb")
        self._session: dict[str, str] = {}
        self._sent = 0
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)

    def call(self, method: str, **params: Any) -> Any:
        """The answer to a command; what the browser reports meanwhile goes to `events`."""
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": params, **self._session}
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != self._sent:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, address: str) -> None:
        """Load a page and let its scripts run; `events` are of it alone."""
        self.events.clear()
        loader = self.call("Page.navigate", url=address)["loaderId"]
        loaded = {"name": "load", "loaderId": loader}
        while not any(loaded.items() <= event.get("params", {}).items() for event in self.events):
            self.events.append(self._read())
        self.run("window.MathJax?.startup?.promise")
        self.run(f"document.head.insertAdjacentHTML('beforeend', '{STILL}')")

    def show(self, width: int = 1280, dark: bool = False) -> None:
        """Give the tab a width, a phone's below 500, and the reader a liking for dark or light pages."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.run("new Promise(requestAnimationFrame)")

    def run(self, script: str) -> Any:
        """The value of an expression of JavaScript in the page."""
        done = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def complaints(self) -> list[str]:
        """Errors on the console, exceptions, and requests that failed, since the page was opened."""
        found = []
        for event in self.events:
            params = event.get("params", {})
            match event.get("method"):
                case "Runtime.exceptionThrown":
                    found.append(json.dumps(params["exceptionDetails"]))
                case "Runtime.consoleAPICalled" if params["type"] in ("error", "assert"):
                    found.append(json.dumps(params["args"]))
                case "Log.entryAdded" if params["entry"]["level"] == "error":
                    found.append(json.dumps(params["entry"]))
                case "Network.loadingFailed" if not params.get("canceled"):
                    found.append(params["errorText"])
                case "Network.responseReceived" if params["response"]["status"] >= 400:
                    found.append(f"{params['response']['status']} {params['response']['url']}")
        return found

    def close(self) -> None:
        self._session = {}
        self.call("Browser.close")
        self._process.wait(timeout=30)
        os.close(self._commands)
        self._answers.close()

    def _read(self) -> dict[str, Any]:
        message = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            assert byte, "the browser ended"
            message += byte
        return json.loads(message)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if BROWSER is None:
        pytest.skip("no chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        opened = Browser(profile)
        yield opened
        opened.close()

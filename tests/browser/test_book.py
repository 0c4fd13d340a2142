"""The built book in a browser, as a reader opens it from a folder (`make test-book`, after `make book`)."""

import re
import subprocess
from functools import cache

import pytest

from tests.browser.conftest import BROWSER, HTML

PAGES = sorted(path.relative_to(HTML).as_posix() for path in (HTML / "book").glob("*.html"))

pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no chromium"),
    pytest.mark.skipif(not PAGES, reason="the book is not built: make book"),
]


@cache
def opened(page: str) -> tuple[str, list[str]]:
    """What stands in a page once its scripts have run, and what the browser complained of."""
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--enable-logging=stderr", "--virtual-time-budget=10000", "--dump-dom", f"file://{HTML / page}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, [line for line in said if re.search(r"Uncaught|Failed|ERR_|[Ee]rror", line)]


def test_search_finds_a_word() -> None:
    dom, _ = opened("search.html?q=logQ")
    assert "recipe" in dom

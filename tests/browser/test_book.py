"""The built book in a browser, as a reader opens it from a folder (`make test-book`, after `make book`)."""

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

HTML = Path(__file__).parents[2] / "_build" / "html"
PAGES = sorted(path.relative_to(HTML).as_posix() for path in (HTML / "book").glob("*.html"))
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

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


@pytest.mark.parametrize("page", PAGES)
def test_a_page_opens_without_complaint(page: str) -> None:
    dom, complaints = opened(page)
    assert "</html>" in dom
    assert complaints == []


@pytest.mark.parametrize("page", PAGES)
def test_nothing_that_a_page_names_is_missing(page: str) -> None:
    dom, _ = opened(page)
    for address in re.findall(r'(?:href|src)="([^"]+)"', dom):
        path, _, anchor = address.partition("#")
        if re.match(r"[a-z]+:|//", address) or path.endswith(("searchindex.js",)):
            continue
        target = (HTML / page).parent / path.split("?")[0] if path else HTML / page
        assert target.exists(), address
        if anchor and target.suffix == ".html":
            assert re.search(rf'id="{re.escape(anchor)}"', target.read_text(encoding="utf-8")), address


def test_search_finds_a_word() -> None:
    dom, _ = opened("search.html?q=logQ")
    assert "recipe" in dom

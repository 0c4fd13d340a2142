"""Every page of the built book as readers have it: from a folder or a server, wide or on a phone, light or dark."""

import re
from collections.abc import Iterator
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote

import pytest

from tests.browser.conftest import HTML, Browser

THEMES = re.compile(r"-macros.html$|^index.html$")  # its own templates, and its way to the first page
PAGES = sorted(page for path in HTML.rglob("*.html") if not THEMES.search(page := path.relative_to(HTML).as_posix()))
CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
PHONE = 390
LINK = re.compile(r'\b(?:href|src|data|srcset)="([^"]+)"')

every_page = pytest.mark.parametrize("page", PAGES)


@pytest.fixture(scope="module", params=PAGES)
def page(request: pytest.FixtureRequest, browser: Browser) -> Browser:
    """The browser with a page open, from the folder."""
    browser.show()
    browser.open(f"file://{HTML / request.param}")
    return browser


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server of the book."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(HTML))) as serving:
        Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


def test_a_page_opens_from_the_folder_without_complaint(page: Browser) -> None:
    assert page.complaints() == []


def test_mathematics_is_set(page: Browser) -> None:
    formulas = page.run("document.querySelectorAll('.math').length")
    assert page.run("document.querySelectorAll('.math mjx-container').length") >= formulas
    assert page.run("document.querySelectorAll('mjx-merror, [data-mjx-error]').length") == 0
    assert not page.run(r"/\\[(\[]|\$\$/.test(document.querySelector('main, body').innerText)")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_words_stand_out_from_their_ground(page: Browser, dark: bool) -> None:
    page.show(dark=dark)
    assert page.run(CONTRAST) == {}


def test_no_page_is_wider_than_a_phone(page: Browser) -> None:
    page.show(width=PHONE)
    assert page.run("document.documentElement.scrollWidth") <= PHONE


def test_columns_of_words_keep_left_and_numbers_right(page: Browser) -> None:
    page.show()
    misplaced = """[...document.querySelectorAll('table.dataframe')].flatMap(table =>
        [...table.querySelectorAll('td')].filter(cell => {
            const words = table.classList.contains(`words-${cell.cellIndex + 1}`)
            return getComputedStyle(cell).textAlign != (words ? 'left' : 'right')
        }).map(cell => cell.textContent))"""
    assert page.run(misplaced) == []


def test_the_names_of_rows_stay_on_a_phone(page: Browser) -> None:
    page.show(width=PHONE)
    moved = """[...document.querySelectorAll('.text_html:has(table.dataframe)')].filter(box => {
        const name = box.querySelector('tbody th')
        box.scrollLeft = 40
        return name && box.offsetParent && name.getBoundingClientRect().left < box.getBoundingClientRect().left
    }).length"""
    assert page.run(moved) == 0


@pytest.mark.parametrize("page", [page for page in PAGES if not page.startswith("_static/")])  # those stand in a page
def test_a_page_opens_from_a_server_without_complaint(page: str, browser: Browser, server: str) -> None:
    browser.open(f"{server}/{page}")
    assert browser.complaints() == []


@cache
def source(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@every_page
def test_nothing_that_a_page_names_is_missing(page: str) -> None:
    for address in LINK.findall(source(HTML / page)):
        if re.match(r"[a-z]+:|//", address):
            continue
        path, _, anchor = unquote(address).partition("#")
        target = ((HTML / page).parent / path.split("?")[0]).resolve() if path else HTML / page
        assert target.is_file(), address
        if anchor and target.suffix == ".html":
            assert f'id="{anchor}"' in source(target), address

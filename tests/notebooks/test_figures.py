"""The book as it is read: a figure has an address, a caption and an alt text; tables and outputs are for readers; no
heading stands twice."""

import re
from collections import Counter
from html import unescape
from pathlib import Path
from typing import Any

import nbformat
import pytest

from srtlib.paths import project_root

BOOK = project_root() / "book"
NOTEBOOKS = sorted(BOOK.glob("*.ipynb"))
STYLE = (BOOK / "_static" / "pages.css").read_text(encoding="utf-8")
IMAGES = {"image/svg+xml", "image/png"}
PAGES = [*NOTEBOOKS, *sorted(BOOK.glob("*.md"))]


def figure_cells(path: Path) -> list[Any]:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    return [cell for cell in cells if any(IMAGES & set(output.get("data", {})) for output in cell.outputs)]


def outputs(path: Path) -> list[Any]:
    return [output for cell in nbformat.read(path, as_version=4).cells for output in cell.get("outputs", [])]


def prose(path: Path) -> str:
    """What a page says, without blocks of code."""
    if path.suffix == ".md":
        text = path.read_text(encoding="utf-8")
    else:
        cells = nbformat.read(path, as_version=4).cells
        text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return re.sub(r"^```(?!\{).*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_figure_has_a_caption_with_its_finding_and_data_and_an_alt_text(path: Path) -> None:
    for cell in figure_cells(path):
        shown = [output for output in cell.outputs if output.output_type in ("display_data", "execute_result")]
        assert len(shown) == 1, f"a caption would stand below each of {len(shown)} outputs:\n{cell.source}"
        given = cell.metadata.get("mystnb", {})
        caption, alt = given.get("figure", {}).get("caption", ""), given.get("image", {}).get("alt", "")
        assert re.match(r"\*\*[^*]+\*\*", caption), f"the caption begins with the finding:\n{cell.source}"
        assert "Data: " in caption, f"the caption names the data:\n{cell.source}"
        assert len(alt) > 60, f"the alt text says what is seen:\n{cell.source}"
        assert alt not in caption
        assert re.fullmatch(r"fig-[a-z-]+", given["figure"].get("name", ""))


def test_every_figure_has_an_address_of_its_own_and_references_lead_to_one() -> None:
    names = [cell.metadata["mystnb"]["figure"]["name"] for path in NOTEBOOKS for cell in figure_cells(path)]
    names += [name for path in PAGES for name in re.findall(r"^name: (fig-\S+)$", prose(path), flags=re.MULTILINE)]
    assert [name for name, n in Counter(names).items() if n > 1] == []
    captions = [cell.metadata["mystnb"]["figure"]["caption"] for path in NOTEBOOKS for cell in figure_cells(path)]
    referred = re.findall(r"\{numref\}`(.+?)`", "\n".join([*map(prose, PAGES), *captions]))
    assert set(referred) <= set(names)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_figures_are_crisp_and_small(path: Path) -> None:
    """SVG, without the date of drawing; a picture of dots only where it is small."""
    figures = [image for output in outputs(path) for image in (IMAGES & set(output.get("data", {})))]
    assert figures
    for output in outputs(path):
        data = output.get("data", {})
        assert len(data.get("image/svg+xml", "")) < 200_000
        assert "dc:date" not in data.get("image/svg+xml", "")
        assert len(data.get("image/png", "")) < 150_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_stored_table_prints_six_zeros(path: Path) -> None:
    for output in outputs(path):
        shown = output.get("data", {}).get("text/plain", "") + output.get("text", "")
        assert not re.findall(r".*\d\.\d*0{5,}\d?\b.*|.*\d\.\d{5,}e[+-]\d\d.*", shown)


def tables(path: Path) -> list[tuple[Any, str, list[list[str]]]]:
    """Cell, HTML and the texts of each row of every stored table."""
    found = []
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            if page := output.get("data", {}).get("text/html", ""):
                rows = re.findall(r"<tr>(.*?)</tr>", page.partition("<tbody>")[2], flags=re.DOTALL)
                found.append((cell, page, [list(map(unescape, re.findall(r"<t[hd]>(.*?)</t[hd]>", r))) for r in rows]))
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_words_of_a_stored_table_keep_left_and_numbers_right(path: Path) -> None:
    for _, page, rows in tables(path):
        words = {
            f"words-{i}"
            for i, column in enumerate(list(zip(*rows, strict=True))[1:], start=2)
            if any(text[:1].isalpha() for text in column if text != "no bound")
        }
        assert set(re.findall(r"words-\d+", page)) == words, rows
        assert all(f".{name} tr" in STYLE for name in words)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_long_table_is_folded(path: Path) -> None:
    for cell, _, rows in tables(path):
        assert len(rows) < 20 or "hide-cell" in cell.metadata["tags"], cell.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_stored_output_shows_a_value_of_the_program(path: Path) -> None:
    """A claim holds or does not, and a list is told."""
    for output in outputs(path):
        shown = output.get("text", "") + output.get("data", {}).get("text/plain", "")
        assert not re.findall(r"\b(?:True|False|None|nan)\b|^\[|\d[eE]\+\d", shown), shown


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_signs_are_those_of_mathematics(path: Path) -> None:
    """No hyphen for a minus, no letter for a multiplication sign, in prose, captions and tables."""
    said = prose(path)
    if path.suffix == ".ipynb":
        said += "\n".join(["", *(cell.metadata["mystnb"]["figure"]["caption"] for cell in figure_cells(path)), ""])
        said += "\n".join(text for _, _, rows in tables(path) for row in rows for text in row)
    said = re.sub(r"`[^`]*`|\$[^$]*\$", "", said)
    assert not re.findall(r".*(?:^|[\s(\[|])-\d.*|.*\w x \d.*|.*[<>]=.*", said, flags=re.MULTILINE)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_code_is_hidden_but_for_the_parameters(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [set(cell.metadata["tags"]) & {"hide-input", "parameters"} for cell in cells[:1]] == [{"parameters"}]
    assert all("hide-input" in cell.metadata["tags"] for cell in cells[1:])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_page_of_recorded_runs_offers_their_files(path: Path) -> None:
    captions = " ".join(cell.metadata["mystnb"]["figure"]["caption"] for cell in figure_cells(path))
    folders = set(re.findall(r"`((?:benchmarks/)?results/[a-z_M]+)", captions))
    offered = re.findall(r"\{download\}`[^<`]+<\.\./([^>]+)>`", prose(path))
    assert all((project_root() / name).is_file() for name in offered)
    if offered:
        assert folders <= {name.rpartition("/")[0] for name in offered} | {name.rpartition(".")[0] for name in offered}


def test_no_heading_stands_on_two_pages() -> None:
    """A search shows headings without their page."""
    headings = [heading for path in PAGES for heading in re.findall(r"^#+ (.+)$", prose(path), flags=re.MULTILINE)]
    assert [heading for heading, n in Counter(headings).items() if n > 1] == []

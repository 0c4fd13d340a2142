"""Figures and headings of the book: a figure has an address, a caption and an alt text; no heading stands twice."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import nbformat
import pytest

from srtlib.paths import project_root

BOOK = project_root() / "book"
NOTEBOOKS = sorted(BOOK.glob("*.ipynb"))
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

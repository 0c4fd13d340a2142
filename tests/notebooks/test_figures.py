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
PAGES = [*NOTEBOOKS, *sorted(BOOK.glob("*.md"))]


def figure_cells(path: Path) -> list[Any]:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    return [cell for cell in cells if any("image/png" in output.get("data", {}) for output in cell.outputs)]


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


def test_no_heading_stands_on_two_pages() -> None:
    """A search shows headings without their page."""
    headings = [heading for path in PAGES for heading in re.findall(r"^#+ (.+)$", prose(path), flags=re.MULTILINE)]
    assert [heading for heading, n in Counter(headings).items() if n > 1] == []

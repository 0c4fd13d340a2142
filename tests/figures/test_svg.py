"""Figures as SVG: the same each time, with the words and numbers that they show; colours stand out from white."""

import re
from xml.etree import ElementTree

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from matplotlib.colors import to_rgb

from srtlib.figures.style import KINDS, VIRIDIS, as_ink, kind_tint, styled, to_svg


@styled
def draw() -> plt.Figure:
    figure, ax = plt.subplots()
    ax.plot([1, 2, 3], [0.12345678, 0.2, 0.3], label="0.123456 measured")
    ax.legend()
    return figure


def contrast_with_white(colour: object) -> float:
    """Of WCAG 2.2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]  # type: ignore[arg-type]
    return float(1.05 / (np.dot(linear, [0.2126, 0.7152, 0.0722]) + 0.05))


def test_svg_is_the_same_each_time_and_keeps_every_digit_of_its_words() -> None:
    first, second = to_svg(draw()), to_svg(draw())
    assert first == second
    ElementTree.fromstring(first)
    assert "\n" not in first
    assert "0.123456 measured" in first
    lengths = re.findall(r"\.(\d+)", " ".join(re.findall(r"\bd=\"([^\"]*)\"", first)))
    assert lengths
    assert max(map(len, lengths)) == 2


def test_a_notebook_shows_a_figure_as_svg_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, str]] = []
    shell = InteractiveShell.instance()
    monkeypatch.setattr(shell.display_pub, "publish", lambda data, **_: shown.append(data))
    assert shell.display_formatter.format(draw()) == ({}, {})
    (data,) = shown
    assert set(data) == {"image/svg+xml", "text/plain"}
    assert data["text/plain"] == "<Figure size 720x540 with 1 Axes>"


@pytest.mark.parametrize("i", range(len(KINDS)))
def test_colours_of_kinds_stand_out_from_the_ground(i: int) -> None:
    assert contrast_with_white(kind_tint(i)) >= 2.5
    assert contrast_with_white(as_ink(kind_tint(i))) >= 4.5


def test_no_yellow_stands_on_white() -> None:
    assert min(contrast_with_white(VIRIDIS(share)) for share in np.linspace(0, 1, 50)) >= 2.2
    assert min(contrast_with_white(as_ink(VIRIDIS(share))) for share in np.linspace(0, 1, 50)) >= 4.5


@pytest.fixture(autouse=True)
def _close() -> None:
    plt.close("all")

"""The planner page in a browser: the numbers of `srt plan`, from the same resamples, wherever it is opened."""

import functools
import html
import http.server
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pandas as pd
import pytest

from srtlib.laws import pages, planner
from srtlib.laws.machines import MACHINES
from srtlib.laws.planner import OWN_END, Planner
from tests.browser.conftest import BROWSER

PAGE = Path(__file__).parents[2] / "book" / "_static" / "planner"
SETS = {
    "ten-amazon-sets-2-7m-interactions": ("results/pool", OWN_END),
    "amazon-beauty-199k-interactions": ("results/beauty_M", None),
    "the-authors-runs-refitted": ("published", None),
}
BUDGETS = [(0.01, 0.9), (0.5, 0.9), (20, 0.9), (20, 0.05), (3000, 15)]  # times the runs' largest compute and data

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium")


def opened(address: str) -> str:
    """What stands in the page once its scripts have run; nothing was complained of."""
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--enable-logging=stderr", "--virtual-time-budget=8000", "--dump-dom", address,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line and "rror" in line] == []
    return done.stdout


def at(folder: Path = PAGE, **state: object) -> str:
    return opened(f"file://{folder / 'index.html'}#{urlencode(state)}")


def shown(dom: str, name: str) -> tuple[float, str]:
    """The number behind an output, and its words."""
    tag, words = re.search(rf'<\w+[^>]* id="{name}"([^>]*)>(.*?)</(?:dd|output|p)>', dom, flags=re.DOTALL).groups()
    text = html.unescape(re.sub(r"<[^>]+>", " | ", words))
    return float(re.search(r'data-value="([^"]*)"', tag)[1] or "nan"), text


def short(value: float) -> str:
    """As the page shortens a number below 1e12."""
    unit = next((u for u in ("1e9 B", "1e6 M", "1e3 K") if value >= float(u.split()[0])), "1 ")
    size, letter = unit.split(" ")
    return f"{float(f'{value / float(size):.3g}'):g}{letter}"


@pytest.fixture(scope="module", params=SETS)
def fitted(request: pytest.FixtureRequest) -> tuple[str, Planner]:
    path, grids = SETS[request.param]
    return request.param, Planner.fit(*planner.read(path, grids=grids))


@pytest.fixture(scope="module")
def beauty() -> Planner:
    return Planner.fit(*planner.read("results/beauty_M"))


@pytest.mark.parametrize(("spent", "share"), BUDGETS)
def test_a_budget_buys_what_srt_plan_says(fitted: tuple[str, Planner], spent: float, share: float) -> None:
    name, laws = fitted
    largest = laws.ranges["unique_targets"][1] / laws.targets_per_interaction
    compute, interactions = (float(f"{value:.3g}") for value in (spent * laws.ranges["flops"][1], share * largest))
    dom = at(runs=name, compute=compute, data=interactions)
    (row,) = laws.plan(compute, interactions).to_dict("records")
    expected = {"ndcg": "ndcg", "size": "N", "targets": "unique_targets", "seen": "targets_seen", "limit": "data_end"}
    for output, column in expected.items():
        assert shown(dom, output)[0] == pytest.approx(row[column], rel=1e-6), output
    assert f"{row['low']:.4f} to {row['high']:.4f}" in shown(dom, "ndcg")[1]
    assert f"by compute {row['by_compute']:.4f}, by size and data {row['by_data']:.4f}" in shown(dom, "ndcg")[1]
    assert f"{short(row['N_low'])} to {short(row['N_high'])}" in shown(dom, "size")[1]
    assert f"width {row['d_model']}" in shown(dom, "size")[1]
    flagged = row["extrapolated"]
    of_answer = [flag for flag in flagged.split("; ") if flag and not flag.startswith("wanted_targets")]
    assert ("extrapolated" in shown(dom, "ndcg")[1]) == bool(of_answer)
    assert ("extrapolated" in shown(dom, "size")[1]) == ("N " in flagged)
    assert ("extrapolated" in shown(dom, "targets")[1]) == ("_targets" in flagged)
    capped = row["wanted_targets"] > row["unique_targets"] * (1 + 1e-9)
    assert ("Your data run out" in shown(dom, "limit")[1]) == capped
    assert (f"would want {short(row['wanted_targets'])}" in shown(dom, "targets")[1]) == capped
    if row["hours"] == row["hours"]:
        assert shown(dom, "hours")[0] == pytest.approx(row["hours"], rel=1e-6)
        assert shown(dom, "money")[0] == pytest.approx(row["money"], rel=1e-6)
    else:
        assert "not known" in shown(dom, "hours")[1]


@pytest.mark.parametrize("size", [None, 1e6])
def test_data_buy_what_srt_plan_says(fitted: tuple[str, Planner], size: float | None) -> None:
    name, laws = fitted
    dom = at(runs=name, data="3M", n=size or "")
    (row,) = laws.plan(interactions=3e6, size=size).to_dict("records")
    assert shown(dom, "data-ndcg")[0] == pytest.approx(row["ndcg"], rel=1e-6)
    assert f"{row['low']:.4f} to {row['high']:.4f}" in shown(dom, "data-ndcg")[1]
    for output, column, low in (("enough", "N_enough", "N_enough_low"), ("more", "more_targets", "more_low")):
        value, words = shown(dom, output)
        assert value == pytest.approx(row[column], rel=1e-6)
        assert f"{short(row[low])} to " in words
        assert ("extrapolated" in words) == (
            {"enough": "N_enough", "more": "needed_targets"}[output] in row["extrapolated"]
        )


def test_where_the_laws_do_not_hold_the_page_says_so() -> None:
    authors = Planner.fit(*planner.read("published"), n_resamples=2)
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        authors.plan(1e11)
    assert "outside [0, 1]" in shown(at(runs="the-authors-runs-refitted", compute=1e11), "ndcg")[1]


def test_an_address_restores_the_whole_state(beauty: Planner) -> None:
    state = {"compute": "5e13", "data": "90K", "unit": "targets", "gpu": "L4", "peak": "1e14", "utilisation": "2"}
    state |= {"price": "1.5", "items": "5M", "n": "2M"}
    dom = at(runs="amazon-beauty-199k-interactions", **state)
    link = html.unescape(re.search(r'id="link" href="([^"]*)"', dom)[1])
    assert link.endswith("#" + urlencode({"runs": "amazon-beauty-199k-interactions", **state}))
    (row,) = beauty.budget(5e13, 90e3).to_dict("records")
    assert shown(dom, "ndcg")[0] == pytest.approx(row["ndcg"], rel=1e-6)
    assert shown(dom, "hours")[0] == pytest.approx(row["used"] / (1e14 * 0.02 * 3600), rel=1e-6)
    assert shown(dom, "money")[0] == pytest.approx(1.5 * shown(dom, "hours")[0], rel=1e-6)
    assert shown(dom, "catalogue")[0] == 5e6 * 4 * row["d_model"]
    assert "with 2M parameters on 90K unique targets" in shown(dom, "data-ndcg")[1]
    assert opened(link) == dom


def test_each_machine_says_where_its_utilisation_comes_from() -> None:
    for name, machine in MACHINES.items():
        (said,) = re.findall(r'id="utilisation-source">([^<]*)<', at(gpu=name))
        assert ("not measured" in said) == (name in {"A100", "L4"})
        assert re.search(rf"one {name} at \S+% of its peak, {machine.price:g} USD", at(gpu=name))


def test_what_is_no_amount_is_named_and_changes_nothing() -> None:
    usual, odd = at(), at(compute="much")
    assert "“much” is no amount; expected such as 1e15, 500K or 5M" in odd
    assert 'aria-invalid="true"' in odd
    assert shown(odd, "ndcg") == shown(usual, "ndcg")
    assert "“300” is no share in %; expected a number up to 100" in at(utilisation="300")


def test_every_input_is_labelled_and_sliders_say_their_value() -> None:
    dom = at(compute="1e13", data="1M", n="2M")
    for tag in re.findall(r"<(?:input|select)[^>]*>", dom):
        name = re.search(r'id="([^"]*)"', tag)[1]
        assert "aria-label=" in tag or f'<label for="{name}"' in dom, tag
    values = dict(re.findall(r'<input id="(\S+)-slider"[^>]* aria-valuetext="([^"]*)"', dom))
    values = {name: html.unescape(value).replace("\u00a0", " ") for name, value in values.items()}
    assert values == {"compute": "1 × 10¹³ FLOPs", "data": "1M interactions", "n": "2M parameters"}


@pytest.mark.parametrize("kind", ["right", "no JSON", "other JSON", "unknown form", "cut samples"])
def test_ones_own_laws_are_opened_and_wrong_files_are_not(tmp_path: Path, beauty: Planner, kind: str) -> None:
    pages.write_laws(tmp_path / "laws.json", beauty, "mine")
    laws = json.loads((tmp_path / "laws.json").read_text())
    if kind == "unknown form":
        laws["data"]["form"] = "cubic"
    if kind == "cut samples":
        laws["compute"]["samples"][3] = laws["compute"]["samples"][3][:-1]
    text = {"no JSON": '{"format"', "other JSON": "[1]"}.get(kind, json.dumps(laws))
    folder = tmp_path / "page"
    shutil.copytree(PAGE, folder)
    call = f"<script>openLaws(new File([{json.dumps(text)}], 'laws.json'));</script></body>"
    index = folder / "index.html"
    index.write_text(index.read_text(encoding="utf-8").replace("</body>", call), encoding="utf-8")
    dom = at(folder)
    if kind == "right":
        assert "mine (laws.json)" in dom
        budget = float(re.search(r"compute=([^&\"]+)", dom)[1])
        interactions = 198e3  # the page starts at the runs' own, to three digits
        (row,) = beauty.plan(budget, interactions).to_dict("records")
        assert shown(dom, "ndcg")[0] == pytest.approx(row["ndcg"], rel=1e-6)
    else:
        reason = {"no JSON": "holds no laws", "other JSON": "holds no laws", "unknown form": "cubic"}
        assert re.search(rf'id="said"[^>]*>laws.json was not opened: [^<]*{reason.get(kind, "damaged")}', dom)
        assert shown(dom, "ndcg") == shown(at(), "ndcg")
        assert "laws.json)" not in dom


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The page at an address, in a frame 320 pixels wide on a dark page of the book."""
    shutil.copytree(PAGE, tmp_path / "planner")
    frame = '<iframe id="planner" src="planner/index.html" style="width:320px;height:900px;border:0"></iframe>'
    (listens,) = re.findall("<script>.*?</script>", (PAGE.parents[1] / "planner.md").read_text(encoding="utf-8"), re.S)
    script = """<script>const frame = document.getElementById("planner");
    frame.onload = () => setTimeout(() => {
      const page = frame.contentDocument, root = page.documentElement;
      document.title = JSON.stringify({width: root.scrollWidth, theme: root.dataset.theme,
        ground: getComputedStyle(page.body).backgroundColor, height: frame.style.height});
    }, 500);</script>"""
    (tmp_path / "book.html").write_text(f'<html data-theme="dark"><body>{frame}{listens}{script}</body></html>')
    handler = functools.partial(_Silent, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/book.html"
        server.shutdown()
        thread.join()


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_a_narrow_frame_in_a_dark_book_is_neither_clipped_nor_white(served: str) -> None:
    found = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", opened(served))[1]))
    assert found["width"] <= 320
    assert found["theme"] == "dark"
    assert max(map(int, re.findall(r"\d+", found["ground"]))) < 60
    assert int(found["height"].removesuffix("px")) > 1000  # the frame is as high as what it holds


def test_the_words_for_time_are_those_of_the_command_line() -> None:
    table = pd.DataFrame([[1e11, "seconds"], [1e15, "minutes"], [1e18, "days"]], columns=["compute", "unit"])
    for row in table.itertuples():
        dom = at(compute=row.compute, data="1e12", gpu="H100")
        hours, words = shown(dom, "hours")
        assert row.unit in words, (hours, words)

"""The page on forms of data: every example of it is read by the importer that it is an example of."""

import re
from pathlib import Path

import pandas as pd
import pytest

from srtlib.cli.entry import main
from srtlib.data import movielens
from srtlib.data.amazon import categories, sources
from srtlib.data.engines import expressions
from srtlib.data.importing import import_data
from srtlib.data.loading import load_dataset, read_tables
from srtlib.data.statistics import evaluation_statistics
from srtlib.paths import project_root
from srtlib.protocols import parse_cuts

PAGE = (project_root() / "book" / "data_forms.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"^```\{code-block\} text\n:caption: (.+)\n((?:.*\n)+?)```$", PAGE, flags=re.MULTILINE))
COMMANDS = [re.sub(r"\\\n\s*", "", line) for line in re.findall(r"^    (srt (?:.*\\\n)*.*)$", PAGE, flags=re.MULTILINE)]
SMALL = {"threads": 1, "memory": "500MB"}
USED: set[str] = set()


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with every example, and a pipeline that keeps users and items however few ratings they have."""
    monkeypatch.setenv("SRT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(expressions, "MIN_RATINGS", 1)
    monkeypatch.setattr(movielens, "CORE", 1)
    monkeypatch.chdir(tmp_path)
    for name, text in EXAMPLES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def run(number: int, *files: str, more: tuple[str, ...] = ()) -> None:
    """A command of the page, which reads these examples."""
    USED.update(files)
    assert main([*COMMANDS[number].replace("\\\n", " ").split()[1:], *more]) == 0


def titles(name: str) -> list[str]:
    data = load_dataset(name)
    return [data.catalogue["title"].iloc[item] for item in data.items]


def test_your_own_tables(raw: Path) -> None:
    run(0, "interactions.csv", "items.csv")
    assert titles("mine") == ["Fountain pen, red", "Blue ink & cartridges", "Desk lamp"]
    log, _ = read_tables(raw / "home" / "mine")
    assert log["item_id"].tolist()[-1] == "007"
    assert log["timestamp"].tolist() == [1735036200, 1735084800, 1735282800]


def test_a_split_by_time_of_them(raw: Path) -> None:
    run(0)
    assert COMMANDS[-1].startswith("srt train mine --cuts ")
    data = load_dataset("mine", cuts=parse_cuts(COMMANDS[-1].split()[-2:]))
    assert data.before is not None
    assert data.before.tolist() == [[1, 2]]


def test_columns_of_other_names(raw: Path) -> None:
    run(1, "log.jsonl", "products.jsonl")
    items = load_dataset("mine").catalogue.set_index("item_id")
    assert titles("mine") == ["Hand cream", "Soap", "Brush"]
    assert items.loc["B01", ["brand", "categories"]].tolist() == ["Acme", "Beauty > Hands"]


def test_baskets(raw: Path) -> None:
    goods = ["bread", "butter", "jam"]
    pd.DataFrame({"item_id": goods, "title": goods}).to_csv(raw / "items.csv", index=False)
    run(2, "baskets.csv")
    assert titles("mine") == goods
    ties = evaluation_statistics("mine").set_index("statistic").loc["ties_in_time", "value"]
    assert ties == 1


@pytest.mark.parametrize("reviews", [False, True])
def test_amazon_2023(raw: Path, reviews: bool) -> None:
    core, texts, metadata = (
        name.format("All_Beauty") for name in (categories.CORE, categories.REVIEWS, categories.METADATA)
    )
    USED.update([core, texts, metadata])
    if reviews:
        (raw / core).unlink()
    assert COMMANDS[4] == f"{COMMANDS[3]} --raw DIR"
    counts = categories.prepare(["All_Beauty"], raw, **SMALL).set_index("statistic")["value"]
    assert (counts["ratings"], counts["interactions"]) == (3, 3)
    assert titles("amazon-2023-All_Beauty") == ["Hand cream", "Soap", "Brush"]


def test_an_official_split(raw: Path) -> None:
    USED.update(name for name in EXAMPLES if "last_out" in name)
    assert COMMANDS[5] == f"{COMMANDS[3]} --split last_out"
    categories.prepare(["All_Beauty"], raw, "last_out", **SMALL)
    data = load_dataset("amazon-2023-All_Beauty-last_out")
    assert [data.catalogue["title"].iloc[data.targets(part)[0]] for part in ("valid", "test")] == ["Soap", "Brush"]
    assert COMMANDS[6] == "srt train amazon-2023-All_Beauty-last_out"
    assert COMMANDS[8].startswith("srt train amazon-2023-All_Beauty-timestamp --cuts ")
    assert parse_cuts(COMMANDS[8].split()[-2:]) == categories.official.CUTS


@pytest.mark.filterwarnings("ignore:.*transfer")  # sports is not among the examples
def test_amazon_2018_and_2014(raw: Path) -> None:
    USED.update([sources.RATINGS, sources.METADATA, *sources.TRANSFER["beauty"]])
    for file in sources.TRANSFER["sports"]:
        (raw / file).write_text(EXAMPLES[file.replace("Sports_and_Outdoors", "Beauty")])
    steps = ["items", "transfer", "users", "samples"]
    sources.prepare(raw, steps, sizes={"3": 3}, **SMALL)
    assert titles("amazon-3") == ["Hand cream", "Soap", "Brush"]
    assert titles("amazon-beauty") == ["Women's comb", "Mirror", ""]


def test_movielens(raw: Path) -> None:
    run(-3, "ratings.dat", "movies.dat", more=("--raw", str(raw)))
    found = titles("movielens")
    assert [title.split()[0] for title in found] == ["One", "My", "James"]


def test_pools(raw: Path) -> None:
    run(0)
    USED.add("interactions of a pool")
    import_data(
        "log.jsonl",
        "products.jsonl",
        "other-set",
        {"item_id": "what", "user_id": "who", "timestamp": "when", "title": "name"},
    )
    run(-2)
    log, _ = read_tables(raw / "home" / "both")
    shown = pd.read_csv(raw / "interactions of a pool")
    assert log[["user_id", "item_id"]].to_numpy().tolist()[:3] == shown[["user_id", "item_id"]].to_numpy().tolist()
    assert load_dataset("both").n_users == 2


def test_every_example_was_read() -> None:
    """By the tests above, which pytest runs before."""
    assert set(EXAMPLES) == USED

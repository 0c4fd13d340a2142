"""Own data from CSV, JSON lines and Parquet become a data set of the one format."""

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from srtlib.data.importing import import_data
from srtlib.data.loading import list_datasets, load_dataset

Tables = tuple[pd.DataFrame, pd.DataFrame]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SRT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def write(table: pd.DataFrame, path: Path) -> Path:
    if path.name.endswith(".parquet"):
        table.to_parquet(path)
    elif ".csv" in path.name:
        table.to_csv(path, index=False)
    else:
        lines = "".join(json.dumps(row) + "\n" for row in table.to_dict("records")).encode()
        path.write_bytes(gzip.compress(lines) if path.suffix == ".gz" else lines)
    return path


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "jsonl", "json.gz", "parquet"])
def test_every_kind_of_file_gives_the_same_data_set(tables: Tables, dataset: Any, tmp_path: Path, suffix: str) -> None:
    files = [
        write(table, tmp_path / f"{stem}.{suffix}") for table, stem in zip(tables, ("log", "products"), strict=True)
    ]
    import_data(files[0], files[1], "mine")
    assert load_dataset("mine").fingerprint == dataset.fingerprint


def test_the_same_files_are_imported_once_and_others_never_over_them(tables: Tables, tmp_path: Path) -> None:
    files = [write(table, tmp_path / f"{stem}.csv") for table, stem in zip(tables, ("log", "products"), strict=True)]
    folder = import_data(*files)
    assert folder.name.startswith("log-")
    written = (folder / "interactions.parquet").stat().st_mtime_ns
    assert import_data(*files) == folder
    assert (folder / "interactions.parquet").stat().st_mtime_ns == written
    import_data(*files, "mine")
    write(tables[0][tables[0]["user_id"] != "u7"], files[0])
    assert import_data(*files) != folder
    with pytest.raises(FileExistsError, match="mine is there already, of other content"):
        import_data(*files, "mine")


def test_ids_keep_their_leading_zeros(tmp_path: Path) -> None:
    log = pd.DataFrame({"user_id": ["01"] * 3, "item_id": ["007", "008", "009"], "timestamp": [1, 2, 3]})
    items = pd.DataFrame({"item_id": ["007", "008", "009"], "title": list("abc")})
    data = load_dataset(import_data(write(log, tmp_path / "log.csv"), write(items, tmp_path / "items.csv")))
    assert data.user_ids.tolist() == ["01"]
    assert data.catalogue["item_id"].tolist() == ["007", "008", "009"]


def test_columns_of_other_names_dates_lists_and_entities(tmp_path: Path) -> None:
    log = pd.DataFrame({"who": [1, 1, 1], "what": [7, 8, 9], "when": ["2020-01-03", "2020-01-01", "2020-01-02"]})
    rows = [{"what": i, "name": f"A &amp; {i}", "cats": ["X", "Y"]} for i in (7, 8, 9, 9)]
    rows[-1]["name"] = "the last"
    columns = {"user_id": "who", "item_id": "what", "timestamp": "when", "title": "name", "categories": "cats"}
    files = write(log, tmp_path / "log.csv"), write(pd.DataFrame(rows), tmp_path / "products.jsonl")
    folder = import_data(*files, "mine", columns)
    table, items = (pd.read_parquet(folder / f"{stem}.parquet") for stem in ("interactions", "items"))
    assert table["item_id"].tolist() == ["8", "9", "7"]
    assert table["timestamp"].tolist() == [1_577_836_800 + 86_400 * day for day in range(3)]
    assert items["title"].tolist() == ["A & 7", "A & 8", "the last"]
    assert set(items["categories"]) == {"X > Y"}


@pytest.mark.parametrize(
    ("change", "columns", "message"),
    [
        ({"user_id": "user"}, {}, "interactions: no column user_id for user_id; found user, item_id, timestamp"),
        ({}, {"brand": "maker"}, "items: no column maker for brand; found item_id, title, brand"),
        ({"timestamp": "rating"}, {"timestamp": "none"}, "no column none for timestamp"),
    ],
)
def test_missing_columns_are_named(
    tables: Tables, tmp_path: Path, home: Path, change: dict[str, str], columns: dict[str, str], message: str
) -> None:
    log, items = tables[0].rename(columns=change), tables[1]
    with pytest.raises(ValueError, match=message):
        import_data(write(log, tmp_path / "log.csv"), write(items, tmp_path / "items.csv"), "mine", columns)
    assert not list(home.glob("*mine*"))


def test_what_cannot_be_used_leaves_nothing(tables: Tables, tmp_path: Path, home: Path) -> None:
    log, items = write(tables[0], tmp_path / "log.csv"), write(tables[1].head(3), tmp_path / "items.csv")
    with pytest.raises(ValueError, match="expected at most half"):
        import_data(log, items, "mine")
    (tmp_path / "bad.parquet").write_bytes(b"no table")
    with pytest.raises(ValueError, match=r"bad.parquet"):
        import_data(tmp_path / "bad.parquet", items, "mine")
    with pytest.raises(ValueError, match=r"log.txt is of no known kind; expected .csv"):
        import_data(log.rename(tmp_path / "log.txt"), items, "mine")
    with pytest.raises(FileNotFoundError, match=r"log.csv is not there"):
        import_data(log, items, "mine")
    assert not list(home.glob("*mine*"))


def test_what_is_there_is_listed(tables: Tables, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SRT_DATA", raising=False)
    import_data(write(tables[0], tmp_path / "log.csv"), write(tables[1], tmp_path / "items.csv"), "mine")
    (row,) = list_datasets().to_dict("records")
    assert (row["name"], row["interactions"], row["items"]) == ("mine", len(tables[0]), 40)
    assert row["folder"] == str(home / "mine")

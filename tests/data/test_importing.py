"""Own data from CSV, JSON lines and Parquet become a data set of the one format."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from srtlib.data.importing import import_data
from srtlib.data.loading import list_datasets, load_dataset, read_tables
from srtlib.data.pooling import pool_datasets
from srtlib.data.statistics import describe, evaluation_statistics, protocol_warnings

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
        (
            {"user_id": "user"},
            {},
            "log.csv: no column user_id; found user, item_id, timestamp; .* named by --column user_id=NAME",
        ),
        ({}, {"brand": "maker"}, "items.csv: no column maker for brand; found item_id, title, brand"),
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
    with pytest.raises(ValueError, match=r"expected at most half, and ids as the items have them, such as 'i\d+'"):
        import_data(log, items, "mine")
    (tmp_path / "bad.parquet").write_bytes(b"no table")
    with pytest.raises(ValueError, match=r"bad.parquet"):
        import_data(tmp_path / "bad.parquet", items, "mine")
    with pytest.raises(ValueError, match=r"log.txt is of no known kind; expected .csv"):
        import_data(log.rename(tmp_path / "log.txt"), items, "mine")
    with pytest.raises(FileNotFoundError, match=r"log.csv is not there; expected a file"):
        import_data(log, items, "mine")
    with pytest.raises(IsADirectoryError, match=r"^[^:]* is a folder; expected a file$"):
        import_data(tmp_path, items, "mine")
    assert not list(home.glob("*mine*"))


def test_what_is_there_is_listed(tables: Tables, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SRT_DATA", raising=False)
    import_data(write(tables[0], tmp_path / "log.csv"), write(tables[1], tmp_path / "items.csv"), "mine")
    row, shipped = list_datasets().to_dict("records")
    assert shipped["name"] == "online_retail"
    assert (row["name"], row["interactions"], row["items"]) == ("mine", len(tables[0]), 40)
    assert row["folder"] == str(home / "mine")
    import_data(write(tables[0], tmp_path / "log.csv"), write(tables[1], tmp_path / "items.csv"), "worse")
    (home / "worse" / "items.parquet").write_bytes(b"PAR1")
    with pytest.warns(UserWarning, match="worse is left out: a table cannot be read"):
        assert list_datasets()["name"].tolist() == ["mine", "online_retail"]


LOG = [(f"u{u}", f"i{(u + k) % 9}", 1_600_000_000 + k) for u in range(12) for k in range(5)]
TITLES = ["Red pen", "Blue pen", "Ink", "Desk", "Lamp", "Chair", "Note book", "Clip", "Paper"]


def shop(folder: Path, log: str | bytes = "", items: str | bytes = "", suffix: str = "csv") -> tuple[Path, Path]:
    """A small shop's two files; what is not given is plain."""
    plain = "".join(f"{user},{item},{time}\n" for user, item, time in LOG)
    log = log or "user_id,item_id,timestamp\n" + plain
    items = items or "item_id,title\n" + "".join(f"i{n},{title}\n" for n, title in enumerate(TITLES))
    paths = folder / "log.csv", folder / f"products.{suffix}"
    for path, content in zip(paths, (log, items), strict=True):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return paths


def plain(**changed: str) -> str:
    """The plain log with some of its text replaced."""
    text = "user_id,item_id,timestamp\n" + "".join(f"{user},{item},{time}\n" for user, item, time in LOG)
    for old, new in changed.items():
        text = text.replace(old, new)
    return text


def imported(*files: Path, **options: Any) -> Any:
    return load_dataset(import_data(*files, **options))


def test_a_quote_late_in_a_long_file_is_no_part_of_an_id(tmp_path: Path) -> None:
    log = "user_id,item_id,timestamp\n" + "".join(f"u{n % 4000},i{n % 9},{n}\n" for n in range(24_000))
    log += "".join(f'"late","i{n}",{n}\n' for n in range(5))
    items = "item_id,title\n" + "".join(f"i{n},{n}\n" for n in range(22_000)) + '"q1","Pen, red"\n'
    data = imported(*shop(tmp_path, log, items))
    assert "late" in data.user_ids
    assert data.n_interactions == 24_005
    assert data.catalogue.iloc[-1][["item_id", "title"]].tolist() == ["q1", "Pen, red"]
    assert data.catalogue["title"].iloc[7] == "7"


def test_a_fraction_late_in_a_long_file_is_kept(tmp_path: Path) -> None:
    log = plain() + "".join(f"v{n % 4000},i{n % 9},{n}\n" for n in range(24_000)) + "v1,i1,24000.5\n"
    folder = import_data(*shop(tmp_path, log))
    assert pd.read_parquet(folder / "interactions.parquet")["timestamp"].max() == 1_600_000_004
    assert 24_000.5 in set(pd.read_parquet(folder / "interactions.parquet")["timestamp"])


def test_ids_of_json_lines_are_kept_byte_for_byte(tmp_path: Path) -> None:
    ids = ["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A10", "007", 12, "DE", "NA", "null"]
    rows = [{"user_id": f"u{u}", "item_id": i, "timestamp": t} for u in range(6) for t, i in enumerate(ids)]
    log, items = tmp_path / "log.jsonl", tmp_path / "items.jsonl"
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    items.write_text("".join(json.dumps({"item_id": i, "title": "Thing"}) + "\n" for i in ids))
    data = imported(log, items)
    assert data.catalogue["item_id"].tolist() == list(map(str, ids))
    assert data.items[data.offsets[0] : data.offsets[1]].tolist() == list(range(6))


def test_users_and_items_may_be_called_na_and_null(tmp_path: Path) -> None:
    items = "item_id,title\n" + "".join(f"{'null' if n == 0 else f'i{n}'},{t}\n" for n, t in enumerate(TITLES))
    data = imported(*shop(tmp_path, plain(**{"u0,": "NA,", ",i0,": ",null,"}), items))
    assert "NA" in data.user_ids
    assert data.catalogue["item_id"].iloc[0] == "null"
    assert data.n_interactions == 60


def test_nineteen_digits_keep_their_order(tmp_path: Path) -> None:
    rows = "".join(f"u{u},i{8 - k},{1_700_000_000_000_000_000 + 10 * k}\n" for u in range(5) for k in range(9))
    data = imported(*shop(tmp_path, "user_id,item_id,timestamp\n" + rows))
    assert data.items[:9].tolist() == list(range(8, -1, -1))


def test_lists_and_objects_are_read_as_words_paths_and_names(tmp_path: Path) -> None:
    paths = [["Office", "Ink"], ["Art", "Ink"]]
    rows = [
        {"item_id": f"i{n}", "title": [t, "new"], "brand": {"name": "Acme", "id": 3}, "categories": paths}
        for n, t in enumerate(TITLES)
    ]
    items = "".join(json.dumps(row) + "\n" for row in rows)
    row = imported(*shop(tmp_path, items=items, suffix="jsonl")).catalogue.iloc[2]
    assert row.tolist() == ["i2", "Ink new", "Acme", "Office > Ink, Art > Ink"]


def test_gzip_in_gzip_and_mixed_line_ends(tmp_path: Path) -> None:
    items = "".join(json.dumps({"item_id": f"i{n}", "title": t}) + "\n" for n, t in enumerate(TITLES)).encode()
    packed = gzip.compress(gzip.compress(items))
    assert imported(*shop(tmp_path, plain(**{"\nu3": "\r\nu3"}), packed, "jsonl.gz")).n_interactions == 60


def test_columns_may_be_called_otherwise_in_each_file(tmp_path: Path) -> None:
    files = shop(
        tmp_path, plain(item_id="product_id"), "id,title\n" + "".join(f"i{n},{t}\n" for n, t in enumerate(TITLES))
    )
    mapping = {"interactions_columns": {"item_id": "product_id"}, "items_columns": {"item_id": "id"}}
    assert imported(*files, **mapping).n_items == 9
    with pytest.raises(ValueError, match=r"log.csv: no column id for item_id; found user_id, product_id, timestamp"):
        import_data(*files, columns={"item_id": "id"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"columns": {"usr_id": "user"}},
            "column 'usr_id' is none of ours; expected one of user_id, item_id, timestamp",
        ),
        (
            {"interactions_columns": {"title": "t"}},
            "column 'title' is none of ours; expected one of user_id, item_id, timestamp, rating",
        ),
        (
            {"items_columns": {"user_id": "t"}},
            "column 'user_id' is none of ours; expected one of item_id, title, brand",
        ),
        ({"name": "synthetic"}, "name 'synthetic' stands for something else"),
        ({"name": "cache"}, "name 'cache' stands for something else"),
        ({"name": "../../x"}, "name '../../x': expected letters, digits"),
        ({"name": "/tmp/x"}, "name '/tmp/x': expected letters"),
        ({"name": ".."}, "name '..': expected letters"),
        ({"name": "."}, "name '.': expected letters"),
        ({"name": ".hidden"}, "name '.hidden': expected letters"),
        ({"name": "a b"}, "name 'a b': expected letters"),
        ({"name": "a\n"}, r"name 'a\\n': expected letters"),
        ({"encoding": "klingon"}, "encoding 'klingon' is not known"),
    ],
)
def test_bad_requests_are_refused(tmp_path: Path, home: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        import_data(*shop(tmp_path), **options)
    assert not home.exists()


@pytest.mark.parametrize(
    ("log", "items", "message"),
    [
        (plain() + "u1,i1,inf\nu2,i1,-inf\n", "", r"log.csv: row 61: timestamp 'inf' is not finite \(2 of 62 rows\)"),
        (plain() + "u1,i1,\n", "", r"log.csv: row 61: timestamp is missing \(1 of 61 rows\)"),
        (plain() + "u1,i1,5,6\n", "", "log.csv: line 62: 4 fields; expected 3"),
        (plain() + ",i1,5\n", "", "log.csv: row 61: user_id is missing"),
        (plain(**{"16000000": "03/04/20"}), "", "log.csv: row 1: timestamp '03/04/2000' is ambiguous: .*--date-format"),
        (
            "",
            "item_id,title\ni1,Caf\u00e9\n".encode("latin-1"),
            "products.csv: line 2 is not utf-8; .*--encoding latin-1",
        ),
        ("", "item_id,title\n", "products.csv: the table is empty"),
        ("", 'item_id,title\ni1,"Pen\n', "products.csv: line 2: a quote that begins there does not end"),
        ("user_id,item_id,timestamp,rating\nu,i1,1,good\n", "", "log.csv: row 1: rating 'good' is not a number"),
    ],
)
def test_errors_name_the_file_and_the_row(
    tmp_path: Path, home: Path, log: str, items: str | bytes, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        import_data(*shop(tmp_path, log, items), "mine")
    assert "\n" not in str(refused.value)
    assert not home.exists()


def test_a_date_format_and_an_encoding(tmp_path: Path) -> None:
    log = plain(**{f"160000000{k}": f"0{k + 1}/04/2024" for k in range(5)})
    items = "item_id,title\n" + "".join(f"i{n},Café\n" for n in range(9))
    folder = import_data(*shop(tmp_path, log, items.encode("latin-1")), date_format="%d/%m/%Y", encoding="latin-1")
    times = pd.read_parquet(folder / "interactions.parquet")["timestamp"]
    assert sorted(set(times)) == [1_711_929_600 + 86_400 * day for day in range(5)]
    assert set(load_dataset(folder).catalogue["title"]) == {"Café"}


def test_paths_mean_themselves(tmp_path: Path) -> None:
    """Brackets, stars and quotes are no patterns, for the files and for the data home."""
    for name in ("odd[1]", "odd1", "a*", "ab", "it's", 'say "hi"'):
        (tmp_path / name).mkdir()
        log = plain() if name not in ("odd1", "ab") else plain(u3="other")
        data = imported(*shop(tmp_path / name, log), name=f"n{len(name)}{ord(name[-1])}")
        assert ("other" in data.user_ids) == (name in ("odd1", "ab"))
    (tmp_path / "a*.csv").write_text(plain())
    with pytest.raises(FileNotFoundError, match=r"x\*.csv is not there"):
        import_data(tmp_path / "x*.csv", tmp_path / "a*" / "products.csv")
    assert import_data(tmp_path / "a*.csv", tmp_path / "a*" / "products.csv").name.startswith("a--")


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "gone"])
@pytest.mark.parametrize("name", ["interactions.parquet", "items.parquet", "imported.json"])
def test_damage_of_what_was_imported_is_named(tmp_path: Path, damage: str, name: str) -> None:
    files = shop(tmp_path)
    path = import_data(*files, "mine") / name
    content = path.read_bytes()
    flipped = bytes([*content[:40], content[40] ^ 1, *content[41:]])
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"cut": content[: len(content) // 2], "flip": flipped, "empty": b""}[damage])
    if (damage, name) != ("gone", "imported.json"):
        with pytest.raises((ValueError, FileNotFoundError), match=name.partition(".")[0]):
            load_dataset("mine")
    with pytest.raises((ValueError, OSError), match=f"{name.partition('.')[0]}|of other content"):
        import_data(*files, "mine")


@pytest.mark.parametrize("text", ["[]", "3", '"x"', '{"tables": 3}', '{"tables": {"items.parquet": 1}}', "[" * 100_000])
def test_a_record_of_another_form_is_named(tmp_path: Path, text: str) -> None:
    folder = import_data(*shop(tmp_path), "mine")
    (folder / "imported.json").write_text(text)
    with pytest.raises(ValueError, match=r"imported.json"):
        load_dataset("mine")


@pytest.mark.parametrize("stem", ["interactions", "items"])
def test_changed_tables_are_not_described_either(tmp_path: Path, stem: str) -> None:
    folder = import_data(*shop(tmp_path))
    path = folder / f"{stem}.parquet"
    pd.read_parquet(path).iloc[:-1].to_parquet(path)
    with pytest.raises(ValueError, match=rf"{stem}\.parquet is not what was imported"):
        read_tables(folder)
    with pytest.raises(ValueError, match=rf"{stem}\.parquet is not what was imported"):
        describe(folder)


# Ties in time


def baskets(folder: Path, seed: int | None) -> tuple[Path, Path]:
    """Baskets of four items at one time, whose rows stand in an order drawn by the seed; None: by item."""
    rows = [f"u{u},i{i},{day}\n" for u in range(12) for day in range(2) for i in range(4 * day, 4 * day + 4)]
    order = range(len(rows)) if seed is None else np.random.default_rng(seed).permutation(len(rows))
    folder.mkdir()
    return shop(folder, "user_id,item_id,timestamp\n" + "".join(rows[i] for i in order))


def sequences(folder: Path, seed: int = 0) -> list[list[int]]:
    data = load_dataset(folder, seed)
    return [part.tolist() for part in np.split(data.items, data.offsets[1:-1])]


def test_a_hash_takes_from_the_order_of_the_file_what_it_says(tmp_path: Path) -> None:
    files = [baskets(tmp_path / str(seed), seed) for seed in (None, 0, 1)]
    found = [sequences(import_data(*pair, ties="hash")) for pair in files]
    assert found[0] == found[1] == found[2]
    assert import_data(*files[0]) == import_data(*files[0], ties="hash")
    ascending = sum(sequence[:4] == sorted(sequence[:4]) for sequence in found[0])
    assert ascending <= 3  # of 12, where one in 24 is by chance
    assert sequences(import_data(*files[0]), seed=1) != found[0]


def test_the_order_of_the_file_may_be_kept(tmp_path: Path) -> None:
    for seed in (None, 0, 1):
        log, items = baskets(tmp_path / str(seed), seed)
        table = pd.read_csv(log).sort_values(["user_id", "timestamp"], kind="stable")
        expected = [rows.str[1:].astype(int).tolist() for _, rows in table.groupby("user_id")["item_id"]]
        folder = import_data(log, items, ties="keep")
        assert folder != import_data(log, items)
        assert sequences(folder) == sequences(folder, seed=1) == expected
        assert describe(folder)[0].equals(describe(import_data(log, items))[0])
        shares = evaluation_statistics(folder).set_index("statistic")["value"]
        assert shares["ties_in_time"] == 6 / 7
        assert "the order in a basket, drawn or kept, is no order" in " ".join(
            protocol_warnings(evaluation_statistics(folder))
        )


def test_a_pool_keeps_each_parts_way_with_ties(tmp_path: Path) -> None:
    log, items = baskets(tmp_path / "shop", 0)
    parts = [import_data(log, items, name, ties=name) for name in ("hash", "keep")]
    pool = load_dataset(pool_datasets("both", [part.name for part in parts]))
    found = np.split(pool.catalogue["item_id"].to_numpy()[pool.items], pool.offsets[1:-1])
    kept = [[int(name.rpartition("i")[2]) for name in names] for names in found[12:]]
    assert kept == sequences(parts[1])
    assert [sorted(names[:4]) for names in found[:12]] == [[f"hash/i{i}" for i in range(4)]] * 12


def test_ties_are_kept_or_not(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ties 'file': expected one of hash, keep"):
        import_data(*shop(tmp_path), ties="file")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ({"user_id": "item_id"}, "column 'item_id' of the interactions is named for user_id and for item_id"),
        ({"user_id": "a", "item_id": "a"}, "column 'a' of the interactions is named for user_id and for item_id"),
        ({"timestamp": "user_id"}, "column 'user_id' of the interactions is named for user_id and for timestamp"),
        ({"brand": "title"}, "column 'title' of the items is named for title and for brand"),
    ],
)
def test_a_column_is_one_thing(tables: Tables, tmp_path: Path, columns: dict[str, str], fault: str) -> None:
    files = [write(table, tmp_path / f"{stem}.csv") for table, stem in zip(tables, ("log", "products"), strict=True)]
    with pytest.raises(ValueError, match=fault):
        import_data(*files, "mine", columns)


@pytest.mark.filterwarnings("ignore:by-brand. 14 of 40 items have no title, brand, categories")
def test_a_column_that_is_named_for_one_is_no_other_by_its_own_name(tables: Tables, tmp_path: Path, home: Path) -> None:
    log, items = tables
    named = items.assign(title=[f"{title} {n}" for n, title in enumerate(items["title"])])
    log = log.assign(item_id=log["item_id"].map(named.set_index("item_id")["title"]))
    files = [write(table, tmp_path / f"{n}.csv") for n, table in enumerate([log, named.drop(columns="item_id")])]
    import_data(*files, "by-title", items_columns={"item_id": "title"})
    catalogue = load_dataset("by-title").catalogue
    assert catalogue["item_id"].equals(catalogue["title"])
    import_data(*files, "by-brand", items_columns={"item_id": "title", "title": "brand"})
    assert set(load_dataset("by-brand").catalogue["title"]) == {"", "Acme", "Best"}
    assert "brand" not in pd.read_parquet(home / "by-brand" / "items.parquet")

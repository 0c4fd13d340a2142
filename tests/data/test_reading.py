"""Files are read as they are written, and what cannot be read is named: the file, the line, what was expected."""

import gzip
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from srtlib.data import reading
from srtlib.data.engines import lines
from srtlib.data.reading import read_columns, read_table


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("log.csv", bytes),
        ("LOG.CSV", bytes),
        ("log.csv.gz", gzip.compress),
        ("log.CSV.GZ", gzip.compress),
        ("log.csv.gz", lambda data: gzip.compress(gzip.compress(data))),
        ("odd[1]*?'\".csv", bytes),  # a path means itself
    ],
)
def test_csv_cells_are_text(tmp_path: Path, name: str, pack: object) -> None:
    text = 'user_id,item_id,title\r\n007,NA,"Pen, red"\nnull,1e5,"a ""b""\nc"\r\n"late",,9.0\n'
    write(tmp_path / "odd1.csv", "user_id\nother\n")
    table = read_table(write(tmp_path / name, pack(text.encode())))  # type: ignore[operator]
    assert table["user_id"].tolist() == ["007", "null", "late"]
    assert table["item_id"].fillna("?").tolist() == ["NA", "1e5", "?"]
    assert table["title"].tolist() == ["Pen, red", 'a "b"\nc', "9.0"]


@pytest.mark.parametrize(
    ("name", "separator", "prefix"),
    [("a.tsv", "\t", ""), ("a.csv", ";", ""), ("a.csv", "|", ""), ("a.csv", ",", "\ufeff")],
)
def test_separators_and_byte_order_marks(tmp_path: Path, name: str, separator: str, prefix: str) -> None:
    path = write(tmp_path / name, prefix + f"user_id{separator}item_id\n\n01{separator}x\n")
    assert read_table(path).to_dict("records") == [{"user_id": "01", "item_id": "x"}]


def test_a_comma_in_the_header_of_a_tsv_file_is_no_separator(tmp_path: Path) -> None:
    path = write(tmp_path / "items.tsv.gz", gzip.compress(b"item_id\ttitle, long\na\tx, y\n"))
    assert read_table(path).to_dict("records") == [{"item_id": "a", "title, long": "x, y"}]


@pytest.mark.parametrize("form", ["lines", "array"])
def test_json_numbers_are_kept_digit_by_digit(tmp_path: Path, form: str) -> None:
    rows = [
        '{"id": 007e1, "t": 1}'.replace("007e1", "7e1"),
        '{"id": "007", "x": NaN}',
        '{"t": 12345678901234567890, "id": 1.50}',
    ]
    text = "\n\n".join(rows) if form == "lines" else "[" + ",\n".join(rows) + "]"
    table = read_table(write(tmp_path / "rows.json", text))
    assert table["id"].tolist() == ["7e1", "007", "1.50"]
    assert table["t"].tolist() == ["1", None, "12345678901234567890"]
    assert table["x"].tolist() == [None, None, None]


def test_parquet_keeps_whole_numbers_beside_missing_ones(tmp_path: Path) -> None:
    frame = pd.DataFrame({"item_id": pd.array([101, None], dtype="Int64"), "title": ["a", "b"]}).set_index("title")
    frame.to_parquet(tmp_path / "a=b.parquet")
    table = read_table(tmp_path / "a=b.parquet")
    assert list(table) == ["item_id", "title"]  # what pandas kept as an index is a column
    assert table["item_id"].astype("string").fillna("").tolist() == ["101", ""]


def test_only_the_columns_that_are_wanted_are_held(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": ["1"], "b": ["2"], "c": ["3"]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    write(tmp_path / "t.jsonl", json.dumps(frame.iloc[0].to_dict()))
    for suffix in ("csv", "parquet", "jsonl"):
        table, names = read_columns(tmp_path / f"t.{suffix}", {"a", "c", "z"})
        assert (list(table), names) == (["a", "c"], ["a", "b", "c"])


def test_encodings(tmp_path: Path) -> None:
    text = "item_id,title\n" + "x,Pen\n" * 3 + "y,Café\n"
    for encoding in ("latin-1", "cp1252", "utf-16", "utf-8-sig"):
        path = write(tmp_path / "items.csv", text.encode(encoding))
        assert read_table(path, encoding)["title"].tolist()[-1] == "Café"
    path = write(tmp_path / "items.csv", text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"items.csv: line 5 is not utf-8; expected .*--encoding latin-1"):
        read_table(path)
    with pytest.raises(ValueError, match=r"items.csv: line 5 is not shift_jis"):
        read_table(path, "shift_jis")
    with pytest.raises(ValueError, match="encoding 'klingon' is not known"):
        read_table(path, "klingon")
    lines = '{"item_id": "x", "title": "Pen"}\n\n{"item_id": "y", "title": "Café"}\n'
    path = write(tmp_path / "items.jsonl", lines.encode("latin-1"))
    assert read_table(path, "latin-1")["title"].tolist() == ["Pen", "Café"]
    with pytest.raises(ValueError, match=r"items.jsonl: line 3 is not utf-8"):
        read_table(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "a.csv is empty; expected a line of column names"),
        ("a.csv", "\n\n", "a.csv is empty"),
        ("a.csv", "a,b\n1,2\n\n1,2,3\n", "a.csv: line 4: 3 fields; expected 2, as in the first line"),
        ("a.csv", 'a,b\n1,"2\n2"\n1\n', "a.csv: line 4: 1 fields; expected 2"),
        ("a.csv", 'a,b\n1,2\n1,"2\n1,2\n', "a.csv: line 3: a quote that begins there does not end"),
        ("a.csv", "a,a\n1,2\n", "a.csv: column 'a' is there twice"),
        ("a.csv", b"PK\x03\x04\xff\xfe\x00\x9c\n\x00", "a.csv: line 1 is not utf-8"),
        ("a.jsonl", "", "a.jsonl is empty; expected a JSON object on each line"),
        ("a.jsonl", "{}\n\n{'a': 1}\n", "a.jsonl: line 3, character 2: no JSON"),
        ("a.jsonl", '{"a": 1}\n{"a": 1', "a.jsonl: line 2, character 8: no JSON"),
        ("a.jsonl", '{"a": 1}\n{"a": 1} {"a": 2}', "a.jsonl: line 2, character 10: no JSON"),
        ("a.jsonl", '{"a": 1}\n7\n', "a.jsonl: line 2: '7' is no JSON object"),
        ("a.json", '[{"a": 1},\n\n{"a"}]', "a.json: line 3, character 5: no JSON"),
        ("a.jsonl", '{"a": 1}\n{"a": 1, "b": 2, "a": 1}\n', "a.jsonl: line 2: 'a' is there twice in an object"),
        ("a.jsonl", '{"a": {"c": 1, "b": 2, "b": 3}}', "a.jsonl: line 1: 'b' is there twice in an object"),
        ("a.json", '[{"a": 1, "a": 2}]', "a.json: line 1: 'a' is there twice in an object"),
        ("a.json", '[{"a": 1}, 3]', "a.json: object 2: '3' is no JSON object"),
        ("a.jsonl", '{"a": ' + "[" * 100_000, "a.jsonl: line 1: nested too deeply"),
        ("a.json", "[" * 100_000, "a.json: line 1: nested too deeply"),
        ("a.parquet", b"no table", "a.parquet cannot be read as Parquet: .*; expected a whole file"),
        ("a.parquet", b"", "a.parquet cannot be read as Parquet"),
        (
            "a.csv.gz",
            gzip.compress(b"a,b\n1,2\n" * 999)[:-12],
            "a.csv.gz is damaged or cut short: .*; expected a whole file",
        ),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 999)[:-12], "a.jsonl.gz is damaged or cut short"),
        ("a.txt", "a\n1\n", "a.txt is of no known kind; expected .csv, .tsv, .json"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        read_table(write(tmp_path / name, content))
    assert str(tmp_path) in str(refused.value) or name == "a.txt"
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json", "a.csv.gz"])
def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(reading, "LONGEST_ROW", 1 << 16)
    monkeypatch.setattr(reading, "LARGEST_ARRAY", 1 << 17)
    begin = {"a.csv": "a,b\n1,", "a.jsonl": '{"a": 1}\n{"a": "', "a.json": '[{"a": "', "a.csv.gz": "a,b\n1,2\n1,"}[name]
    text = (begin + "x" * (1 << 18)).encode()
    with pytest.raises(ValueError, match=rf"{name}: (a row|line 2|an array) .*expected"):
        read_table(write(tmp_path / name, gzip.compress(text) if name.endswith("gz") else text))


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("a.csv.gz", b"1,x\n"),
        ("a.tsv.gz", b"1\tx\n"),
        ("a.jsonl.gz", b'{"id": 1}\n'),
        ("a.json.gz", b'{"id": 1},'),
        ("a.parquet.gz", b"\0"),
    ],
)
@pytest.mark.parametrize("times", [1, 2, 3])
def test_what_unpacks_to_more_than_text_does_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, unit: bytes, times: int
) -> None:
    for limit, size in {"FREE": 1 << 16, "BLOCK": 1 << 12}.items():
        monkeypatch.setattr(lines, limit, size)
    data = (b"[" if name == "a.json.gz" else b"id,t\n" if "csv" in name else b"") + unit * (1 << 18)
    for _ in range(times):
        data = gzip.compress(data)
    path = write(tmp_path / name, data)
    with pytest.raises(ValueError, match=f"{name} unpacks to more than 100 times its size; expected text") as error:
        read_table(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["a.csv.gz", "a.csv"])
def test_well_packed_text_within_the_limit_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for limit, size in {"FREE": 1 << 12, "BLOCK": 1 << 12}.items():
        monkeypatch.setattr(lines, limit, size)
    text = b"id,t\n" + b"".join(b"%d,x\n" % (i * i) for i in range(9_000))
    path = write(tmp_path / name, gzip.compress(text) if name.endswith("gz") else text)
    assert read_table(path)["id"].astype(int).tolist() == [i * i for i in range(9_000)]


def test_the_types_of_parquet_files(tmp_path: Path) -> None:
    columns = {
        "b": pa.array([b"x"], pa.binary()),
        "d": pa.array(["x"]).dictionary_encode(),
        "l": pa.array([["x", "y"]]),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    assert (table["b"][0], table["d"][0], list(table["l"][0])) == (b"x", "x", ["x", "y"])


@pytest.mark.parametrize("encoding", ["base64", "rot13", "hex", "zlib", "undefined"])
def test_an_encoding_that_makes_no_text_is_refused(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "log.csv", "a,b\n1,2\n")
    with pytest.raises(ValueError, match=rf"^encoding {encoding!r} is not known; expected a name such as"):
        read_table(path, encoding)


@pytest.mark.parametrize("encoding", ["utf-16", "punycode"])
def test_encodings_that_do_not_say_where_they_fail(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "log.csv", "user_id,item_id\n1,é_2\n")
    with pytest.raises(ValueError, match=r"log\.csv: line \d+ is not "):
        read_table(path, encoding)


def test_damaged_metadata_of_a_parquet_file_do_not_matter(tmp_path: Path) -> None:
    table = pa.table({"item_id": ["a"]}).replace_schema_metadata({"pandas": '{"index_columns": ["\x00'})
    pq.write_table(table, tmp_path / "log.parquet")
    assert read_table(tmp_path / "log.parquet")["item_id"].tolist() == ["a"]

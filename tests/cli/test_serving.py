import csv
import io
import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from srtlib.cli.entry import main
from srtlib.paths import project_root
from srtlib.serving.recommender import Recommender


def history(folder: Path, *lines: str) -> str:
    path = folder / "history.csv"
    path.write_text("\n".join(["user_id,item_id,timestamp", *lines]) + "\n")
    return str(path)


def test_recommend_reads_and_writes_csv(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = history(tmp_path, "ann,i2,20", "ann,i1,10", "bob,i5,1", "cy,,0")
    capsys.readouterr()
    assert main(["recommend", "--model", model, "--history", path, "--k", "3"]) == 0
    printed = capsys.readouterr()
    offers = pd.read_csv(io.StringIO(printed.out))
    with pytest.warns(UserWarning, match="no item is known of 1 users, 'cy' first"):
        expected = Recommender.load(model).recommend({"ann": ["i1", "i2"], "bob": ["i5"], "cy": []}, k=3)
    pd.testing.assert_frame_equal(offers, expected, check_dtype=False, rtol=1e-5)
    assert printed.err == "srt: no item is known of 1 users, 'cy' first; they get the most popular items\n"


def test_dates_of_a_history_are_in_the_format_that_is_named(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The later of two days: 03/04 is before 02/05 where the day comes first."""
    path = history(tmp_path, "ann,i2,02/05/2024", "ann,i1,03/04/2024")
    command = ["recommend", "--model", model, "--history", path, "--k", "3"]
    capsys.readouterr()
    assert main(command) == 1
    assert capsys.readouterr().err.startswith(f"srt: {path}: row 1: timestamp '02/05/2024' is ambiguous")
    assert main([*command, "--date-format", "%d/%m/%Y"]) == 0
    offers = pd.read_csv(io.StringIO(capsys.readouterr().out))
    expected = Recommender.load(model).recommend({"ann": ["i1", "i2"]}, k=3)
    pd.testing.assert_frame_equal(offers, expected, check_dtype=False, rtol=1e-5)


def test_recommend_as_json_and_from_another_catalogue(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = tmp_path / "items.csv"
    items.write_text("item_id,title\n1,Red pen\n2,Blue ink\n3,Old lamp\n")
    command = ["recommend", "--model", model, "--history", history(tmp_path, "7,2,1", "7,i1,2"), "--items", str(items)]
    capsys.readouterr()
    assert main([*command, "--k", "2", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["unknown_interactions"] == 1
    assert result["popularity_users"] == []
    offers = [(row["user"], row["rank"], row["item_id"]) for row in result["recommendations"]]
    assert sorted(offers) == [("7", 1, offers[0][2]), ("7", 2, offers[1][2])]
    assert {item for _, _, item in offers} == {"1", "3"}
    assert main([*command, "--strict"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


TITLES = {  # item id -> title, and how it is written
    "a": ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
    "b": ("+1", "'+1"),
    "c": ("-1", "'-1"),
    "d": ("@x", "'@x"),
    "e": ("\t=1", "' =1"),
    "f": ("\r=1", "' =1"),
    "g": ("＝1", "'＝1"),
    "h": ("Café 日本, a=b", "Café 日本, a=b"),
    "i": ("a\x1b[2Jb\nc", "a [2Jb c"),
}


@pytest.mark.parametrize("raw", [False, True])
def test_offers_are_utf8_and_safe_in_spreadsheets_and_terminals(
    raw: bool, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the locale; --raw keeps titles as they are."""
    items = tmp_path / "items.parquet"
    table = {"item_id": ["z", *TITLES], "title": ["Pen", *(title for title, _ in TITLES.values())]}
    pd.DataFrame(table).to_parquet(items)
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii", newline="")
    monkeypatch.setattr(sys, "stdout", out)
    command = ["recommend", "--model", model, "--history", history(tmp_path, "=u,z,1"), "--items", str(items)]
    assert main([*command, "--k", "9", *(["--raw"] if raw else [])]) == 0
    written = out.buffer.getvalue().decode("utf-8")  # type: ignore[attr-defined]
    _, *rows = csv.reader(io.StringIO(written, newline=""))
    assert {user for user, *_ in rows} == {"=u" if raw else "'=u"}
    assert {item: title for _, _, item, title, _ in rows} == {item: pair[not raw] for item, pair in TITLES.items()}


def test_candidates_and_what_is_excluded_come_from_files(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stock.csv").write_text("item_id\ni3\ni4\ni8\n")
    (tmp_path / "out.csv").write_text("item_id\ni4\n")
    (tmp_path / "bad.csv").write_text("id\ni4\n")
    command = ["recommend", "--model", model, "--history", history(tmp_path, "ann,i1,1"), "--k", "9", "--json"]
    command += ["--candidates", str(tmp_path / "stock.csv"), "--exclude"]
    capsys.readouterr()
    assert main([*command, str(tmp_path / "out.csv")]) == 0
    offers = json.loads(capsys.readouterr().out)["recommendations"]
    assert {row["item_id"] for row in offers} == {"i3", "i8"}
    assert main([*command, str(tmp_path / "bad.csv")]) == 1
    assert capsys.readouterr().err == f"srt: {tmp_path / 'bad.csv'}: no column item_id; found id\n"


def test_export_writes_a_folder_once(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxscript", reason="the extra srtlib[export] is not installed")
    capsys.readouterr()
    assert main(["export", model, str(tmp_path / "out"), "--json"]) == 0
    written = capsys.readouterr()
    assert set(json.loads(written.out)) == {path.name for path in (tmp_path / "out").iterdir()}
    assert written.err == ""
    assert main(["export", model, str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.endswith("is there already; expected the path of a new folder\n")


def test_models_are_listed_pulled_and_pushed(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pushed: list[tuple[str, str]] = []
    monkeypatch.setattr("srtlib.model.sharing.push_model", lambda *given: pushed.append(given) or "https://hub/a/b")
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # as it is where nobody looks
    capsys.readouterr()
    assert main(["models", "--json"]) == 0
    (row, *_) = json.loads(capsys.readouterr().out)
    assert (row["name"], row["where"]) == ("amazon-small", "with srtlib")
    assert main(["models", "pull", row["name"], "--json"]) == 0
    assert Path(json.loads(capsys.readouterr().out)["folder"]) == project_root() / "models" / "amazon-small"
    assert main(["models", "push", model, "--hub", "a/b"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "address  https://hub/a/b"
    assert pushed == [(model, "a/b")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["pull", "nowhere"],
            "'nowhere' is no released model (amazon-small), and no name on the hub, such as org/name",
        ),
        (["pull", "a/b", "--from", "https://x"], "a/b is on the hub; an address is that of released models"),
        (["push", "nowhere", "--hub", "a/b"], "nowhere is not a complete model folder: no SHA256SUMS"),
        (["push", "amazon-small", "--hub", "b"], "'b' is no name on the hub; expected one such as org/name"),
    ],
)
def test_what_cannot_be_pulled_or_pushed_is_one_line(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    assert main(["models", *arguments]) == 1
    assert capsys.readouterr().err == f"srt: {said}\n"

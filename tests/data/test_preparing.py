"""A data source is one function, added in one place, and found by its name."""

from pathlib import Path

import pandas as pd
import pytest

from srtlib.cli.entry import main
from srtlib.data.importing import import_data
from srtlib.data.loading import load_dataset
from srtlib.data.preparing import SOURCES, prepare_data
from srtlib.data.statistics import describe


def prepare_toys(raw: Path, seed: int = 0) -> pd.DataFrame:
    """A log of toys and their names, separated by semicolons, as a data set."""
    folder = import_data(raw / "log.csv", raw / "toys.csv", "toys", {"title": "toy"}, seed)
    return describe(folder)[0].assign(set="toys")


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SRT_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(SOURCES, "toys", prepare_toys)
    (tmp_path / "log.csv").write_text(
        "user_id,item_id,timestamp\n" + "".join(f"u{u},i{i},{i}\n" for u in range(9) for i in range(5))
    )
    (tmp_path / "toys.csv").write_text("item_id,toy\n" + "".join(f"i{i},Bear {i}\n" for i in range(5)))
    return tmp_path


def test_a_source_that_is_added_is_prepared_by_its_name(raw: Path) -> None:
    counts = prepare_data("toys", raw=raw).set_index("statistic")["value"]
    assert counts["interactions"] == load_dataset("toys").n_interactions == 45


def test_the_command_line_finds_it_too(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "prepare", "toys", "--raw", str(raw), "--seed", "3"]) == 0
    assert "interactions" in capsys.readouterr().out
    assert load_dataset("toys").n_users == 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["amazn"], "source 'amazn' is not known; expected one of amazon, "),
        (["toys", "--engine", "spark"], "source toys has no option engine; expected some of raw, seed"),
    ],
)
def test_what_is_not_known_is_refused(
    raw: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "prepare", *arguments, "--raw", str(raw)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"srt: {message}")
    assert error.count("\n") == 1


def test_an_option_that_is_needed_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "prepare", "movielens"]) == 1
    assert capsys.readouterr().err == "srt: source movielens needs raw: --raw\n"


def test_a_cluster_is_sparks(raw: Path) -> None:
    with pytest.raises(ValueError, match=r"engine duckdb .* has no cluster spark://head"):
        prepare_data("amazon", raw=raw, master="spark://head")

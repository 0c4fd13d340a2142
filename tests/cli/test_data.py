import json
from pathlib import Path
from typing import Any

import pytest

from srtlib.cli.entry import main
from srtlib.data.loading import load_dataset


def test_data_commands(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("SRT_HOME", str(tmp_path))
    monkeypatch.setenv("SRT_DATA", str(Path(folder).parent))
    paths = [f"--{stem}={folder}/{stem}.csv" for stem in ("interactions", "items")]
    assert main(["data", "import", *paths, "--name", "mine", "--json"]) == 0
    counts = {row["statistic"]: row["value"] for row in json.loads(capsys.readouterr().out)}
    assert (counts["users"], counts["items"]) == (60, 40)
    assert main(["data", "list", "--json"]) == 0
    listed = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert listed["mine"]["interactions"] == counts["interactions"]
    assert main(["data", "describe", "mine"]) == 0
    assert "sequence_length_p50" in capsys.readouterr().out
    assert main(["data", "pool", "--name", "both", "mine", folder, "--json"]) == 0
    (*_, everything) = json.loads(capsys.readouterr().out)
    assert (everything["part"], everything["users"], everything["items"]) == ("all", 120, 80)


def test_import_of_files_with_habits_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("SRT_HOME", str(tmp_path / "home"))
    rows = "".join(f"u,{item},0{1 + item}/02/2024\n" for item in range(4))
    (tmp_path / "log.csv").write_text("who,product_id,timestamp\n" + rows)
    (tmp_path / "items.csv").write_bytes(b"id,title\n" + b"".join(b"%d,Caf\xe9\n" % item for item in range(4)))
    command = ["data", "import", f"--interactions={tmp_path}/log.csv", f"--items={tmp_path}/items.csv", "--name=mine"]
    command += ["--column", "user_id=who", "--interactions-column", "item_id=product_id", "--items-column=item_id=id"]
    assert main([*command, "--encoding", "latin-1"]) == 1
    assert "'01/02/2024' is ambiguous" in capsys.readouterr().err
    assert main([*command, "--date-format", "%d/%m/%Y"]) == 1
    assert "items.csv: line 2 is not utf-8" in capsys.readouterr().err
    assert main([*command, "--encoding", "latin-1", "--date-format", "%d/%m/%Y", "--json"]) == 0
    counts = {row["statistic"]: row["value"] for row in json.loads(capsys.readouterr().out)}
    assert counts["last_timestamp"] - counts["first_timestamp"] == 3 * 86_400


def test_import_keeps_the_order_of_the_file_where_it_is_told_to(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("SRT_HOME", str(tmp_path))
    (tmp_path / "log.csv").write_text("user_id,item_id,timestamp\n" + "".join(f"u,i{i},5\n" for i in range(40)))
    command = ["data", "import", f"--interactions={tmp_path}/log.csv", f"--items={folder}/items.csv"]
    for ties, in_order in (("keep", True), ("hash", False)):
        assert main([*command, "--name", ties, "--ties", ties]) == 0
        assert "100% of neighbouring interactions have one time: the order in a basket" in capsys.readouterr().err
        assert (load_dataset(ties).items.tolist() == [*range(40)]) == in_order


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["describe", "nowhere"], "data set 'nowhere' is not there"),
        (["prepare", "amazon", "--raw", "nowhere", "--steps", "items"], "nowhere has no All_Amazon_Meta.json.gz"),
        (["prepare", "amazon", "--steps", "all"], "step 'all' is not known; expected some of download, items"),
        (["prepare", "amazon", "--raw", ".", "--steps", "items", "--memory", "much"], "DuckDB: "),
        (["import", "--interactions", "x.csv", "--items", "y.csv", "--name", "z"], "x.csv is not there"),
        (["import", "--interactions", "x", "--items", "y", "--name", "z", "--column", "user"], "expected OURS=THEIRS"),
        (
            ["import", "--interactions=x", "--items=y", "--name=z", "--column=item_id=a", "--column=item_id=b"],
            "--column item_id: given as 'a' and as 'b'; expected one of them",
        ),
        (["import", "--interactions", "x", "--items", "y", "--name", "synthetic"], "'synthetic' stands for something"),
        (["import", "--interactions", "x", "--items", "y", "--name", "../z"], "name '../z': expected letters, digits"),
    ],
)
def test_errors_of_data_commands_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("SRT_HOME", str(tmp_path))
    assert main(["data", *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from srtlib import runs
from srtlib.cli import main
from srtlib.recommend import Recommender


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tables: tuple[pd.DataFrame, pd.DataFrame]) -> str:
    path = tmp_path_factory.mktemp("own")
    for table, stem in zip(tables, ("interactions", "items"), strict=True):
        table.to_csv(path / f"{stem}.csv", index=False)
    return str(path)


SMALL = ["--d-model", "8", "--set", "n_negatives=16", "--set", "batch_size=100", "--set", "epochs=2"]


def test_train_then_evaluate(folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", folder, *SMALL, "--runs", str(tmp_path), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    model = next(tmp_path.glob("*/model"))
    assert main(["evaluate", "--model", str(model), "--dataset", folder, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == pytest.approx(summary["test"])


@pytest.fixture(scope="module")
def model(folder: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    runs_folder = tmp_path_factory.mktemp("runs")
    assert main(["train", folder, *SMALL, "--runs", str(runs_folder)]) == 0
    return str(next(runs_folder.glob("*/model")))


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


def test_every_command_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    commands = re.findall(r"^    (\w+)", capsys.readouterr().out, flags=re.MULTILINE)
    assert {"train", "sweep", "evaluate", "recommend"} <= set(commands)
    for command in commands:
        with pytest.raises(SystemExit) as end:
            main([command, "--help"])
        assert end.value.code == 0
        assert f"example:\n  srt {command}" in capsys.readouterr().out


def test_exit_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as end:
        main(["recommend", "--model", "m"])
    assert end.value.code == 2

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("srtlib.data.dataset.load_dataset", interrupted)
    assert main(["train", "synthetic"]) == 130


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nowhere"], "data set 'nowhere' is not there"),
        (["train", "FOLDER", "--set", "epoch=3"], "--set: epoch: unknown key; expected one of objective"),
        (["train", "FOLDER", "--set", "epochs=many"], "--set: epochs: "),
        (["train", "FOLDER", "--d-model", "9", "--set", "n_heads=2"], "n_heads=2 must divide d_model=9"),
        (["evaluate", "--model", "nowhere", "--dataset", "FOLDER"], "nowhere is not a model folder"),
        (["recommend", "--model", "nowhere", "--history", "FOLDER/interactions.csv"], "nowhere is not a model folder"),
        (["recommend", "--model", "MODEL", "--history", "nowhere.csv"], "nowhere.csv cannot be read as csv"),
        (
            ["recommend", "--model", "MODEL", "--history", "FOLDER/items.csv"],
            "histories: no column user_id; found item",
        ),
        (["recommend", "--model", "MODEL", "--history", "FOLDER/interactions.csv", "--k", "41"], "k is 41; expected 1"),
        (
            ["recommend", "--model", "MODEL", "--history", "FOLDER/items.csv", "--items", "FOLDER/interactions.csv"],
            "items: no column title; found user_id",
        ),
        (["sweep", "params/Q.yaml"], "size 'Q' is not known; expected one of S, M, L, XL"),
    ],
)
def test_errors_are_one_line_and_exit_1(
    arguments: list[str], message: str, folder: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [a.replace("FOLDER", folder).replace("MODEL", model) for a in arguments]
    capsys.readouterr()
    if command[0] == "train":
        command += ["--runs", str(tmp_path)]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_two_processes_learn_what_one_does(folder: str, tmp_path: Path) -> None:
    """Same global batches, no dropout, no sampling: gradients and so weights agree up to rounding."""
    exact = ["--set", "objective=full_softmax", "--set", "dropout=0", "--device", "cpu"]
    command = ["-m", "srtlib.cli", "train", folder, *SMALL, *exact]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([sys.executable, *command, "--runs", str(tmp_path / "one")], check=True, env=environment)
    subprocess.run([*torchrun, *command, "--runs", str(tmp_path / "two")], check=True, env=environment)
    one, two = runs.table(tmp_path / "one").iloc[0], runs.table(tmp_path / "two").iloc[0]
    assert one["targets_seen"] == two["targets_seen"]
    weights = [load_file(next(tmp_path.glob(f"{n}/*/model/model.safetensors"))) for n in ("one", "two")]
    # The bias of keys has no gradient but rounding, which Adam makes as large as any other.
    for name in (n for n in weights[0] if not n.endswith("qkv.bias")):
        torch.testing.assert_close(weights[0][name], weights[1][name], atol=1e-4, rtol=1e-3)
    assert one["test_ndcg@5"] == pytest.approx(two["test_ndcg@5"], abs=0.03)

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from srtlib import runs
from srtlib.cli import main


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nowhere"], "data set 'nowhere' is not there"),
        (["train", "FOLDER", "--set", "epoch=3"], "--set: epoch: unknown key; expected one of objective"),
        (["train", "FOLDER", "--set", "epochs=many"], "--set: epochs: "),
        (["train", "FOLDER", "--d-model", "9", "--set", "n_heads=2"], "n_heads=2 must divide d_model=9"),
        (["evaluate", "--model", "nowhere", "--dataset", "FOLDER"], "nowhere is not a model folder"),
        (["sweep", "params/Q.yaml"], "size 'Q' is not known; expected one of S, M, L, XL"),
    ],
)
def test_errors_are_one_line_and_exit_1(
    arguments: list[str], message: str, folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [folder if a == "FOLDER" else a for a in arguments]
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["describe", "nowhere"], "data set 'nowhere' is not there"),
        (["prepare", "amazon", "--raw", "nowhere", "--steps", "items"], "nowhere has no All_Amazon_Meta.json.gz"),
        (["prepare", "amazon", "--steps", "all"], "step 'all' is not known; expected some of download, items"),
        (["prepare", "amazon", "--raw", ".", "--steps", "items", "--memory", "much"], "DuckDB: "),
        (["import", "--interactions", "x.csv", "--items", "y.csv", "--name", "z"], "x.csv is not there"),
        (["import", "--interactions", "x", "--items", "y", "--name", "z", "--column", "user"], "expected OURS=THEIRS"),
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

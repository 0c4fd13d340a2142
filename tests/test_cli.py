import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file

from srtlib import runs
from srtlib.cli import main
from srtlib.laws.estimators import plan
from srtlib.serving.recommender import Recommender


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
    assert {"data", "train", "sweep", "evaluate", "recommend", "plan"} <= set(commands)
    for command in [*commands, *(f"data {name}" for name in ("prepare", "list", "describe", "import"))]:
        with pytest.raises(SystemExit) as end:
            main([*command.split(), "--help"])
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
        (["plan", "--runs", "nowhere", "--compute", "1e12"], "no runs at nowhere: expected a store's folder"),
        (["plan", "--compute", "1e12", "--size", "5"], "--size goes with --interactions"),
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
        (["sweep", "params/S.yaml", "--dataset", "FOLDER", "--num-gpus", "1"], "num_gpus is for the Ray engine"),
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


def test_plan_prints_what_the_library_says(capsys: pytest.CaptureFixture[str]) -> None:
    """The recorded study on real data, as a table and for programs."""
    command = ["plan", "--runs", "results/beauty_M", "--form", "sigmoid"]
    assert main([*command, "--compute", "1e13", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (row,) = plan("results/beauty_M", compute=1e13, form="sigmoid").to_dict("records")
    assert found == row
    assert 0 < found["low"] <= found["ndcg"] <= found["high"] < 0.1
    assert main([*command, "--money", "1", "--price", "4", "--peak", "1e12"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert float(lines["hours"]) == pytest.approx(0.25)
    assert lines["extrapolated"] == "True"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--compute", "much"], "'much' is no amount; expected a positive number such as 1e18, 500K or 5M"),
        (["--interactions", "-5M"], "expected one argument"),
        (["--interactions", "0"], "'0' is no amount"),
        ([], "one of the arguments --compute --hours --money --interactions is required"),
    ],
)
def test_an_amount_that_is_none_is_not_understood(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["plan", "--runs", "results/beauty_M", *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def weights(store: Path) -> dict[str, torch.Tensor]:
    return load_file(next(store.glob("*/model/model.safetensors")))


def test_ctrl_c_leaves_a_checkpoint_and_the_same_command_goes_on(folder: str, tmp_path: Path) -> None:
    command = ["train", folder, *SMALL, "--set", "epochs=40", "--runs"]
    assert main([*command, str(tmp_path / "whole")]) == 0
    store = tmp_path / "cut"
    process = subprocess.Popen(
        [sys.executable, "-m", "srtlib.cli", *command, str(store)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # where the tests run may ignore it
    )
    while process.poll() is None and not list(store.glob("*/model/model.safetensors")):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert process.stderr is not None
    assert process.stderr.read() == "srt: interrupted; the same command goes on from the last checkpoint\n"
    assert len(list(store.glob("*/checkpoints/step-*"))) == 1
    assert main([*command, str(store)]) == 0
    one, two = weights(tmp_path / "whole"), weights(store)
    assert all(torch.equal(one[name], two[name]) for name in one)


LIMITED = """
import resource, sys
from srtlib.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
sys.exit(main(sys.argv[1:]))
"""


def test_a_full_disk_is_one_error_and_earlier_results_stay(folder: str, tmp_path: Path) -> None:
    """No file may grow beyond 10 kB, which weights do."""
    assert main(["train", folder, *SMALL, "--runs", str(tmp_path)]) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    command = ["train", folder, *SMALL, "--seed", "1", "--runs", str(tmp_path)]
    failed = subprocess.run([sys.executable, "-c", LIMITED, *command], capture_output=True, text=True)
    assert failed.returncode == 1
    assert re.fullmatch(r"srt: run \S+: \[Errno 27\] File too large; what it recorded before is kept\n", failed.stderr)
    assert {path: path.read_bytes() for path in before} == before
    assert not list(tmp_path.rglob(".*.safetensors*"))  # nothing half-written
    assert main(command) == 0
    assert len(runs.table(tmp_path)) == 2


def test_a_folder_that_cannot_be_written_is_one_error(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert main(["train", folder, *SMALL, "--runs", str(tmp_path / "file" / "runs")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Not a directory" in error
    assert (tmp_path / "file").read_text() == "not a folder"


def test_a_sweep_with_a_failing_experiment_finishes_the_others_and_exits_1(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = {
        "interactions": [150],
        "models": [{"d_model": 2**40}, {"d_model": 4}, {"d_model": 8}],  # the first would take hundreds of terabytes
        "panel_users": 30,
        "train": {"epochs": 1, "n_negatives": 8},
    }
    (tmp_path / "S.yaml").write_text(yaml.safe_dump({"scaling": study}))
    store = tmp_path / "runs"
    assert main(["sweep", str(tmp_path / "S.yaml"), "--dataset", folder, "--runs", str(store)]) == 1
    error = capsys.readouterr().err
    assert "srt: 1 of 3 experiments failed: run " in error
    assert len(runs.finished(store)) == 2
    summaries = [runs.read_summary(path) for path in store.iterdir()]
    (failed,) = [summary for summary in summaries if summary["status"] == "failed"]
    assert failed["error"].startswith("Traceback")


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

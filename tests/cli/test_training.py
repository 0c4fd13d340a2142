import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file

from srtlib import runs
from srtlib.cli.entry import main
from tests.cli.conftest import SMALL


def test_train_then_evaluate(folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", folder, *SMALL, "--runs", str(tmp_path), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    model = summary["model"]
    assert [model] == [str(path) for path in tmp_path.glob("*/model")]
    assert main(["evaluate", "--model", str(Path(model).parent), "--dataset", folder]) == 1
    assert capsys.readouterr().err.endswith(f"; the model of this run is {model}\n")
    assert main(["evaluate", "--model", model, "--dataset", folder, "--json"]) == 0
    assert both(capsys.readouterr().out) == {
        "all items": pytest.approx(summary["test"]),
        "new items": pytest.approx(summary["test_unseen"]),
    }


def test_both_rankings_are_told_apart_wherever_numbers_are_printed(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stores = [str(tmp_path / name) for name in "ab"]
    for seed, store in enumerate(stores):
        assert main(["train", folder, *SMALL, "--seed", str(seed), "--runs", store]) == 0
        printed = capsys.readouterr().out
        assert re.search(rf"^model +{re.escape(store)}/\w+/model$", printed, re.MULTILINE)
        assert all(f"\n{part} " in printed for part in ("valid, all items", "test, all items", "test, new items"))
    one, two = (str(next(Path(store).glob("*/model"))) for store in stores)
    assert main(["compare", one, two, "--dataset", folder, "--k", "3", "--resamples", "50", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["ranking"] for row in rows} == {"all items", "new items"}
    assert {row["metric"] for row in rows} == {"ndcg@3", "hr@3", "mrr@3", "loss"}
    assert all(row["low"] <= row["difference"] <= row["high"] for row in rows)
    assert rows[0][two] - rows[0][one] == pytest.approx(rows[0]["difference"])
    assert main(["compare", one, one, "--dataset", folder]) == 1
    assert capsys.readouterr().err == f"srt: both models are {one}; expected two\n"


def test_a_split_by_time_is_trained_on_and_judged_by(
    timed_folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cuts = ["--cuts", "2001-10-05", "2001-10-16"]
    assert main(["train", timed_folder, *SMALL, *cuts, "--runs", str(tmp_path), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    model = str(next(tmp_path.glob("*/model")))
    judged = ["--dataset", timed_folder, "--json"]
    assert main(["evaluate", "--model", model, *judged, *cuts]) == 0
    said = capsys.readouterr()
    assert not said.err
    rows = {(row["ranking"], row["targets"]): row for row in json.loads(said.out)}
    for ranking, part in (("all items", "test"), ("new items", "test_unseen")):
        assert {name: rows[ranking, "all"][name] for name in summary[part]} == pytest.approx(summary[part])
    assert rows["all items", "warm"]["ndcg@10"] == pytest.approx(summary["test_warm"]["ndcg@10"])
    assert main(["compare", model, "amazon-small", *judged, *cuts, "--resamples", "10"]) == 0
    assert json.loads(capsys.readouterr().out)[0][model] == pytest.approx(summary["test"]["ndcg@5"])
    assert main(["evaluate", "--model", model, *judged]) == 0
    assert "or their split" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cuts", "said"),
    [
        (["0.9", "0.8"], "cuts 0.9 0.8: the second must be above the first"),
        (["0.8", "2001-10-05"], "cuts 0.8 2001-10-05: expected two shares"),
        (["2001-10-05", "2040-01-01"], "leave nothing to test on; its times run from"),
    ],
)
def test_cuts_that_do_not_fit_are_one_line(
    timed_folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], cuts: list[str], said: str
) -> None:
    store = tmp_path / "runs"
    assert main(["train", timed_folder, *SMALL, "--cuts", *cuts, "--runs", str(store)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not store.exists()


def test_places_are_not_split_by_time(folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", folder, *SMALL, "--cuts", "0.8", "0.9", "--runs", str(tmp_path)]) == 1
    assert "are places in their sequences; a split by time needs real times\n" in capsys.readouterr().err


def both(printed: str) -> dict[str, dict[str, float]]:
    """What `srt evaluate` says of each ranking, as far as a run's summary has it."""
    return {
        row["ranking"]: {name: value for name, value in row.items() if name.startswith(("ndcg", "hr", "mrr", "loss"))}
        for row in json.loads(printed)
    }


@pytest.fixture
def tied(tables: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path) -> str:
    """A folder whose interactions have equal times: the seed orders them, so that another seed is another data set."""
    log, items = tables
    folder = tmp_path / "tied"
    folder.mkdir()
    log.assign(timestamp=log["timestamp"] // 4).to_parquet(folder / "interactions.parquet")
    items.to_parquet(folder / "items.parquet")
    return str(folder)


def test_evaluate_says_where_the_data_are_not_those_of_the_training(
    tied: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", tied, *SMALL, "--seed", "1", "--runs", str(tmp_path / "runs"), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    model = str(next(tmp_path.glob("runs/*/model")))
    assert main(["evaluate", "--model", model, "--dataset", tied, "--seed", "1", "--json"]) == 0
    same = capsys.readouterr()
    assert both(same.out)["all items"] == pytest.approx(summary["test"])
    assert not same.err
    assert main(["evaluate", "--model", model, "--dataset", tied, "--json"]) == 0
    other = capsys.readouterr()
    assert both(other.out)["all items"] != pytest.approx(summary["test"])
    said = (
        r"srt: the {} of {} \(fingerprint \w+\) are not those that the model was trained on \(tied, fingerprint \w+\)\n"
    )
    assert re.fullmatch(said.format("interactions, or their split,", "tied"), other.err)
    items = Path(tied) / "items.parquet"
    table = pd.read_parquet(items)
    table.assign(title="new " + table["title"]).to_parquet(items)
    assert main(["evaluate", "--model", model, "--dataset", tied, "--seed", "1", "--json"]) == 0
    assert re.fullmatch(said.format("items", "tied"), capsys.readouterr().err)


def weights(store: Path) -> dict[str, torch.Tensor]:
    return load_file(next(store.glob("*/model/model.safetensors")))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_leaves_a_checkpoint_and_the_same_command_goes_on(
    folder: str, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """Ctrl-C, and how clusters stop a job."""
    command = ["train", folder, *SMALL[:-1], "epochs=40", "--runs"]
    assert main([*command, str(tmp_path / "whole")]) == 0
    store = tmp_path / "cut"
    process = subprocess.Popen(
        [sys.executable, "-m", "srtlib.cli", *command, str(store)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # where the tests run may ignore it
    )
    while process.poll() is None and not list(store.glob("*/model/model.safetensors")):
        time.sleep(0.005)
    process.send_signal(number)
    assert process.communicate()[1] == "srt: interrupted; the same command goes on from the last checkpoint\n"
    assert process.returncode == code
    assert len(list(store.glob("*/checkpoints/step-*"))) == 1
    assert main([*command, str(store)]) == 0
    one, two = weights(tmp_path / "whole"), weights(store)
    assert all(torch.equal(one[name], two[name]) for name in one)


LIMITED = """
import resource, sys
from srtlib.cli.entry import main
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
    summaries = [runs.read_summary(path.parent) for path in store.glob("*/summary.json")]
    (failed,) = [summary for summary in summaries if summary["status"] == "failed"]
    assert failed["error"].startswith("Traceback")


def test_a_dry_run_shows_the_grid_and_runs_nothing(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = {"interactions": [150], "models": [{"d_model": 4}, {"d_model": 8}], "panel_users": 30}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({"scaling": study}))
    store = tmp_path / "runs"
    command = ["sweep", str(tmp_path / "tiny.yaml"), "--dataset", folder, "--runs", str(store), "--workers", "1"]
    assert main([*command, "--dry-run", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert sorted(row["d_model"] for row in rows) == [4, 8]
    assert all(row["flops"] > 0 and row["minutes"] > 0 for row in rows)
    assert main([*command, "--budget", "0.001s"]) == 0
    printed = capsys.readouterr()
    assert "2 of 2 runs are left; the same sweep goes on with them" in printed.err
    assert not store.exists() or not runs.finished(store)


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


def test_train_from_a_model(folder: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The start's architecture, weights and tokenizer; the store knows the start from another one."""
    settings = [*SMALL[2:], "--set", "learning_rate=1e-9"]
    capsys.readouterr()
    assert main(["train", folder, "--start", model, *settings, "--runs", str(tmp_path)]) == 0
    assert re.match(rf"model +{next(tmp_path.glob('*/model'))}\n", capsys.readouterr().out)
    tuned = load_file(next(tmp_path.glob("*/model/model.safetensors")))
    start = load_file(Path(model) / "model.safetensors")
    assert tuned.keys() == start.keys()
    assert all(torch.allclose(tuned[name], start[name], atol=1e-6) for name in start)
    capsys.readouterr()
    assert main(["train", folder, "--start", model, "--set", "n_layers=3", "--runs", str(tmp_path)]) == 1
    assert "n_layers: the model that is started from has it" in capsys.readouterr().err
    assert main(["train", folder, "--start", model, "--d-model", "16", "--runs", str(tmp_path)]) == 1
    assert "d_model: the model that is started from has it" in capsys.readouterr().err
    assert main(["train", folder, "--start", "nowhere", "--runs", str(tmp_path)]) == 1
    assert "nowhere is not a model folder" in capsys.readouterr().err


def test_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    (first, *_) = json.loads(capsys.readouterr().out)
    assert first.keys() == {"name", "encoder", "d_model", "n_layers", "text_model", "trained_on", "mb", "where"}

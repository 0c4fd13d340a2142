"""Sweeps on a Ray cluster of two nodes, both on this machine, with one core each."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from srtlib import runs
from srtlib.cli.entry import main
from srtlib.params import Scaling
from srtlib.studies.sweeping import SweepError, scaling_experiments, sweep

cluster_utils = pytest.importorskip("ray.cluster_utils", reason="Ray is not installed: make test-cluster")

STUDY: dict[str, Any] = {
    "interactions": [150, 400],
    "models": [{"d_model": 4}, {"d_model": 8}],
    "panel_users": 30,
    "train": {"epochs": 2, "n_negatives": 8, "batch_size": 128},
}
TOO_LARGE = {"d_model": 2**40}  # its first table would take hundreds of terabytes
VARIES = ["wall_s", "date"]


@pytest.fixture(scope="module", autouse=True)
def _cluster(_home: Path) -> Iterator[None]:
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=node)
        try:
            cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
            cluster.wait_for_nodes()
            patch.setenv("RAY_ADDRESS", cluster.address)
            yield
        finally:
            cluster.shutdown()


def write_study(path: Path, **changes: Any) -> str:
    path.mkdir()
    (path / "S.yaml").write_text(yaml.safe_dump({"scaling": {**STUDY, **changes}}))
    return str(path / "S.yaml")


def test_rows_are_those_of_the_local_engine(folder: str, tmp_path: Path) -> None:
    study = write_study(tmp_path / "params")
    command = ["sweep", study, "--dataset", folder, "--engine", "ray", "--runs", str(tmp_path / "ray")]
    assert main(command) == 0
    experiments = scaling_experiments(Scaling.model_validate(STUDY), folder)
    rows = sweep(experiments, tmp_path / "ray", engine="ray")
    assert len(rows) == 4
    pd.testing.assert_frame_equal(rows.drop(columns=VARIES), sweep(experiments, tmp_path / "here").drop(columns=VARIES))


def test_a_failing_experiment_finishes_the_others_and_exits_1(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(tmp_path / "params", interactions=[150], models=[TOO_LARGE, {"d_model": 4}, {"d_model": 8}])
    command = ["sweep", study, "--dataset", folder, "--engine", "ray", "--runs", str(tmp_path / "runs")]
    assert main(command) == 1
    assert "srt: 1 of 3 experiments failed: run " in capsys.readouterr().err
    assert len(runs.finished(tmp_path / "runs")) == 2
    summaries = [runs.read_summary(path.parent) for path in (tmp_path / "runs").glob("*/summary.json")]
    (failed,) = [summary for summary in summaries if summary["status"] == "failed"]
    assert failed["error"].startswith("Traceback")


class _Killer(int):
    """A number that ends the process that receives it, as a kernel out of memory does."""

    def __reduce__(self) -> tuple[Callable[[int], None], tuple[int]]:
        return os._exit, (9,)


def test_a_killed_process_ends_its_own_experiment_only(folder: str, tmp_path: Path) -> None:
    first, other = scaling_experiments(Scaling.model_validate(STUDY), folder)[:2]
    killed = replace(first, seed=_Killer(1))
    with pytest.raises(SweepError, match=f"1 of 2 experiments failed: run {killed.run_id()}: WorkerCrashedError"):
        sweep([killed, other], tmp_path, engine="ray")
    assert runs.finished(tmp_path) == {other.run_id()}
    assert "Traceback" in runs.read_summary(tmp_path / killed.run_id())["error"]


def test_gpus_that_the_cluster_lacks_are_refused(folder: str, tmp_path: Path) -> None:
    experiments = scaling_experiments(Scaling.model_validate(STUDY), folder)
    with pytest.raises(ValueError, match="asks for num_gpus=1, but Ray's cluster has 0"):
        sweep(experiments, tmp_path, engine="ray", num_gpus=1)

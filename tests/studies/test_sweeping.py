import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from srtlib import runs
from srtlib.data.loading import load_dataset
from srtlib.params import Grid, Scaling
from srtlib.protocols import parse_cuts
from srtlib.studies.experiments import Experiment
from srtlib.studies.processes import Worker
from srtlib.studies.sweeping import (
    SweepError,
    expected_costs,
    grid_experiments,
    grid_table,
    scaling_experiments,
    subsets,
    sweep,
)

STUDY = Scaling.model_validate(
    {
        "interactions": [150, 400, 10**9],
        "models": [{"d_model": 4}, {"d_model": 8}],
        "panel_users": 30,
        "train": {"epochs": 2, "n_negatives": 8, "batch_size": 128},
    }
)


def test_subsets_grow_and_are_cut_to_the_whole(folder: str, tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table = subsets(STUDY, folder)
    assert table["n_interactions"].tolist()[-1] == len(tables[0])
    assert table["n_interactions"].is_monotonic_increasing
    assert table["n_users"].is_monotonic_increasing


def test_a_study_is_a_grid_and_runs_once(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiments = scaling_experiments(STUDY, folder)
    assert len(experiments) == 6
    first = sweep(experiments, tmp_path, workers=2)
    assert sorted(first["n_interactions"].unique()) == sorted({e.n_interactions for e in experiments})
    assert first["panel_n_items"].nunique() == first["panel_fingerprint"].nunique() == 1
    monkeypatch.setattr(Worker, "start", lambda *_: pytest.fail("ran again"))
    pd.testing.assert_frame_equal(sweep(experiments, tmp_path), first)


def test_a_study_may_be_split_by_time(timed_folder: str, tmp_path: Path) -> None:
    by_time = STUDY.model_copy(update={"cuts": parse_cuts([0.5, 0.8])})
    both = scaling_experiments(STUDY, timed_folder)[:1], scaling_experiments(by_time, timed_folder)[:1]
    table = sweep([*both[0], *both[1]], tmp_path, workers=1)
    assert table["cuts"].fillna("").tolist() == ["", "0.5 0.8"]
    assert table["n_interactions"].nunique() == 1
    data = load_dataset(timed_folder, cuts=by_time.cuts)
    assert table["n_targets"].iloc[1] == data.n_targets == subsets(by_time, timed_folder)["n_targets"].iloc[-1]
    panel = data.panel(30).with_target("test")
    assert table["test_users_judged"].iloc[1] == panel.n_users
    assert len(expected_costs(scaling_experiments(by_time, timed_folder), tmp_path, workers=1)) == 5


def test_runs_planned_for_a_budget_end_there(folder: str, tmp_path: Path) -> None:
    grid = Grid.model_validate(
        {
            "interactions": [400],
            "models": [{"d_model": 4}, {"d_model": 16}],
            "train": {"n_negatives": 8},
            "flops": [2e7, 1e8],
        }
    )
    table = sweep([e for _, e in grid_experiments(grid, 30, folder)], tmp_path, workers=1)
    assert len(table) == 4
    for budget in grid.flops:
        there = table[abs(table["flops"] / budget - 1) < 0.25].sort_values("d_model")
        assert there["d_model"].tolist() == [4, 16]
        assert there["targets_seen"].is_monotonic_decreasing


def test_a_grid_has_every_variation_and_seed_on_the_same_data(folder: str) -> None:
    grid = Grid.model_validate(
        {
            "interactions": [150],
            "models": [{"d_model": 4}],
            "train": {"epochs": 2},
            "variations": {"base": {}, "dropout": {"dropout": 0.4}, "longer": {"epochs": 4}},
            "seeds": [0, 1],
        }
    )
    pairs = grid_experiments(grid, 30, folder, seed=5)
    assert [name for name, _ in pairs] == ["base", "base", "dropout", "dropout", "longer", "longer"]
    assert [e.recipe.train.seed for _, e in pairs] == [0, 1] * 3
    assert [e.recipe.train.epochs for _, e in pairs] == [2, 2, 2, 2, 4, 4]
    assert pairs[2][1].recipe.model.dropout == 0.4
    assert {(e.config["dataset"]["fingerprint"], e.config["panel"]["fingerprint"]) for _, e in pairs} == {
        (pairs[0][1].config["dataset"]["fingerprint"], pairs[0][1].config["panel"]["fingerprint"])
    }
    found = pd.DataFrame({"run_id": [pairs[4][1].run_id(), pairs[0][1].run_id(), "another"], "value": [3, 1, 0]})
    table = grid_table(pairs, found)
    assert table[["variation", "value"]].to_numpy().tolist() == [["base", 1], ["longer", 3]]


def test_one_failure_stops_no_other(folder: str, tmp_path: Path) -> None:
    good, other = scaling_experiments(STUDY, folder)[:2]
    model = good.recipe.model.model_copy(update={"encoder": "fixed_vectors", "vector_dim": 3})  # there are none
    bad = Experiment(good.dataset, good.n_interactions, 30, good.recipe.model_copy(update={"model": model}), 0)
    with pytest.raises(
        SweepError, match=f"1 of 2 experiments failed: run {bad.run_id()}: ValueError: .*no item vectors"
    ):
        sweep([bad, other], tmp_path, workers=1)
    assert runs.finished(tmp_path) == {other.run_id()}
    assert "Traceback" in (tmp_path / bad.run_id() / "summary.json").read_text()


class _Killer(int):
    """A number that ends the process that receives it, as a kernel out of memory does."""

    def __reduce__(self) -> tuple[Callable[[int], None], tuple[int]]:
        return os._exit, (9,)


def test_a_killed_process_ends_its_own_experiment_only(folder: str, tmp_path: Path) -> None:
    first, *others = scaling_experiments(STUDY, folder)[:3]
    killed = replace(first, seed=_Killer(1))
    with pytest.raises(SweepError, match=f"1 of 3 experiments failed: run {killed.run_id()}: BrokenProcessPool"):
        sweep([killed, *others], tmp_path, workers=1)
    assert runs.finished(tmp_path) == {e.run_id() for e in others}
    assert "Traceback" in runs.read_summary(tmp_path / killed.run_id())["error"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "slurm"}, "engine 'slurm' is not known; expected local or ray"),
        ({"engine": "ray", "workers": 2}, "workers is for the local engine"),
        ({"engine": "ray", "budget": 60}, "budget is for the local engine"),
        ({"budget": 0}, "budget=0: expected a positive number of seconds"),
        ({"budget": float("nan")}, "budget=nan: expected a positive number of seconds"),
        ({"num_gpus": 1}, "num_gpus is for the Ray engine"),
        ({"engine": "ray", "num_gpus": 2}, "num_gpus=2: .* expected 0 to 1"),
    ],
)
def test_engines_refuse_what_they_cannot_do(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        sweep([], tmp_path, **options)


def test_without_ray_the_extra_is_named(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    with pytest.raises(RuntimeError, match=r"needs the package ray.*srtlib\[cluster\]"):
        sweep(scaling_experiments(STUDY, folder), tmp_path, engine="ray")
    assert not list(tmp_path.iterdir())

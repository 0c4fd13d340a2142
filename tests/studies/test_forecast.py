"""What runs will cost is told before they start, and a sweep keeps to its budget."""

import time
from pathlib import Path

import pytest
import torch

from srtlib import runs
from srtlib.params import Scaling
from srtlib.runs.store import is_open
from srtlib.studies import forecast, sweeping
from srtlib.studies.experiments import Experiment
from srtlib.studies.forecast import Cost, Timetable, measure
from srtlib.studies.sweeping import expected_costs, scaling_experiments, sweep
from srtlib.training.trainer import train

STUDY = Scaling.model_validate(
    {
        "interactions": [150, 400],
        "models": [{"d_model": 4}, {"d_model": 32}],
        "panel_users": 30,
        "train": {"epochs": 3, "n_negatives": 8, "batch_size": 64},
    }
)
ENDLESS = STUDY.model_copy(update={"train": {**STUDY.train, "epochs": 20_000}})


def test_flops_are_those_that_the_run_will_record(folder: str, tmp_path: Path) -> None:
    for experiment in scaling_experiments(STUDY, folder):
        cost = measure(experiment, tmp_path / "none", "cpu")
        assert not (tmp_path / "none").exists()
        sample, panel = experiment.data()
        _, summary = train(experiment.recipe, sample, tmp_path / "runs", panel=panel, progress_bar=False)
        assert cost.flops == pytest.approx(summary["flops"], rel=0.05)
        assert summary["wall_s"] / 20 < cost.seconds


@pytest.mark.parametrize(
    "settings", [{}, {"objective": "full_softmax"}, {"supervise": "last", "batch_size": 16}], ids=str
)
def test_flops_per_target_are_those_of_a_whole_run(folder: str, tmp_path: Path, settings: dict[str, object]) -> None:
    study = STUDY.model_copy(update={"train": {**STUDY.train, **settings}})
    for experiment in scaling_experiments(study, folder):
        sample, panel = experiment.data()
        _, summary = train(experiment.recipe, sample, tmp_path, panel=panel, progress_bar=False)
        before = torch.random.get_rng_state()
        found = forecast.flops_per_target(experiment.recipe, sample)
        assert torch.equal(torch.random.get_rng_state(), before), "the caller's draws are left alone"
        assert found == pytest.approx(summary["flops"] / summary["targets_seen"], rel=0.2)


def test_the_forecast_of_a_sweep_is_of_what_is_left(folder: str, tmp_path: Path) -> None:
    """Longest first; a run that cannot begin has no cost, and nothing is recorded."""
    experiments = scaling_experiments(STUDY, folder)
    small = experiments[-1].recipe
    broken = Experiment(folder, 150, 30, small.model_copy(update={"model": huge(small.model)}), 0)
    sample, panel = experiments[0].data()
    train(experiments[0].recipe, sample, tmp_path, panel=panel, progress_bar=False)
    table = expected_costs([*experiments, broken], tmp_path, workers=1)
    assert set(table["run_id"]) == {e.run_id() for e in [*experiments[1:], broken]}
    assert table["run_id"][0] == broken.run_id()
    assert table["minutes"].is_monotonic_decreasing
    assert table["flops"][1:].between(1e5, 1e9).all()
    assert len(list(tmp_path.glob("*/summary.json"))) == 1


def huge(model: object) -> object:
    return model.model_copy(update={"d_model": 2**40})  # type: ignore[attr-defined]


def test_what_would_not_end_in_time_is_not_begun(folder: str, tmp_path: Path) -> None:
    experiments = scaling_experiments(ENDLESS, folder)
    with pytest.warns(UserWarning, match="4 of 4 runs are left; the same sweep goes on with them"):
        assert sweep(experiments, tmp_path, workers=1, progress_bar=False, budget=60).empty
    assert not list(tmp_path.iterdir())


def test_what_is_at_work_when_the_budget_is_over_can_go_on(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = scaling_experiments(ENDLESS, folder)[0]
    run = tmp_path / experiment.run_id()
    monkeypatch.setattr(sweeping, "_measured", lambda *_: {run.name: Cost(0, 0)})  # as if it were short
    monkeypatch.setattr(Timetable, "over", property(lambda _: (run / "metrics.jsonl").exists()))
    with pytest.warns(UserWarning, match="1 of 1 runs are left"):
        sweep([experiment], tmp_path, workers=1, progress_bar=False, budget=600)
    assert not is_open(run)
    assert list(run.glob("checkpoints/step-*"))
    assert not runs.finished(tmp_path)


def test_a_timetable_learns_from_the_runs_that_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    costs = {"long": Cost(1, 40), "middle": Cost(1, 20), "short": Cost(1, 10), "unknown": Cost()}
    timetable = Timetable(costs, n_workers=2, budget=100)
    assert timetable.left() == 35
    assert all(map(timetable.may_start, ["long", "middle"]))
    now += 30
    timetable.ended("middle")  # half as long again as expected
    assert timetable.left() == (1.5 * 50 - 30) / 2
    now += 58
    assert not timetable.may_start("short")  # would take 15 of the 12 seconds that are left
    assert timetable.may_start("unknown")
    assert not timetable.over
    now += 12
    assert timetable.over
    assert forecast.Timetable(costs, 1).may_start("long")  # without a budget

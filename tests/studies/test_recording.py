from pathlib import Path

import pandas as pd

from srtlib import runs
from srtlib.params import SizeParams
from srtlib.studies.recording import record
from srtlib.studies.sweeping import grid_experiments, sweep

STUDY = SizeParams.model_validate(
    {
        "scaling": {"interactions": [150], "models": [{"d_model": 4}], "panel_users": 30, "train": {"epochs": 1}},
        "grids": {
            "deep": {
                "interactions": [150],
                "models": [{"d_model": 4}, {"d_model": 4, "n_layers": 2}],
                "train": {"epochs": 1},
            },
            "tried": {
                "interactions": [150],
                "models": [{"d_model": 4}],
                "train": {"epochs": 1},
                "variations": {"no dropout": {"dropout": 0.3}, "not run": {"dropout": 0.4}},
            },
        },
    }
)


def test_a_recorded_study_names_the_grid_of_each_run(folder: str, tmp_path: Path) -> None:
    for grid in (STUDY.scaling, *STUDY.grids.values()):
        pairs = [e for name, e in grid_experiments(grid, 30, folder) if name != "not run"]
        sweep(pairs, tmp_path / "runs", workers=1, progress_bar=False)
    found = record(STUDY, folder, tmp_path / "runs", tmp_path / "recorded")
    assert found[["grid", "variation", "n_layers"]].values.tolist() == [
        ["scaling", "base", 1],
        ["deep", "base", 2],
        ["tried", "no dropout", 1],
    ]
    table, curves = runs.table(tmp_path / "recorded"), runs.curves(tmp_path / "recorded")
    assert table["run_id"].tolist() == found["run_id"].tolist() == curves["run_id"].tolist()
    pd.testing.assert_series_equal(table["test_ndcg@5"], found["test_ndcg@5"])
    assert (table["recipe_version"] >= 1).all()

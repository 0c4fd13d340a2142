from pathlib import Path

import pandas as pd

from srtlib import runs
from srtlib.params import SizeParams
from srtlib.studies.recording import record, write_rows
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


def test_a_study_that_is_run_again_and_cut_short_loses_no_row(tmp_path: Path) -> None:
    path, keys = tmp_path / "rows.csv", ("target", "encoder", "share")
    rows = pd.DataFrame(
        [["a", "", 0.0, 0.1], ["a", "words", 0.05, 0.2], ["b", "words", 0.05, 0.3]], columns=[*keys, "ndcg"]
    )
    write_rows(path, rows, keys)
    whole = path.read_text()
    write_rows(path, rows.head(1), keys)
    assert sorted(path.read_text().splitlines()) == sorted(whole.splitlines())
    write_rows(path, rows.tail(1).assign(ndcg=0.4, seed=1), keys)
    found = pd.read_csv(path).sort_values("ndcg")
    assert found["ndcg"].tolist() == [0.1, 0.2, 0.4]
    assert found["seed"].fillna(-1).tolist() == [-1, -1, 1]

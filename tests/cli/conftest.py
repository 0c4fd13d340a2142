import pandas as pd
import pytest

from srtlib.cli.entry import main

SMALL = ["--d-model", "8", "--set", "n_negatives=16", "--set", "batch_size=100", "--set", "epochs=2"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, tables: tuple[pd.DataFrame, pd.DataFrame]) -> str:
    path = tmp_path_factory.mktemp("own")
    for table, stem in zip(tables, ("interactions", "items"), strict=True):
        table.to_csv(path / f"{stem}.csv", index=False)
    return str(path)


@pytest.fixture(scope="session")
def model(folder: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    runs_folder = tmp_path_factory.mktemp("runs")
    assert main(["train", folder, *SMALL, "--runs", str(runs_folder)]) == 0
    return str(next(runs_folder.glob("*/model")))

"""Generated runs whose law is known, and both estimators fitted to them."""

import numpy as np
import pandas as pd
import pytest

from srtlib.laws.estimators import ComputeEstimator, DataEstimator

EPOCHS = 4


def ndcg(N: np.ndarray, D: np.ndarray) -> np.ndarray:
    return 0.2 - 8 / N**0.35 - 5 / D**0.3


@pytest.fixture(scope="session")
def curves() -> pd.DataFrame:
    """Runs over four epochs, C = 6 N x targets seen; the paper's count is a seventh of the exact one."""
    rng = np.random.default_rng(0)
    frames = []
    for epoch in range(1, EPOCHS + 1):
        N, D = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e5, 1e8, 7), np.geomspace(3e5, 1e8, 7)))
        seen = D * epoch
        frame = {"run_id": np.arange(len(N)).astype(str), "epoch": epoch, "epochs": EPOCHS, "params_total": N}
        frame |= {"n_interactions": D, "n_targets": D, "n_items": 1000, "d_model": N / 1e4, "n_layers": 1}
        frame |= {"targets_seen": seen, "flops": 6 * N * seen, "flops_paper": 6 * N * seen / 7}
        frames.append(pd.DataFrame(frame | {"valid_ndcg@5": ndcg(N, seen) + rng.normal(0, 1e-4, len(N))}))
    table = pd.concat(frames, ignore_index=True).assign(dataset="toys")
    return table[table["valid_ndcg@5"] > 0]


@pytest.fixture(scope="session")
def finished(curves: pd.DataFrame) -> pd.DataFrame:
    return curves[curves["epoch"] == EPOCHS]


@pytest.fixture(scope="session")
def by_compute(curves: pd.DataFrame) -> ComputeEstimator:
    return ComputeEstimator.fit(curves, n_resamples=50)


@pytest.fixture(scope="session")
def by_data(finished: pd.DataFrame) -> DataEstimator:
    return DataEstimator.fit(finished, form="additive_power", n_resamples=100)


@pytest.fixture(scope="session")
def climbing() -> pd.DataFrame:
    """Runs that climb towards a + b ln C and flatten below it."""
    rng = np.random.default_rng(0)
    rows = []
    for run in range(8):
        end = 10 ** (9 + 0.5 * run)
        for share in (0.1, 0.3, 1.0):
            value = 0.01 * np.log(end * share) - 0.15 - 0.01 * (1 - share) + rng.normal(0, 1e-4)
            rows.append({"run_id": f"r{run}", "flops": end * share, "valid_ndcg@5": value, "d_model": 2**run})
    return pd.DataFrame(rows)

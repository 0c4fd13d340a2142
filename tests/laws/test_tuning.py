import numpy as np
import pandas as pd
import pytest
from scipy import stats

from srtlib.laws.tuning import best_settings, power_law


def runs(noise: float = 0.0) -> pd.DataFrame:
    """Quality is a parabola in ln rate whose top is 0.5 N^-0.25 D^0.1."""
    rng = np.random.default_rng(0)
    rows = []
    for size in (1e4, 1e5, 1e6):
        for data in (1e4, 1e6):
            top = 0.5 * size**-0.25 * data**0.1
            for rate in top * np.array([0.3, 0.6, 1.1, 2.0, 4.0]):
                quality = 0.1 - 0.01 * np.log(rate / top) ** 2 + noise * rng.normal()
                rows.append([size, data, rate, quality])
    return pd.DataFrame(rows, columns=["params_non_embedding", "n_targets", "learning_rate", "valid_ndcg@10"])


def test_the_best_setting_is_the_top_of_the_parabola() -> None:
    found = best_settings(runs(), "learning_rate")
    expected = 0.5 * found["params_non_embedding"] ** -0.25 * found["n_targets"] ** 0.1
    np.testing.assert_allclose(found["learning_rate"], expected, rtol=1e-6)
    np.testing.assert_allclose(found["valid_ndcg@10"], 0.1)
    assert not found["at_edge"].any()
    law = power_law(found, "learning_rate").set_index("parameter")["value"]
    assert law.to_dict() == pytest.approx({"k": 0.5, "n_targets": 0.1, "params_non_embedding": -0.25})


def test_a_best_level_at_the_edge_is_said() -> None:
    table = runs()
    low = table[table["learning_rate"] < 0.9 * 0.5 * table["params_non_embedding"] ** -0.25 * table["n_targets"] ** 0.1]
    found = best_settings(low, "learning_rate")
    assert found["at_edge"].all()
    assert set(found["learning_rate"]) <= set(low["learning_rate"])


def test_intervals_are_those_of_linear_regression() -> None:
    """One input: scipy's linregress."""
    rng = np.random.default_rng(1)
    size = np.geomspace(1e3, 1e7, 9)
    table = pd.DataFrame({"n": size, "batch": 3 * size**0.4 * np.exp(0.1 * rng.normal(size=9))})
    found = power_law(table, "batch", ["n"]).set_index("parameter")
    line = stats.linregress(np.log(size), np.log(table["batch"]))
    half = stats.t.ppf(0.975, 7) * line.stderr
    assert found.loc["n"].tolist() == pytest.approx([line.slope, line.slope - half, line.slope + half])
    assert np.log(found.loc["k", "high"]) == pytest.approx(
        line.intercept + stats.t.ppf(0.975, 7) * line.intercept_stderr
    )


def test_cells_that_do_not_vary_are_refused() -> None:
    table = pd.DataFrame({"n_targets": [1e3, 1e4], "params_non_embedding": [1e3, 1e4], "batch_size": [1.0, 2.0]})
    with pytest.raises(ValueError, match="2 cells cannot tell 3 parameters apart"):
        power_law(table, "batch_size")

"""From loss to metric, against closed forms and rankings counted by hand."""

import numpy as np
import pandas as pd
import pytest

from srtlib.laws.mapping import monotone_map, rank_correlations


def test_the_map_is_the_min_max_of_means() -> None:
    """Antitonic regression in closed form: the least over starts of the largest over ends of the mean between."""
    rng = np.random.default_rng(0)
    loss = rng.uniform(7, 12, 40)
    table = pd.DataFrame({"valid_loss": loss, "valid_ndcg@5": 0.2 - 0.015 * loss + rng.normal(0, 0.01, 40)})
    found = monotone_map(table)
    y = table.sort_values("valid_loss")["valid_ndcg@5"].to_numpy()
    for i, value in enumerate(found["fitted"]):
        means = [max(y[a : b + 1].mean() for b in range(i, 40)) for a in range(i + 1)]
        assert value == pytest.approx(min(means))
    assert found["valid_ndcg@5"].tolist() == y.tolist()
    assert found["fitted"].is_monotonic_decreasing


def test_models_of_one_loss_have_one_value_whatever_their_order() -> None:
    table = pd.DataFrame({"valid_loss": [8.0, 8.0, 9.0], "valid_ndcg@5": [0.03, 0.05, 0.01]})
    assert monotone_map(table)["fitted"].tolist() == pytest.approx([0.04, 0.04, 0.01])
    assert monotone_map(table[::-1])["fitted"].tolist() == pytest.approx([0.04, 0.04, 0.01])
    with pytest.raises(ValueError, match="valid_loss holds values that are not finite"):
        monotone_map(table.assign(valid_loss=[8.0, np.nan, 9.0]))


def history(runs: int = 30, evaluations: int = 5) -> pd.DataFrame:
    """Runs that end the better the smaller their loss is, in each of which the two rise together."""
    rng = np.random.default_rng(0)
    parts = []
    for i in range(runs):
        steps, end = np.arange(evaluations), rng.uniform(8, 12)
        metric = 0.2 - 0.01 * end + 0.001 * (steps - evaluations + 1)
        part = {"flops": 1.0 + steps, "valid_loss": end + 0.05 * (steps - evaluations + 1), "valid_ndcg@5": metric}
        parts.append(pd.DataFrame(part).assign(run_id=f"run {i}"))
    return pd.concat(parts, ignore_index=True).sample(frac=1, random_state=0)


def test_ranks_agree_between_runs_and_within_them_each_in_its_own_way() -> None:
    found = rank_correlations(history(), n_resamples=50).set_index("models")
    assert found.loc["ends of runs", ["correlation", "low", "high"]].tolist() == pytest.approx([-1] * 3)
    assert found.loc["within a run", ["correlation", "low", "high"]].tolist() == pytest.approx([1] * 3)
    assert found["runs"].tolist() == [30, 30]


def test_the_correlation_is_that_of_ranks_with_an_interval_over_runs() -> None:
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"run_id": range(50), "flops": 1.0, "valid_loss": rng.normal(size=50)})
    table["valid_ndcg@5"] = np.exp(-table["valid_loss"] + rng.normal(size=50))
    ends, within = rank_correlations(table, n_resamples=300).itertuples(index=False)
    ranks = table[["valid_loss", "valid_ndcg@5"]].rank()
    expected = np.corrcoef(ranks.to_numpy().T)[0, 1]
    assert ends.correlation == pytest.approx(expected)
    error = (1 - expected**2) / np.sqrt(50)
    assert ends.high - ends.low == pytest.approx(2 * 1.96 * error, rel=0.4)
    assert within.runs == 0  # one evaluation each
    assert np.isnan([within.correlation, within.low, within.high]).all()


def test_two_runs_or_one_value_have_no_correlation() -> None:
    two = history(2, 1)
    assert rank_correlations(two, n_resamples=5)["correlation"].isna().all()
    level = history(9).assign(valid_loss=9.0)
    assert rank_correlations(level, n_resamples=5)["correlation"].isna().all()

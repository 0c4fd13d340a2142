"""The best of groups, paired effects, and means over seeds, by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from srtlib import runs


def grid() -> pd.DataFrame:
    """2 sets x 3 depths x 2 heads, one run twice; doubling the depth costs 10%, heads do nothing."""
    rows = [
        {
            "dataset": data,
            "n_targets": size,
            "n_layers": 2**i,
            "n_heads": heads,
            "d_model": 8,
            "n_negatives": 1,
        }
        | {"ndcg": 0.1 * size * 0.9**i}
        for data, size in [("large", 2.0), ("small", 1.0)]
        for i in range(3)
        for heads in (1, 2)
    ]
    return pd.DataFrame([*rows, rows[0]])


def test_best_runs_takes_the_highest_of_each_set() -> None:
    best = runs.best_runs(grid(), metric="ndcg")
    assert best[["dataset", "n_layers", "ndcg"]].values.tolist() == [["small", 1, 0.1], ["large", 1, 0.2]]


def test_paired_effects_compare_like_with_like() -> None:
    pairs = runs.paired_effects(grid(), "n_layers", "ndcg")
    assert len(pairs) == 2 * 2 * 2  # sets x heads x steps
    summary = runs.summarise_effects(pairs)
    assert summary["step"].tolist() == ["1 to 2", "2 to 4"]
    np.testing.assert_allclose(summary[["effect", "low", "high"]], -0.1, atol=1e-12)
    assert summary["worse"].tolist() == summary["pairs"].tolist() == [4, 4]
    heads = runs.summarise_effects(runs.paired_effects(grid(), "n_heads", "ndcg"))
    assert heads[["pairs", "worse"]].values.tolist() == [[6, 0]]
    with pytest.raises(ValueError, match="d_model has one level"):
        runs.paired_effects(grid(), "d_model", "ndcg")


def test_the_interval_of_an_effect_is_students() -> None:
    effects = np.array([0.02, 0.05, -0.01, 0.03])
    summary = runs.summarise_effects(pd.DataFrame({"step": "1 to 2", "effect": effects}))
    expected = stats.ttest_1samp(np.log1p(effects), 0).confidence_interval(0.95)
    np.testing.assert_allclose(np.log1p(summary.loc[0, ["low", "high"]].astype(float)), expected)


def test_mean_over_seeds_with_students_interval() -> None:
    values = [0.041, 0.047, 0.044]
    table = pd.DataFrame(
        {"method": ["full"] * 3 + ["zero_shot"], "ndcg": [*values, 0.01], "flops": [1.0, 2.0, 3.0, 0.0]}
    )
    full, zero = runs.over_seeds(table, "method", ["ndcg", "flops"]).to_dict("records")
    low, high = stats.t.interval(0.95, df=2, loc=np.mean(values), scale=stats.sem(values))
    assert (full["method"], full["seeds"], full["flops"]) == ("full", 3, 2.0)
    assert (full["low"], full["ndcg"], full["high"]) == pytest.approx((low, 0.044, high))
    assert zero["ndcg"] == 0.01
    assert np.isnan(zero["low"])
    assert np.isnan(zero["high"])


def test_effects_of_variations_pair_runs_of_the_same_design() -> None:
    """+10% at every size and seed, whatever the base reached; a design without a base makes no pair."""
    rows = [
        {"n_interactions": n, "d_model": 8, "n_layers": 1, "seed": seed, "variation": name, "valid_ndcg@10": value}
        for n in (10, 20)
        for seed in (0, 1)
        for name, value in (("base", 0.01 * n + seed), ("wider", 1.1 * (0.01 * n + seed)))
    ]
    rows.append({**rows[1], "n_interactions": 30})
    pairs = runs.effects_of_variations(pd.DataFrame(rows))
    assert pairs["effect"].tolist() == pytest.approx([0.1] * 4)
    (row,) = runs.summarise_effects(pairs, "variation").to_dict("records")
    assert (row["variation"], row["pairs"], row["worse"], row["effect"]) == ("wider", 4, 0, pytest.approx(0.1))
    with pytest.raises(ValueError, match="no run of the variation 'usual'; there are base, wider"):
        runs.effects_of_variations(pd.DataFrame(rows), base="usual")


def test_the_spread_of_seeds_is_that_within_designs() -> None:
    """Means differ tenfold between designs, seeds by 4% within; single runs have no spread."""
    rng = np.random.default_rng(0)
    rows = [
        {"n_interactions": n, "d_model": d, "seed": seed, "valid_ndcg@5": level * (1 + 0.04 * rng.normal())}
        for i, (n, d) in enumerate([(n, d) for n in range(20) for d in (8, 16)])
        for seed, level in enumerate([0.01 * (1 + i)] * 10)
    ]
    alone = {"n_interactions": 99, "d_model": 8, "seed": 0, "valid_ndcg@5": 0.5}
    found = runs.seed_spread(pd.DataFrame([*rows, alone]), design=("n_interactions", "d_model"))
    assert len(found) == len(rows)
    assert found.groupby(["n_interactions", "d_model"])["off"].mean().tolist() == pytest.approx([0] * 40, abs=1e-12)
    assert np.sqrt((found["off"] ** 2).sum() / (400 - 40)) == pytest.approx(0.04, rel=0.1)

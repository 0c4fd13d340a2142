"""A property of the data that carries its part's quality predicts it where neither was fitted."""

import numpy as np
import pandas as pd
import pytest

from srtlib.laws.covariates import compare_covariates


def study(noise: float = 1e-5) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Eight parts whose quality is that of the law times 1.6 - 0.1 entropy, whatever the run."""
    rng = np.random.default_rng(0)
    entropy, chance = np.linspace(3, 9, 8), rng.permutation(np.arange(8.0))
    parts = pd.DataFrame({"part": [f"p{i}" for i in range(8)], "entropy": entropy, "chance": chance})
    N, D = (x.ravel() for x in np.meshgrid(np.geomspace(1e4, 1e7, 6), np.geomspace(1e4, 1e7, 6)))
    quality = 0.2 - 2 / N**0.4 - 1.5 / D**0.4
    table = pd.DataFrame({"params_total": N, "n_interactions": D, "flops": 6 * N * D})
    for part, value in zip(parts["part"], 1.6 - 0.1 * entropy, strict=True):
        table[f"test_part_{part}"] = np.maximum(quality * value + rng.normal(0, noise, len(N)), 0)
    return table, parts


def test_what_carries_the_quality_predicts_it() -> None:
    table, parts = study()
    found = compare_covariates(table, parts, ["entropy", "chance"])
    assert found["covariate"].iloc[0] == "entropy"
    assert found["rmse_held_out"].iloc[0] < 1e-3
    by_name = found.set_index("covariate")
    assert by_name.loc["none", "rmse_held_out"] > 20 * found["rmse_held_out"].iloc[0]
    assert by_name.loc["chance", "rmse_held_out"] > 10 * found["rmse_held_out"].iloc[0]
    assert by_name.loc["entropy", "correlation"] == pytest.approx(-1)


def test_none_is_the_mean_of_the_other_parts_times_the_law() -> None:
    table, parts = study(noise=0.0)
    found = compare_covariates(table, parts, []).iloc[0]
    top = table["flops"] > table["flops"].max() / 10
    quality = table.filter(like="test_part_").to_numpy()
    ratio = 1.6 - 0.1 * parts["entropy"].to_numpy()
    ratio = ratio / ratio.mean()
    others = (ratio.sum() - ratio) / 7
    error = quality.mean(1)[top, None] * others - quality[top]
    assert found["rmse_held_out"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-2)


def test_what_cannot_be_tried_is_named() -> None:
    table, parts = study()
    with pytest.raises(ValueError, match="lacks test_part_p9"):
        compare_covariates(table, parts.assign(part=[*parts["part"][:-1], "p9"]), ["entropy"])
    with pytest.raises(ValueError, match="3 parts are too few"):
        compare_covariates(table, parts[:3], ["entropy"])
    with pytest.raises(ValueError, match="within one decade of flops"):
        compare_covariates(table.query("flops < 6e9"), parts, ["entropy"])

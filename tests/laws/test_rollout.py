import numpy as np
import pandas as pd
import pytest

from srtlib.laws.columns import Columns
from srtlib.laws.frontiers import frontier
from srtlib.laws.rollout import compute_rollout, data_rollout, summarise


def lines(decades: float = 4.0, bend: float = 0.0) -> pd.DataFrame:
    """Eight runs whose frontier is 0.01 + 0.01 log10 C, less `bend` per decade beyond the second."""
    compute = np.geomspace(1, 10**decades, 80)
    quality = 0.01 + 0.01 * np.log10(compute) - bend * np.maximum(0, np.log10(compute) - 2)
    parts = []
    for i in range(8):
        first = 10 * i
        parts.append(
            pd.DataFrame(
                {"run_id": f"run {i}", "flops": compute[first:], "valid_ndcg@5": quality[first:] * (1 - 1e-6 * i)}
            )
        )
    return pd.concat(parts, ignore_index=True)


def test_a_law_that_holds_predicts_every_decade() -> None:
    found = compute_rollout(lines(), forms=["log_linear"], n_resamples=50)
    assert np.allclose(found["predicted"], 0.01 + 0.01 * np.log10(found["flops"]), rtol=1e-3)
    summary = summarise(found)
    assert summary["start"].tolist() == pytest.approx([1.0 * 10**k for k in range(1, 4)], rel=1e-6)
    assert (summary["error"] < 1e-3).all()


def test_what_comes_after_a_decades_start_is_not_seen() -> None:
    """The fit before a bend is that of runs without it; the decade after is over-estimated by what the bend takes."""
    straight, bent = (compute_rollout(lines(bend=b), forms=["log_linear"], n_resamples=20) for b in (0.0, 0.005))
    early = straight["start"] < 150
    pd.testing.assert_series_equal(straight.loc[early, "predicted"], bent.loc[early, "predicted"])
    summary = summarise(bent)
    at_bend = summary[summary["start"].between(90, 110)]
    table = frontier(lines(bend=0.005))
    last = np.interp(3.0, np.log10(table["flops"]), table["valid_ndcg@5"])
    assert last == pytest.approx(0.035, rel=1e-3)
    assert at_bend["bias"].item() == pytest.approx(
        np.mean([0.005 * k / (0.03 + 0.005 * k) for k in np.arange(0.1, 1.01, 0.1)]), rel=0.05
    )
    assert at_bend["rmse"].item() == pytest.approx(0.005 * np.sqrt(np.mean(np.arange(0.1, 1.01, 0.1) ** 2)), rel=0.05)
    assert at_bend["coverage"].item() == 0.0


def test_a_decade_that_cannot_be_fitted_says_why() -> None:
    found = summarise(compute_rollout(lines(), forms=["sigmoid"], n_resamples=20))
    first = found.iloc[0]
    assert "runs cannot determine" in first["reason"]
    assert np.isnan(first["error"])
    assert np.isnan(first["coverage"])


def test_data_are_predicted_from_smaller_data() -> None:
    size, data = (x.ravel() for x in np.meshgrid(np.geomspace(1e4, 1e7, 6), np.geomspace(1e4, 1e7, 7)))
    table = pd.DataFrame({"params_total": size, "n_interactions": data})
    table["valid_ndcg@5"] = 0.2 - 2.0 / size**0.4 - 1.0 / data**0.3
    found = data_rollout(table, forms=["additive_power"], n_resamples=20)
    assert found.groupby("start").size().tolist() == [12, 12]
    assert summarise(found)["error"].iloc[-1] < 1e-3
    assert not (found["n_interactions"] <= found["start"]).any()


def test_samples_that_miss_a_decades_edge_by_a_little_lie_below_it() -> None:
    data = np.repeat([8_000, 26_995, 84_000, 269_996, 850_000, 2_694_551], 4)
    size = np.tile(np.geomspace(1e4, 1e7, 4), 6)
    table = pd.DataFrame({"params_total": size, "n_interactions": data})
    table["valid_ndcg@5"] = 0.2 - 2.0 / size**0.4 - 1.0 / data**0.3
    found = data_rollout(table, forms=["additive_power"], n_resamples=5)
    seen = [sorted(set(part["n_interactions"])) for _, part in found.groupby("start")]
    assert seen == [[84_000, 269_996], [850_000, 2_694_551]]
    assert found["predicted"].notna().all()


def test_runs_within_a_decade_are_refused() -> None:
    table = lines(decades=0.5)
    with pytest.raises(ValueError, match="within one decade of flops"):
        compute_rollout(table)


def test_a_loss_that_falls_is_predicted_too() -> None:
    table = lines().rename(columns={"valid_ndcg@5": "valid_loss"})
    table["valid_loss"] = 5 + 4 * table["flops"] ** -0.3
    found = compute_rollout(table, Columns(quality="valid_loss"), ["saturating_power"], metric=False, n_resamples=20)
    ends = found[found["start"] > 50]
    assert np.allclose(ends["predicted"], 5 + 4 * ends["flops"] ** -0.3, rtol=1e-3)
    size, data = (x.ravel() for x in np.meshgrid(np.geomspace(1e4, 1e7, 6), np.geomspace(1e4, 1e7, 7)))
    runs = pd.DataFrame(
        {"params_total": size, "n_interactions": data, "valid_loss": 5 + 60 / size**0.4 + 9 / data**0.3}
    )
    by_data = data_rollout(runs, Columns(data="n_interactions", quality="valid_loss"), metric=False, n_resamples=20)
    assert summarise(by_data).query("form == 'additive_power'")["error"].iloc[-1] < 1e-3

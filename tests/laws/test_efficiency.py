import numpy as np
import pandas as pd
import pytest

from srtlib.laws.efficiency import cost_ratios, cost_to_reach, frontier_slopes


def curves(scale: float, n_runs: int = 5, points: int = 40) -> pd.DataFrame:
    """Runs of ever larger ceilings, all quality = ceiling (1 - (scale / C)^0.5) once C > scale."""
    compute = scale * np.geomspace(1.0, 1e4, points)
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "run_id": f"run {i}",
                    "flops": compute,
                    "wall_s": 3 * compute,
                    "valid_ndcg@5": 0.02 * (i + 1) * (1 - (scale / compute) ** 0.5),
                }
            )
            for i in range(n_runs)
        ],
        ignore_index=True,
    )


def test_cost_to_reach_is_the_closed_form() -> None:
    found = cost_to_reach(curves(10.0, points=4000), [0.01, 0.05, 0.5])
    for i, row in enumerate(found.to_numpy()):
        ceiling = 0.02 * (i + 1)
        for level, cost in zip([0.01, 0.05, 0.5], row, strict=True):
            expected = 10.0 / (1 - level / ceiling) ** 2 if level <= 0.99 * ceiling else np.inf
            assert cost == pytest.approx(expected, rel=1e-3)


def test_a_run_that_falls_back_counts_from_where_it_first_was() -> None:
    table = pd.DataFrame({"run_id": "a", "flops": [1.0, 10.0, 100.0, 1000.0], "valid_ndcg@5": [0.1, 0.3, 0.2, 0.3]})
    assert cost_to_reach(table, [0.3, 0.05]).to_numpy().tolist() == [[pytest.approx(10.0), 1.0]]


def test_what_a_run_lost_it_has_to_climb_again() -> None:
    """Between the dip at 100 and the top at 1000 the curve is a line; one from the first top would pass too early."""
    table = pd.DataFrame({"run_id": "a", "flops": [1.0, 10.0, 100.0, 1000.0], "valid_ndcg@5": [0.1, 0.3, 0.2, 0.4]})
    assert cost_to_reach(table, [0.35, 0.2]).to_numpy()[0].tolist() == pytest.approx([10**2.75, 10**0.5])
    single = cost_to_reach(table[:1], [0.05, 0.1, 0.2]).to_numpy()[0].tolist()
    assert single == [pytest.approx(1.0), pytest.approx(1.0), np.inf]


def test_runs_that_are_the_same_but_for_their_scale_have_its_ratio() -> None:
    found = cost_ratios(curves(1.0), curves(30.0), [0.03, 0.06, 0.5], n_resamples=200)
    reached = found[found["quality"] < 0.5]
    assert reached["ratio"].tolist() == pytest.approx([30.0] * 4, rel=1e-6)
    assert (reached["low"] <= 30.0 * (1 + 1e-9)).all()
    assert (reached["high"] >= 30.0 * (1 - 1e-9)).all()
    assert (reached["theirs"] / reached["ours"]).tolist() == pytest.approx(reached["ratio"].tolist())
    assert found.loc[found["quality"] == 0.5, ["ratio", "low", "high"]].isna().all(axis=None)
    by_cost = reached.pivot(index="quality", columns="cost", values="ours")
    assert (by_cost["wall_s"] / by_cost["flops"]).tolist() == pytest.approx([3.0, 3.0])


def test_slopes_are_those_of_the_frontiers() -> None:
    """A set that needs thirty times the compute is as steep; one of twice the quality twice as steep, as a line."""
    compute = np.geomspace(1e3, 1e9, 13)

    def climbing(scale: float, times: float) -> pd.DataFrame:
        quality = times * 0.01 * (compute / 1e3) ** 0.2
        return pd.DataFrame({"run_id": range(13), "flops": scale * compute, "valid_ndcg@5": quality})

    sets = {"one": climbing(1, 1), "dear": climbing(30, 1), "good": climbing(1, 2)}
    found = frontier_slopes(sets, n_resamples=50).set_index(["set", "form"])
    powers = found.xs("power", level="form")
    assert powers["slope"].tolist() == pytest.approx([0.2] * 3, rel=1e-3)
    assert (powers["low"] <= 0.2 + 1e-3).all()
    lines = found.xs("log_linear", level="form")["slope"]
    assert lines["dear"] == pytest.approx(lines["one"], rel=1e-4)
    tenfold = np.polyfit(np.log10(compute), 0.02 * (compute / 1e3) ** 0.2, 1)[0]
    assert lines["good"] == pytest.approx(tenfold, rel=0.25)  # least squares; ours is robust

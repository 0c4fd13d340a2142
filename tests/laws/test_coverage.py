"""95% intervals cover what runs were generated from: every coefficient of every form, in repeated experiments."""

from typing import Any

import numpy as np
import pytest

from srtlib import laws

REPETITIONS, RUNS, RESAMPLES = 60, 100, 150
TRUTH: dict[str, dict[str, float]] = {
    "log_linear": {"a": -0.2, "b": 0.01},
    "power": {"k": 0.002, "a": 0.12},
    "saturating_power": {"E": 0.2, "A": 3.0, "a": 0.15},
    "sigmoid": {"A": 0.396, "k": 0.18, "m": 24.44, "d": 0.247},
    "additive_power": {"E": 0.163, "A": 18.56, "B": 2.9, "alpha": 0.376, "beta": 0.364},
    "split_power": {"E": 0.25, "K": 0.2, "A": 18.56, "B": 2.9, "kappa": 0.2, "alpha": 0.376, "beta": 0.364},
    "additive_power_log_data": {"E": 0.05, "A": 18.56, "B": 0.008, "alpha": 0.376},
    "product_power": {"K": 0.004, "A": 2e4, "b": 0.14, "alpha": 0.7},
    "data_constrained": {"E": 0.163, "A": 18.56, "B": 2.9, "alpha": 0.376, "beta": 0.364, "R_star": 15.0},
}
LOSS = {"E": 1.817, "A": 482.0, "B": 2085.0, "alpha": 0.348, "beta": 0.366}


def inputs(form: str, rng: np.random.Generator) -> dict[str, Any]:
    every = {
        "C": 10 ** rng.uniform(12.5, 18.5, RUNS),
        "N": 10 ** rng.uniform(6, 8, RUNS),
        "D": 10 ** rng.uniform(5, 7, RUNS),
        "U": 10 ** rng.uniform(4.5, 6.5, RUNS),
        "epochs": rng.uniform(1, 60, RUNS),
        "T": 10 ** rng.spawn(1)[0].uniform(3, 7, RUNS),
    }
    if form in ("power", "saturating_power"):
        every["C"] = every["C"] / 1e3
    return {name: every[name] for name in laws.FORMS[form].inputs}


def test_every_form_is_tried() -> None:
    assert set(TRUTH) == set(laws.FORMS)


@pytest.mark.parametrize("form", TRUTH)
def test_intervals_cover_the_coefficients_and_bands_the_curve(form: str) -> None:
    truth = laws.Law.given(form, TRUTH[form], {})
    hits = dict.fromkeys([*TRUTH[form], "band"], 0.0)
    for seed in range(REPETITIONS):
        rng = np.random.default_rng(seed)
        x = inputs(form, rng)
        y = truth.predict(**x) + rng.normal(0, 3e-4, RUNS)
        law = laws.fit(form, y=y, **x, metric=True, n_resamples=RESAMPLES)
        assert law.converged
        assert law.share_converged > 0.98
        for name, true in TRUTH[form].items():
            low, high = law.interval(name)
            hits[name] += low <= true <= high
        at = {name: np.quantile(values, [0.1, 0.5, 0.9]) for name, values in x.items()}
        low, high = law.band(**at)
        hits["band"] += np.mean((low <= truth.predict(**at)) & (truth.predict(**at) <= high))
    shares = {name: count / REPETITIONS for name, count in hits.items()}
    assert all(0.87 <= share <= 1 for share in shares.values()), shares
    assert 0.9 <= np.mean(list(shares.values())) <= 0.99, shares


def test_intervals_of_a_loss_cover_too_with_outliers() -> None:
    """Of the allocation's exponent a = beta / (alpha + beta) as well."""
    truth = LOSS | {"a": LOSS["beta"] / (LOSS["alpha"] + LOSS["beta"])}
    hits = dict.fromkeys(truth, 0)
    for seed in range(REPETITIONS // 2):
        rng = np.random.default_rng(seed)
        N, D = 10 ** rng.uniform(8, 10, RUNS), 10 ** rng.uniform(9, 12, RUNS)
        y = LOSS["E"] + LOSS["A"] / N ** LOSS["alpha"] + LOSS["B"] / D ** LOSS["beta"]
        y = y * np.exp(rng.normal(0, 0.005, RUNS))
        y[:4] *= 1.1
        law = laws.fit("additive_power", y=y, N=N, D=D, n_resamples=100)
        for name, true in truth.items():
            low, high = law.interval(name)
            hits[name] += low <= true <= high
    shares = {name: 2 * count / REPETITIONS for name, count in hits.items()}
    assert all(0.85 <= share <= 1 for share in shares.values()), shares
    assert 0.9 <= np.mean(list(shares.values())) <= 0.99, shares

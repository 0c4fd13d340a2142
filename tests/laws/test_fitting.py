import json

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import least_squares, minimize
from scipy.special import huber, logsumexp

from srtlib import laws
from srtlib.laws.forms import FORMS, Form

TRUTH = {"E": 1.817, "A": 482.0, "B": 2085.0, "alpha": 0.348, "beta": 0.366}


def chinchilla(seed: int, n: int = 245, noise: float = 0.005, outliers: int = 0) -> dict[str, np.ndarray]:
    """Losses of runs on a broad range of N and D, log-normal noise, some runs 10% too high."""
    rng = np.random.default_rng(seed)
    N, D = 10 ** rng.uniform(8, 10, n), 10 ** rng.uniform(9, 12, n)
    y = TRUTH["E"] + TRUTH["A"] / N ** TRUTH["alpha"] + TRUTH["B"] / D ** TRUTH["beta"]
    y = y * np.exp(rng.normal(0, noise, n))
    y[:outliers] *= 1.1
    return {"y": y, "N": N, "D": D}


@pytest.mark.parametrize("loss", ["huber", "lad", "lsq"])
def test_noiseless_runs_give_their_coefficients_back(loss: str) -> None:
    law = laws.fit("additive_power", **chinchilla(0, noise=0.0), loss=loss)
    assert law.params == pytest.approx(TRUTH, rel=1e-3)
    assert law.at_bound == ()


@pytest.mark.parametrize("outliers", [0, 10])
def test_noisy_runs_give_them_back_within_their_intervals(outliers: int) -> None:
    law = laws.fit("additive_power", **chinchilla(1, outliers=outliers))
    for name, true in TRUTH.items():
        low, high = law.interval(name, 0.999)
        assert low < true < high, name
    low, high = law.interval("a", 0.99)
    assert low < TRUTH["beta"] / (TRUTH["alpha"] + TRUTH["beta"]) < high
    assert law.params["alpha"] == pytest.approx(TRUTH["alpha"], abs=0.04)


def test_the_optimum_is_found_from_most_starts() -> None:
    law = laws.fit("additive_power", **chinchilla(2))
    assert law.starts >= 16
    assert law.share_of_starts > 0.9


def objective(theta: np.ndarray, y: np.ndarray, N: np.ndarray, D: np.ndarray) -> float:
    """The sum of Huber losses of ln L, written out with SciPy's own functions (Hoffmann et al., 2022, eq. 3)."""
    a, b, e, alpha, beta = theta
    predicted = logsumexp([a - alpha * np.log(N), b - beta * np.log(D), np.full(len(y), e)], axis=0)
    return float(huber(1e-3, predicted - np.log(y)).sum())


def as_theta(p: dict[str, float]) -> np.ndarray:
    return np.array([np.log(p["A"]), np.log(p["B"]), np.log(p["E"]), p["alpha"], p["beta"]])


def test_no_other_search_finds_a_lower_objective() -> None:
    data = chinchilla(6, n=100, outliers=4)
    found = as_theta(laws.fit("additive_power", **data).params)
    ours = objective(found, **data)
    for start in (found, as_theta(TRUTH), np.array([5.0, 5.0, 0.0, 0.5, 0.5])):
        other = minimize(
            objective, start, tuple(data.values()), "Nelder-Mead", options={"maxiter": 6000, "maxfev": 6000}
        )
        assert ours <= other.fun * (1 + 1e-6)


def test_a_resample_is_fitted_as_if_it_were_the_data() -> None:
    data = chinchilla(7, n=60, outliers=2)
    resamples = laws.fit("additive_power", **data, n_resamples=5, seed=3).samples
    counts = np.random.default_rng(3).multinomial(60, np.full(60, 1 / 60), size=5)
    for i, count in enumerate(counts):
        again = laws.fit("additive_power", **{name: np.repeat(values, count) for name, values in data.items()})
        assert again.params == pytest.approx(resamples.loc[i].to_dict(), rel=2e-3)


def test_the_bootstrap_draws_whole_runs() -> None:
    """Copies of a run's points under its name add no certainty; under names of their own they seem to."""
    data = chinchilla(8, n=40)
    tripled = {name: np.repeat(values, 3) for name, values in data.items()}

    def width(**arguments: np.ndarray) -> float:
        return float(np.diff(laws.fit("additive_power", **arguments, n_resamples=300).interval("beta"))[0])

    assert width(**tripled, run=np.repeat(np.arange(40), 3)) == pytest.approx(width(**data), rel=0.02)
    assert width(**tripled) < 0.75 * width(**data)


def test_outliers_move_least_squares_more_than_huber() -> None:
    clean, dirty = chinchilla(4), chinchilla(4, outliers=15)
    shift = {
        loss: abs(
            laws.fit("additive_power", **dirty, loss=loss).params["E"]
            - laws.fit("additive_power", **clean, loss=loss).params["E"]
        )
        for loss in ("huber", "lsq")
    }
    assert shift["huber"] < shift["lsq"] / 2


@pytest.mark.parametrize("metric", [True, False])
@pytest.mark.parametrize(("loss", "delta"), [("huber", 1e-3), ("lad", 1e-9), ("lsq", 1e3)])
def test_overestimates_cost_more(metric: bool, loss: str, delta: float) -> None:
    """Against a search without derivatives of the sum written out: what promises too much, above a metric or below a
    loss, counts five times."""
    rng = np.random.default_rng(0)
    x = np.linspace(0, 6, 60)
    y = 0.1 + 0.02 * x + rng.normal(0, 0.004, 60) if metric else np.exp(0.5 - 0.05 * x + rng.normal(0, 0.004, 60))
    form = "log_linear" if metric else "power"

    def penalty(theta: np.ndarray, dearer: float) -> float:
        residual = theta[0] + theta[1] * x - (y if metric else np.log(y))
        too_much = residual > 0 if metric else residual < 0
        return float((np.where(too_much, dearer, 1) * huber(delta, residual) / min(delta, 1)).sum())

    found_laws = {o: laws.fit(form, y=y, C=np.exp(x), metric=metric, loss=loss, overestimates=o) for o in (1, 5)}
    for dearer, law in found_laws.items():
        found = np.array(list(law.params.values())) if metric else np.array([np.log(law.params["k"]), law.params["a"]])
        for start in (found, found + np.array([0.01, -0.001])):
            options = {"xatol": 1e-10, "fatol": 1e-14, "maxiter": 4000, "maxfev": 4000}
            other = minimize(penalty, start, (dearer,), "Nelder-Mead", options=options)
            assert penalty(found, dearer) <= other.fun * (1 + 1e-5)
    cautious, plain = (np.mean(np.sign(found_laws[o].predict(C=np.exp(x)) - y)) for o in (5, 1))
    assert (cautious < plain - 0.3) if metric else (cautious > plain + 0.3)
    assert laws.Law.from_dict(found_laws[5].to_dict()).overestimates == 5


def test_a_lad_whose_overestimates_cost_more_is_a_quantile() -> None:
    """Of a constant: what four times as much lies above as below (Koenker & Bassett, 1978)."""
    rng = np.random.default_rng(3)
    x, y = np.linspace(-1, 1, 2001), rng.uniform(0.2, 0.7, 2001)
    law = laws.fit("log_linear", y=y, C=np.exp(x), metric=True, loss="lad", overestimates=4)
    assert np.mean(y < law.predict(C=np.exp(x))) == pytest.approx(0.2, abs=0.002)


C = np.geomspace(1e9, 1e15, 40)
CURVES = {
    "log_linear": ({"a": -0.2, "b": 0.01}, lambda a, b: a + b * np.log(C)),
    "power": ({"k": 0.002, "a": 0.12}, lambda k, a: k * C**a),
    "saturating_power": ({"E": 0.2, "A": 3.0, "a": 0.15}, lambda E, A, a: E - A * C**-a),
    "sigmoid": (
        {"A": 0.396, "k": 0.18, "m": 24.44, "d": 0.247},
        lambda A, k, m, d: A / (1 + np.exp(-k * (np.log(C) - m))) - d,
    ),
}


@pytest.mark.parametrize("form", CURVES)
def test_found_lawsof_compute_are_recovered(form: str) -> None:
    truth, curve = CURVES[form]
    y = curve(**truth)
    keep = (y > 0) & (y < 1)
    law = laws.fit(form, y=y[keep], C=C[keep], metric=True)
    assert law.params == pytest.approx(truth, rel=0.02)
    assert law.r2 > 0.99999


def test_data_found_lawsof_a_metric_are_recovered() -> None:
    rng = np.random.default_rng(0)
    N, D = 10 ** rng.uniform(6, 8, 100), 10 ** rng.uniform(5, 7, 100)
    y = 0.163 - 18.56 / N**0.376 - 2.9 / D**0.364
    law = laws.fit("additive_power", y=y, N=N, D=D, metric=True)
    assert law.params == pytest.approx({"E": 0.163, "A": 18.56, "B": 2.9, "alpha": 0.376, "beta": 0.364}, rel=0.02)
    y = 0.05 - 18.56 / N**0.376 + 0.008 * np.log(D)
    law = laws.fit("additive_power_log_data", y=y, N=N, D=D, metric=True)
    assert law.params == pytest.approx({"E": 0.05, "A": 18.56, "B": 0.008, "alpha": 0.376}, rel=0.02)


def test_text_table_and_blocks_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    T, N, D = 10 ** rng.uniform(5, 8, 150), 10 ** rng.uniform(4, 7, 150), 10 ** rng.uniform(4, 7, 150)
    truth = {"E": 0.2, "K": 3.0, "A": 2.0, "B": 1.5, "kappa": 0.35, "alpha": 0.5, "beta": 0.3}
    y = 0.2 - 3 / T**0.35 - 2 / N**0.5 - 1.5 / D**0.3
    law = laws.fit("split_power", y=y, N=N, D=D, T=T, metric=True)
    assert law.params == pytest.approx(truth, rel=0.02)
    assert law.predict(N=1e6, D=1e6, T=1e7) == pytest.approx(0.2 - 3 / 1e7**0.35 - 2 / 1e3 - 1.5 / 1e6**0.3)
    with pytest.raises(ValueError, match="split_power needs N, T, D; T was not given"):
        laws.fit("split_power", y=y, N=N, D=D, metric=True)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("form", FORMS.values(), ids=lambda form: form.name)
def test_jacobians_are_the_differences(form: Form, sign: int) -> None:
    rng = np.random.default_rng(0)
    x = {name: rng.uniform(1, 5, 9) for name in form.inputs}
    theta = rng.uniform(0.1, 0.6, len(form.params))
    for i, column in enumerate(form.value(theta, x, sign)[1].T):
        step = 1e-6 * np.eye(len(theta))[i]
        ahead, behind = (form.value(theta + side * step, x, sign)[0] for side in (1, -1))
        np.testing.assert_allclose(column, (ahead - behind) / 2e-6, rtol=1e-6, atol=1e-8)


def test_repeated_epochs_are_worth_less() -> None:
    rng = np.random.default_rng(1)
    N, U, epochs = 10 ** rng.uniform(7, 9, 200), 10 ** rng.uniform(7, 10, 200), rng.uniform(1, 60, 200)
    effective = U * (1 + 15.0 * (1 - np.exp(-(epochs - 1) / 15.0)))
    y = 1.8 + 480 / N**0.35 + 2000 / effective**0.37
    law = laws.fit("data_constrained", y=y, N=N, U=U, epochs=epochs)
    assert law.params["R_star"] == pytest.approx(15, rel=0.05)
    assert law.params["beta"] == pytest.approx(0.37, rel=0.05)
    assert law.predict(N=1e8, U=1e9, D=4e9) == pytest.approx(law.predict(N=1e8, U=1e9, epochs=4))
    assert laws.fit("data_constrained", y=y, N=N, U=U, D=U * epochs).params == pytest.approx(law.params, rel=1e-4)


def test_runs_below_the_noise_floor_are_left_out() -> None:
    y = np.where(C < 1e11, 5e-4, 0.01 * np.log(C) - 0.2)
    law = laws.fit("log_linear", y=y, C=C, metric=True, floor=1e-3)
    assert law.params == pytest.approx({"a": -0.2, "b": 0.01})
    assert law.n_points == (C >= 1e11).sum()


def test_a_parameter_at_its_bound_is_flagged() -> None:
    y = 0.01 * np.log(C) - 0.15  # no saturation at all
    law = laws.fit("saturating_power", y=y, C=C, metric=True)
    assert {"E", "a"} & set(law.at_bound)


def test_round_trip_through_json() -> None:
    law = laws.fit("additive_power", **chinchilla(5, n=60), n_resamples=50)
    again = laws.Law.from_dict(json.loads(json.dumps(law.to_dict())))
    assert again.params == law.params
    assert again.interval("E") == law.interval("E")
    assert again.predict(N=1e9, D=1e10) == law.predict(N=1e9, D=1e10)
    low, high = law.band(N=[1e9], D=[1e10])
    assert low[0] < law.predict(N=1e9, D=1e10) < high[0]


def test_bad_input_is_named() -> None:
    good = chinchilla(0, n=20)
    cases = [
        ("cubic", good, "unknown form 'cubic'; expected one of log_linear"),
        ("additive_power", {**good, "N": None}, "N was not given"),
        ("additive_power", {**good, "N": np.full(20, 1e9)}, "N has one value"),
        ("additive_power", {**good, "D": -good["D"]}, r"D is -\S+; expected positive numbers, 1e-30 to 1e\+90"),
        ("additive_power", {**good, "y": np.full(20, np.nan)}, "y holds values that are not finite"),
        (
            "additive_power",
            {name: values[:4] for name, values in good.items()},
            "4 runs cannot determine the 5 .* at least 5 runs",
        ),
        ("additive_power", {**good, "metric": True}, r"outside \[0, 1\]"),
        ("additive_power", {**good, "loss": "l1"}, "unknown loss 'l1'"),
        ("additive_power", {**good, "N": np.full(20, "many")}, "N holds values that are not numbers"),
        ("additive_power", {**good, "N": good["N"][:-1]}, "inputs differ in length"),
        ("additive_power", {**good, "delta": 0}, "delta is 0"),
        ("additive_power", {**good, "overestimates": 0}, "overestimates is 0"),
        ("additive_power", {**good, "y": -good["y"]}, "y holds values that are not positive"),
        ("data_constrained", {**good, "U": 2 * good["D"]}, "values below 1"),
        ("log_linear", {**good, "metric": True, "y": np.full(20, 0.01), "C": good["N"], "floor": 0.1}, "0 runs cannot"),
    ]
    for form, arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            laws.fit(form, **arguments)
    for n_resamples in (0, 1, -3, 2.5):
        with pytest.raises(ValueError, match=f"n_resamples is {n_resamples}; expected a whole number, at least 2"):
            laws.fit("additive_power", **good, n_resamples=n_resamples)
    with pytest.raises(ValueError, match="has no parameter 'gamma'; it has E, A"):
        laws.fit("additive_power", **good).interval("gamma")


def test_a_law_of_the_frontier_with_its_interval(climbing: pd.DataFrame) -> None:
    law = laws.fit_frontier("log_linear", climbing, n_resamples=200)
    low, high = law.interval("b")
    assert low < 0.0105
    assert high > 0.0095
    assert law.params["b"] == pytest.approx(0.01, rel=0.15)
    with pytest.raises(ValueError, match="needs N, D; a frontier has C only"):
        laws.fit_frontier("additive_power", climbing)


def test_a_search_ends_where_another_finds_nothing_lower() -> None:
    """A sigmoid's coefficients can grow hundredfold along a valley: the bottom of it is reached from afar."""
    rng = np.random.default_rng(0)
    C = np.geomspace(1e11, 1e16, 60)
    y = 0.16 - 0.9 * C**-0.09 + rng.normal(0, 1e-3, 60)  # what a sigmoid gives far above its middle
    law = laws.fit("sigmoid", y=y, C=C, metric=True, loss="lsq", n_resamples=100)
    assert law.converged
    assert law.share_converged == 1
    bounds = ([1e-9, 0.01, np.log(C).mean() - 30, -np.inf], [np.inf, 3, np.log(C).mean() + 30, np.inf])

    def residuals(p: np.ndarray) -> np.ndarray:
        return p[0] / (1 + np.exp(-p[1] * (np.log(C) - p[2]))) - p[3] - y

    def lowest(start: list[float]) -> float:
        scale = [1, 0.1, 10, 1]
        return 2 * least_squares(residuals, start, bounds=bounds, x_scale=scale, max_nfev=5000).cost

    other = min(lowest(start) for start in ([*law.params.values()], [0.4, 0.2, 24, 0.2], [5, 0.1, 5, 5]))
    assert 60 * law.rmse**2 <= other * (1 + 1e-6)


def test_a_resample_of_a_sigmoid_has_converged_too() -> None:
    """Fitted again from a grid of starts, a resample's objective does not get lower."""
    C = np.geomspace(1e11, 1e16, 60)
    y = 0.16 - 0.9 * C**-0.09 + np.random.default_rng(1).normal(0, 1e-3, 60)
    resamples = laws.fit("sigmoid", y=y, C=C, metric=True, loss="lsq", n_resamples=20, seed=3).samples
    counts = np.random.default_rng(3).multinomial(60, np.full(60, 1 / 60), size=20)
    for i, count in enumerate(counts):
        again = laws.fit("sigmoid", y=np.repeat(y, count), C=np.repeat(C, count), metric=True, loss="lsq")
        warm = laws.Law.given("sigmoid", resamples.loc[i].to_dict(), {}).predict(C=C)
        assert np.sqrt(np.mean(np.repeat(warm - y, count) ** 2)) <= again.rmse * (1 + 1e-4)

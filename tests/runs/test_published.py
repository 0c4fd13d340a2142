"""The published estimators, and what happens where the authors' store cannot be had."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from srtlib.laws.forms import FORMS
from srtlib.runs import curves, published, table


def test_published_coefficients_are_those_of_the_forms() -> None:
    """The formulas here, written out, agree with the library's forms of the same names."""
    C, N, D = np.geomspace(1e12, 1e18, 5), np.geomspace(1e6, 1e8, 5), np.geomspace(1e5, 1e7, 5)
    for form, coefficients, inputs, predicted in [
        ("sigmoid", published.COMPUTE_LAW, {"C": C}, published.predict_from_compute(C)),
        ("additive_power", published.DATA_LAW, {"N": N, "D": D}, published.predict_from_data(N, D)),
    ]:
        assert tuple(coefficients) == FORMS[form].params
        logs = {name: np.log(values) for name, values in inputs.items()}
        np.testing.assert_allclose(predicted, FORMS[form].predict(np.array([*coefficients.values()]), logs, -1))


def test_published_estimators_by_hand() -> None:
    assert published.predict_from_compute(np.exp(24.44)) == pytest.approx(0.396 / 2 - 0.247)
    assert published.predict_from_data(1e300, 1e300) == pytest.approx(0.163)
    assert published.predict_from_data(1.0, 1.0) == pytest.approx(0.163 - 18.56 - 2.9)


def test_refit_recovers_the_coefficients_it_was_generated_with() -> None:
    N, D = np.meshgrid([1e6, 4e6, 2e7], [8e4, 8e5, 8e6])
    runs = pd.DataFrame({"params_total": N.ravel(), "n_targets": D.ravel()})
    runs["y"] = 0.2 - 15 * runs["params_total"] ** -0.376 - 4 * runs["n_targets"] ** -0.364
    assert published.refit_data_law(runs, "y") == pytest.approx({"E": 0.2, "A": 15, "B": 4})


def test_a_cached_file_that_is_not_the_pinned_one_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SRT_DATA", raising=False)
    monkeypatch.setenv("SRT_HOME", str(tmp_path))
    monkeypatch.setattr(published, "URL", "http://127.0.0.1:9/mlruns.sqlite.bz2")
    (tmp_path / "published_runs").mkdir()
    (tmp_path / "published_runs" / "mlruns.sqlite.bz2").write_bytes(b"another file")
    with pytest.raises(FileNotFoundError, match="SRT_DATA is not set"):
        published.published_store()


def test_the_published_runs_come_with_srtlib(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SRT_DATA", str(tmp_path))
    monkeypatch.setattr(published, "URL", "http://127.0.0.1:9/mlruns.sqlite.bz2")
    assert len(table("published")) == 119
    assert curves("published").groupby("run_id").size().tolist() == [10] * 119

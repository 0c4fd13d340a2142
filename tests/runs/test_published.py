"""The published estimators, and what happens where the authors' store cannot be had."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell

from srtlib import notebook
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


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[InteractiveShell]:
    """An IPython shell on a machine without the store and without network."""
    monkeypatch.setenv("SRT_DATA", str(tmp_path))
    monkeypatch.setenv("SRT_HOME", str(tmp_path))
    monkeypatch.setattr(published, "URL", "http://127.0.0.1:9/mlruns.sqlite.bz2")
    shell = InteractiveShell.instance()
    yield shell
    shell.history_manager.end_session()
    InteractiveShell.clear_instance()


def test_a_notebook_without_the_store_says_so_and_runs_no_further_cell(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shell.run_cell("from srtlib.notebook import skip_cells_without").success
    assert shell.run_cell("skip_cells_without('published')").success
    assert "Skipped: the published runs are not in" in capsys.readouterr().out
    assert shell.run_cell("reached = True\n1 / 0").success
    assert "reached" not in shell.user_ns


def test_a_path_that_is_not_there_is_no_reason_to_skip(shell: InteractiveShell) -> None:
    shell.run_cell(
        "from srtlib.notebook import skip_cells_without; skip_cells_without('absent.sqlite'); reached = True"
    )
    assert shell.user_ns["reached"]


def test_outside_a_notebook_there_is_nothing_to_skip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SRT_DATA", str(tmp_path))
    monkeypatch.setenv("SRT_HOME", str(tmp_path))
    monkeypatch.setattr(published, "URL", "http://127.0.0.1:9/mlruns.sqlite.bz2")
    with pytest.raises(FileNotFoundError, match=r"cannot be downloaded from http://127\.0\.0\.1"):
        notebook.skip_cells_without("published")


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

"""The authors' 119 runs, read from SRT_DATA: known facts must come out of the store."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from srtlib import runs
from srtlib.paths import project_root
from srtlib.runs import published

STORE = Path(os.environ.get("SRT_DATA", "")) / "published_runs" / "mlruns.sqlite.bz2"
pytestmark = pytest.mark.skipif(
    "SRT_DATA" not in os.environ or not STORE.exists(),
    reason="SRT_DATA has no published_runs/mlruns.sqlite.bz2",
)

BEST = pd.DataFrame(
    [
        ["amazon-100K", 8, 256, 0.0767, 0.0622],
        ["amazon-500K", 8, 256, 0.0917, 0.0796],
        ["amazon-1M", 8, 256, 0.0984, 0.0843],
        ["amazon-5M", 8, 256, 0.1204, 0.1051],
        ["amazon-10M", 4, 128, 0.1134, 0.0995],
    ],
    columns=["dataset", "n_layers", "d_model", "valid_ndcg@5", "test_ndcg@5"],
)
SETS = {  # training targets, items, title + brand vocabulary
    "amazon-100K": (80_021, 85_682, 44_253),
    "amazon-500K": (408_409, 357_859, 51_636),
    "amazon-1M": (813_811, 622_646, 53_422),
    "amazon-5M": (4_077_664, 1_978_197, 56_216),
    "amazon-10M": (8_178_335, 3_078_853, 57_045),
}


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return runs.table(f"sqlite:///{STORE}")


@pytest.fixture(scope="module")
def curves() -> pd.DataFrame:
    return runs.curves("published")


def test_the_file_is_the_pinned_one() -> None:
    assert hashlib.sha256(STORE.read_bytes()).hexdigest() == published.SHA256


def test_the_tables_that_come_with_srtlib_are_the_store(
    table: pd.DataFrame, curves: pd.DataFrame, tmp_path: Path
) -> None:
    pd.testing.assert_frame_equal(runs.table("published"), table, check_exact=True, check_dtype=False)
    pd.testing.assert_frame_equal(curves, runs.curves(f"sqlite:///{STORE}"), check_exact=True, check_dtype=False)
    published.export_published(tmp_path)
    for path in (project_root() / "results" / "published").iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_counts(table: pd.DataFrame, curves: pd.DataFrame) -> None:
    assert len(table) == 119
    design = ["dataset", "d_model", "n_layers", "n_heads", "n_negatives"]
    assert len(table.drop_duplicates(design)) == 116
    assert table["n_negatives"].value_counts().to_dict() == {100: 60, 300: 59}
    assert (curves.groupby("run_id")["epoch"].agg(list).map(tuple) == tuple(range(5, 51, 5))).all()
    assert (table["wall_s"].sum() / 3600).round() == 2811
    assert table["date"].str.startswith("2023-11").all()


def test_equal_values_at_different_steps_are_kept(curves: pd.DataFrame) -> None:
    repeated = curves.groupby("run_id")["valid_ndcg@5"].apply(lambda values: values.duplicated().sum())
    assert repeated.sum() == 40  # the points that dropping repeated values would lose


def test_best_run_of_each_set(table: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(runs.best_runs(table)[BEST.columns], BEST)


def test_parameter_formula_is_exact_for_every_run(table: pd.DataFrame) -> None:
    d, layers, d_ff = table["d_model"], table["n_layers"], table["d_ff"]
    block = 4 * (d**2 + d) + 2 * d + (d * d_ff + d_ff) + (d_ff * d + d) + 2 * d
    non_embedding = 50 * d + (2 * d**2 + d) + 2 * d + layers * block
    assert (table["params_non_embedding"] == non_embedding).all()
    for name, (targets, items, vocabulary) in SETS.items():
        rows = table[table["dataset"] == name]
        assert (rows["n_targets"] == targets).all()
        assert (rows["n_items"] == items).all()
        assert (rows["params_total"] - rows["params_non_embedding"] == rows["d_model"] * vocabulary).all()


def test_paper_flops_formula_is_exact_for_every_run(table: pd.DataFrame, curves: pd.DataFrame) -> None:
    B, L = 128, 50
    tok = B * L
    d, layers, h, d_ff, K = (table[c] for c in ("d_model", "n_layers", "n_heads", "d_ff", "n_negatives"))
    forward = tok * 2 * d * d + layers * tok * (4 * d**2 + 2 * d * d_ff) + layers * B * h * L * (3 * L - 1)
    batch = forward + (1 + 2 * layers) * 4 * tok * d + (B + B * K) * 2 * d * d
    assert (table["flops_paper"] == 50 * (batch * table["n_targets"] // B)).all()
    last = curves[curves["epoch"] == 50].set_index("run_id")["flops_paper"]
    assert (last == table.set_index("run_id")["flops_paper"]).all()
    assert table["flops"].isna().all()


def test_paired_effects(table: pd.DataFrame) -> None:
    depth = runs.paired_effects(table, "n_layers")
    depth = runs.summarise_effects(depth[depth["d_model"] == 256]).set_index("step")
    assert depth["effect"].round(3).to_dict() == {"8 to 16": -0.015, "16 to 24": -0.026}
    assert (depth["pairs"] == [7, 6]).all()
    assert (depth["worse"] == [7, 6]).all()
    negatives = runs.paired_effects(table, "n_negatives")
    assert runs.summarise_effects(negatives)["effect"].round(3).tolist() == [0.045]
    assert runs.summarise_effects(negatives, "dataset").set_index("dataset")["effect"].round(3)["amazon-10M"] == 0.068
    heads = runs.summarise_effects(runs.paired_effects(table, "n_heads"))
    assert (heads["effect"].abs() < 0.01).all()


def test_published_compute_law_follows_the_envelope(curves: pd.DataFrame) -> None:
    """The coefficients that others quote describe the upper envelope of all curves."""
    compute = np.sort(curves["flops_paper"].unique())
    best = np.full(len(compute), -np.inf)
    for _, run in curves.groupby("run_id"):
        inside = (compute >= run["flops_paper"].min()) & (compute <= run["flops_paper"].max())
        ndcg = np.interp(compute[inside], run["flops_paper"], run["valid_ndcg@5"])
        best[inside] = np.maximum(best[inside], ndcg)
    rmse = np.sqrt(np.mean((best - published.predict_from_compute(compute)) ** 2))
    assert rmse == pytest.approx(0.0026, abs=0.0003)
    assert 1 - rmse**2 / best.var() == pytest.approx(0.990, abs=0.003)


def test_published_data_law_comes_from_the_best_runs_of_width_64_and_more(table: pd.DataFrame) -> None:
    """With the published exponents held, those 14 points give the published coefficients; all 119 do not fit them."""
    best = runs.best_runs(table[table["d_model"] >= 64], ["dataset", "d_model"], "valid_ndcg@5_final")
    assert len(best) == 14
    refit = published.refit_data_law(best)
    assert refit == pytest.approx({name: published.DATA_LAW[name] for name in "EAB"}, rel=0.015)
    residuals = published.predict_from_data(table["params_total"], table["n_targets"]) - table["valid_ndcg@5"]
    assert np.sqrt(np.mean(residuals**2)) == pytest.approx(0.0104, abs=0.0002)

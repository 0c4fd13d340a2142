"""The store of runs: files on disk, locks, kills, tables; and MLflow stores."""

import bz2
import json
import multiprocessing
import sqlite3
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from srtlib import runs
from srtlib.runs import published
from srtlib.runs.store import Run, RunLockedError, is_open

CONFIG: dict[str, Any] = {
    "dataset": {"name": "tiny", "fingerprint": "0123", "n_users": 9, "n_items": 7, "n_interactions": 50}
    | {"n_targets": 23},
    "model": {"d_model": 8, "n_layers": 2, "n_heads": 1, "d_ff": 32, "max_len": 50, "dropout": 0.1},
    "train": {"objective": "sampled", "n_negatives": 5, "epochs": 2, "batch_tokens": 64, "dropout": 0.5},
    "seed": 3,
    "recipe": "srtlib",
}


def write_run(root: Path, seed: int = 3, best: float = 0.04) -> str:
    with Run.open(root, {**CONFIG, "seed": seed}) as run:
        for epoch, ndcg in [(1, best), (2, best - 0.01)]:
            run.log({"step": 5 * epoch, "epoch": epoch, "flops": 1e9 * epoch, "valid_ndcg@5": ndcg, "lr": 0.1})
        run.log({"step": 11, "train_loss": 2.0})
        run.finish(
            {
                "params": {"total": 100, "non_embedding": 60},
                "flops": 2e9,
                "valid": {"ndcg@5": best},
                "valid_final": {"ndcg@5": best - 0.01},
                "test": {"ndcg@5": 0.02},
                "best_step": 5,
            }
        )
    return run.id


def test_run_id_names_the_configuration_not_the_order_of_its_keys() -> None:
    shuffled = dict(reversed(CONFIG.items()))
    assert runs.run_id(CONFIG) == runs.run_id(shuffled) == runs.run_id(json.loads(json.dumps(CONFIG)))
    assert runs.run_id(CONFIG) != runs.run_id({**CONFIG, "seed": 4})
    # sha256 of '{"a":1}' begins so
    assert runs.run_id({"a": 1}) == "015abd7f5cc5"


def test_life_of_a_run(tmp_path: Path) -> None:
    with Run.open(tmp_path, CONFIG) as run:
        assert (run.status, run.rows(), run.summary) == ("new", [], {})
        run.log({"step": 1, "x": 0.5})
        assert run.status == "running"
        assert runs.finished(tmp_path) == set()
        run.fail("Traceback: boom")
        assert (run.status, run.summary["error"]) == ("failed", "Traceback: boom")
    with Run.open(tmp_path, CONFIG) as run:
        run.log({"step": 2, "x": np.float32(0.25)})
        assert run.status == "running"
        run.finish({"flops": np.int64(7)})
        assert run.status == "finished"
        with pytest.raises(RuntimeError, match="is finished"):
            run.log({"step": 3})
        with pytest.raises(RuntimeError, match="is finished"):
            run.truncate(1)
    assert runs.finished(tmp_path) == {runs.run_id(CONFIG)}
    assert Run.open(tmp_path, CONFIG).rows() == [{"step": 1, "x": 0.5}, {"step": 2, "x": 0.25}]
    assert json.loads((run.path / "config.json").read_text()) == CONFIG
    assert runs.read_summary(run.path) == {"flops": 7, "status": "finished"}


def test_what_is_not_json_is_refused_and_leaves_no_trace(tmp_path: Path) -> None:
    with Run.open(tmp_path, CONFIG) as run:
        with pytest.raises(TypeError, match="expected numbers"):
            run.log({"step": 1, "path": tmp_path})
        assert run.status == "new"


def test_a_second_opener_is_told_where(tmp_path: Path) -> None:
    with Run.open(tmp_path, CONFIG) as run, pytest.raises(RunLockedError, match=str(run.path)):
        Run.open(tmp_path, CONFIG)
    Run.open(tmp_path, CONFIG).close()


def _hold(root: Path, ready: Any, release: Any) -> None:
    with Run.open(root, CONFIG):
        ready.set()
        release.wait(30)


def test_the_lock_holds_between_processes_and_dies_with_its_owner(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(tmp_path, ready, release))
    holder.start()
    assert ready.wait(30)
    with pytest.raises(RunLockedError, match="is open in another process; wait for it or end it"):
        Run.open(tmp_path, CONFIG)
    assert is_open(tmp_path / runs.run_id(CONFIG))
    threading.Timer(0.3, holder.kill).start()
    with pytest.warns(UserWarning, match="is open in another process; waiting for it"):
        Run.open(tmp_path, CONFIG, wait=True).close()
    assert not is_open(tmp_path / runs.run_id(CONFIG))
    holder.join()
    Run.open(tmp_path, CONFIG).close()


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_line_cut_by_a_kill_is_ignored_then_replaced(tmp_path: Path, cut: int) -> None:
    with Run.open(tmp_path, CONFIG) as run:
        run.log({"step": 1})
        run.log({"step": 2})
        file = run.path / "metrics.jsonl"
        file.write_bytes(file.read_bytes()[:-cut])
        assert run.rows() == [{"step": 1}]
        run.log({"step": 3})
        assert run.rows() == [{"step": 1}, {"step": 3}]


def test_truncate_drops_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    with Run.open(tmp_path, CONFIG) as run:
        run.truncate(5)
        for step in (2, 4, 6):
            run.log({"step": step})
        run.truncate(4)
        assert [row["step"] for row in run.rows()] == [2, 4]
        run.log({"step": 5})
        assert [row["step"] for row in run.rows()] == [2, 4, 5]


def test_table_has_one_documented_row_per_finished_run(tmp_path: Path) -> None:
    ids = {write_run(tmp_path, seed) for seed in (3, 4)}
    with Run.open(tmp_path, {**CONFIG, "seed": 5}) as run:
        run.log({"step": 1, "valid_ndcg@5": 0.9})
    frame = runs.table(tmp_path)
    assert list(frame.columns[: len(runs.COLUMNS)]) == list(runs.COLUMNS)
    assert set(frame["run_id"]) == ids
    row = frame.set_index("seed").loc[3]
    expected = {
        "dataset": "tiny",
        "dataset_fingerprint": "0123",
        "n_targets": 23,
        "d_model": 8,
        "n_negatives": 5,
    }
    expected |= {"dropout": 0.1, "train_dropout": 0.5, "batch_tokens": 64, "recipe": "srtlib", "best_step": 5}
    expected |= {"params_total": 100, "params_non_embedding": 60, "flops": 2e9}
    expected |= {"valid_ndcg@5": 0.04, "valid_ndcg@5_final": 0.03, "test_ndcg@5": 0.02}
    assert row[list(expected)].to_dict() == expected
    assert np.isnan(row["flops_paper"])


def test_curves_have_one_row_per_evaluation(tmp_path: Path) -> None:
    write_run(tmp_path)
    frame = runs.curves(tmp_path)
    assert list(frame.columns[: len(runs.CURVE_COLUMNS)]) == list(runs.CURVE_COLUMNS)
    assert frame[["step", "flops", "valid_ndcg@5"]].values.tolist() == [[5, 1e9, 0.04], [10, 2e9, 0.03]]
    assert (frame[["d_model", "params_total", "n_interactions"]] == [8, 100, 50]).all(axis=None)


def test_an_empty_store_is_an_empty_table(tmp_path: Path) -> None:
    assert runs.finished(tmp_path / "absent") == set()
    assert list(runs.table(tmp_path).columns) == list(runs.COLUMNS)
    assert list(runs.curves(tmp_path).columns) == list(runs.CURVE_COLUMNS)
    assert len(runs.table(tmp_path)) == 0


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet"])
def test_tables_come_back_from_files(tmp_path: Path, suffix: str) -> None:
    write_run(tmp_path / "store")
    for kind, read in [("table", runs.table), ("curves", runs.curves)]:
        frame = read(tmp_path / "store")
        file = tmp_path / f"{kind}.{suffix}"
        if suffix == "parquet":
            frame.to_parquet(file)
        else:
            frame.to_csv(file, index=False)
        again = read(file)
        pd.testing.assert_frame_equal(again, frame, check_dtype=False)
        assert again["dataset_fingerprint"].tolist() == ["0123"] * len(frame)  # not the number 123


def test_an_exported_folder_reads_like_its_store(tmp_path: Path) -> None:
    write_run(tmp_path / "store")
    runs.export(tmp_path / "store", tmp_path / "results")
    for read in (runs.table, runs.curves):
        pd.testing.assert_frame_equal(read(tmp_path / "results"), read(tmp_path / "store"), check_dtype=False)


def test_what_is_no_table_of_runs_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no runs at absent\.csv"):
        runs.table("absent.csv")
    (tmp_path / "runs.txt").write_text("run_id\n")
    with pytest.raises(ValueError, match=r"expected .csv, .parquet"):
        runs.table(tmp_path / "runs.txt")
    (tmp_path / "a.csv").write_text("name,x\nb,1\n")
    with pytest.raises(ValueError, match="no column 'run_id'"):
        runs.table(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("run_id,epoch\nb,1\nb,2\n")
    assert len(runs.curves(tmp_path / "b.csv")) == 2
    with pytest.raises(ValueError, match="one per run"):
        runs.table(tmp_path / "b.csv")


@pytest.mark.parametrize("name", ["2024", "007", "1e5", "NA", "None", "nan"])
def test_names_are_text_whatever_they_look_like(tmp_path: Path, name: str) -> None:
    """The kind: a data set, a grid or a commit that a reader of CSV would take for a number, or for nothing."""
    write_run(tmp_path / "store", seed=3)
    runs.export(tmp_path / "store", tmp_path / "results")
    for file in tmp_path.glob("results/*.csv"):
        named = runs_table(file).assign(**dict.fromkeys(["dataset", "grid", "commit", "device"], name))
        named.to_csv(file, index=False)
    for found in runs.study(tmp_path / "results", dataset=name):
        assert not found.empty
        assert set(found["dataset"]) == set(found["grid"]) == set(found["commit"]) == {name}
        assert pd.api.types.is_numeric_dtype(found["flops"])


def test_what_is_no_number_and_what_is_missing_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "store", seed=3)
    folder = tmp_path / "results"
    runs.export(tmp_path / "store", folder)
    good = (folder / "runs.csv").read_text()
    table = runs_table(folder / "runs.csv")
    for column in ("flops", "n_items", "valid_ndcg@5"):
        table.astype({column: object}).assign(**{column: "many"}).to_csv(folder / "runs.csv", index=False)
        with pytest.raises(ValueError, match=rf"runs.csv: {column} of run {run} is 'many'; expected a number$"):
            runs.table(folder)
    (folder / "runs.csv").write_text(good)
    head = (folder / "curves.csv").read_text().splitlines()[0]
    (folder / "curves.csv").write_text(head + "\n")
    with pytest.raises(ValueError, match=r"results has no evaluation of its runs; expected their curves"):
        runs.study(folder)
    (folder / "curves.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"curves.csv is not there; expected runs.csv and curves.csv in one"):
        runs.study(folder)
    nameless = runs.table(folder).assign(dataset=None)
    assert len(runs.tables.one_family(nameless)) == 1
    with pytest.raises(ValueError, match="no run on a data set 'mine'; there are none with a name"):
        runs.tables.one_family(nameless, "mine")


def runs_table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"run_id": str, "commit": str})


def test_runs_on_several_data_sets_are_not_mixed() -> None:
    table = pd.DataFrame({"dataset": ["toys", "books"]})
    with pytest.raises(ValueError, match="choose one of books, toys"):
        runs.one_family(table)
    assert runs.one_family(table, "toys")["dataset"].tolist() == ["toys"]


def test_a_study_is_its_runs_and_their_curves(tmp_path: Path) -> None:
    first, second, third = (write_run(tmp_path, seed) for seed in (3, 4, 5))
    recorded, history = runs.study(tmp_path, run_ids=[third, first])
    assert recorded["run_id"].tolist() == [third, first]
    assert set(history["run_id"]) == {third, first}
    assert len(history) == 4
    recorded, history = runs.study(tmp_path, "tin")
    assert set(recorded["run_id"]) == set(history["run_id"]) == {first, second, third}
    with pytest.raises(ValueError, match="no finished run absent"):
        runs.study(tmp_path, run_ids=[first, "absent"])
    with pytest.raises(ValueError, match="no run on a data set 'books'; there are tiny"):
        runs.study(tmp_path, "books")


# --- MLflow stores ---


PARAMS = {"dataset": "amazon-500K", "device": "cuda", "hidden_dropout_prob": "0.5", "n_items": "70"}
PARAMS |= {"n_inters": "1000", "hidden_size": "8", "n_layers": "2", "n_heads": "1", "inner_size": "8"}
PARAMS |= {
    "MAX_ITEM_LIST_LENGTH": "50",
    "nce_num_negatives": "100",
    "epochs": "10",
    "train_batch_size": "128",
}
PARAMS |= {
    "seed": "2020",
    "model_total_params": "900",
    "model_non_emb_params": "300",
    "total_flops": "1001.0",
}


def write_mlflow(path: Path, params: dict[str, str] = PARAMS) -> Path:
    """Two finished runs, values logged twice and equal at steps 4 and 9; two runs that do not count."""
    store = sqlite3.connect(path)
    store.execute("create table runs (run_uuid, status, lifecycle_stage)")
    store.execute("create table params (run_uuid, key, value)")
    store.execute("create table metrics (run_uuid, key, value, timestamp, step, is_nan)")
    alive = {"a": ("FINISHED", "active"), "b": ("FINISHED", "active")}
    for run, state in {**alive, "c": ("FINISHED", "deleted"), "d": ("FAILED", "active")}.items():
        store.execute("insert into runs values (?, ?, ?)", (run, *state))
        store.executemany("insert into params values (?, ?, ?)", [(run, *item) for item in params.items()])
        rows = [("time_epoch", 2.0, 1000 * step, step) for step in range(10)]
        rows += [("train/train_loss", 9.0 - step, 1000 * step, step) for step in range(10)]
        for name, factor in [("ndcg", 1.0), ("hit", 2.0), ("mrr", 0.5)]:
            for step, value in [(4, 0.07), (9, 0.07)] if run == "a" else [(4, 0.06), (9, 0.05)]:
                rows += 2 * [(f"valid/{name}_at_5", factor * value, 1000 * step, step)]
            rows += [(f"test/{name}_at_5", factor * 0.04, 9500, 9)]
        store.executemany("insert into metrics values (?, ?, ?, ?, ?, 0)", [(run, *row) for row in rows])
    store.commit()
    store.close()
    return path


def test_mlflow_values_logged_twice_count_once_and_equal_values_stay(tmp_path: Path) -> None:
    frame = runs.curves(f"sqlite:///{write_mlflow(tmp_path / 'm.sqlite')}")
    assert frame[["run_id", "step", "epoch", "valid_ndcg@5", "valid_hr@5", "wall_s"]].values.tolist() == [
        ["a", 4, 5, 0.07, 0.14, 10.0],
        ["a", 9, 10, 0.07, 0.14, 20.0],
        ["b", 4, 5, 0.06, 0.12, 10.0],
        ["b", 9, 10, 0.05, 0.1, 20.0],
    ]
    assert frame["train_loss"].tolist() == [5.0, 0.0] * 2
    per_epoch = 1001 * 1000 // 128
    assert frame["flops_paper"].tolist() == [5 * per_epoch, 10 * per_epoch] * 2
    assert frame["flops"].isna().all()


def test_mlflow_runs_speak_our_names(tmp_path: Path) -> None:
    frame = runs.table(write_mlflow(tmp_path / "m.db")).set_index("run_id")
    assert frame.index.tolist() == ["a", "b"]
    row = frame.loc["b"]
    expected = {
        "dataset": "amazon-500K",
        "n_interactions": 500_000,
        "n_targets": 1000,
        "d_model": 8,
        "d_ff": 8,
    }
    expected |= {
        "n_negatives": 100,
        "params_total": 900,
        "targets_seen": 10_000,
        "wall_s": 20.0,
        "seed": 2020,
    }
    expected |= {"valid_ndcg@5": 0.06, "valid_ndcg@5_final": 0.05, "test_ndcg@5": 0.04, "test_mrr@5": 0.02}
    assert row[list(expected)].to_dict() == expected
    assert row["date"] == "1970-01-01"


ENDLESS = "with recursive n (i) as (select 1 union all select i + 1 from n)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            f"create view params as {ENDLESS} select i as run_uuid, i as key, i as value from n",
            "it has no table params",
        ),
        ("create virtual table params using fts5(run_uuid, key, value)", "has no table params"),
        (
            "create table params (run_uuid, key, value as (hex(zeroblob(30000000))))",
            "not an MLflow SQLite .*big",
        ),
    ],
)
def test_a_store_computed_without_end_is_refused(tmp_path: Path, change: str, message: str) -> None:
    path = write_mlflow(tmp_path / "m.sqlite")
    store = sqlite3.connect(path)
    store.execute("drop table params")
    store.execute(change)
    if not change.startswith("create view"):
        store.execute("insert into params (run_uuid, key) values ('a', 'seed')")
    store.commit()
    store.close()
    with pytest.raises(ValueError, match=f"m.sqlite .*{message}"):
        runs.table(path)


def test_reading_a_store_takes_a_bounded_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_mlflow(tmp_path / "m.sqlite")
    monkeypatch.setattr(published, "_ROUND", 10)
    monkeypatch.setattr(published, "MOST_STEPS", 1_000)
    with pytest.raises(ValueError, match=r"m.sqlite .*interrupted"):
        runs.table(path)


def test_packed_stores_are_unpacked_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bz2.compress(write_mlflow(tmp_path / "m.sqlite").read_bytes())
    path = tmp_path / "m.sqlite.bz2"
    path.write_bytes(whole)
    assert len(runs.table(path)) == 2
    for damaged in (whole[: len(whole) // 2], b"no bzip2", b""):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"m.sqlite.bz2 is (damaged or cut short|not an MLflow)"):
            runs.table(path)
    monkeypatch.setattr(published, "LARGEST", 1 << 16)
    path.write_bytes(bz2.compress(b"\0" * (1 << 20)))
    with pytest.raises(ValueError, match=r"m.sqlite.bz2 unpacks to more than 65,536 bytes"):
        runs.table(path)


def test_what_is_no_store_of_the_authors_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.sqlite").write_text("no database")
    with pytest.raises(ValueError, match="not an MLflow SQLite store"):
        runs.table(tmp_path / "x.sqlite")
    other = {key: value for key, value in PARAMS.items() if key != "hidden_size"}
    with pytest.raises(ValueError, match=r"has no .*hidden_size"):
        runs.table(write_mlflow(tmp_path / "other.sqlite", other))


def test_published_says_what_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRT_DATA", str(tmp_path / "nothing"))
    monkeypatch.setenv("SRT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("srtlib.runs.published.URL", "http://127.0.0.1:9/mlruns.sqlite.bz2")
    with pytest.raises(FileNotFoundError, match=r"published_runs.*127\.0\.0\.1"):
        published.published_store()


def test_rows_of_chosen_runs_have_whole_numbers_though_others_lack_them(tmp_path: Path) -> None:
    """A baseline has no width: beside it the widths of a whole store are broken numbers."""
    ids = []
    for model in ({"d_model": 8, "dropout": 0.0}, {"d_model": 64, "dropout": 0.5}, {}):
        with Run.open(tmp_path, {"dataset": {"name": "tiny"}, "model": model, "train": {}, "seed": 0}) as run:
            run.finish({"valid": {"ndcg@5": 0.1}})
        ids.append(run.id)
    table = runs.table(tmp_path)
    assert table["d_model"].dtype == float
    rows = runs.rows_of(table, ids[1::-1])
    assert (rows["d_model"].tolist(), rows["d_model"].dtype) == ([64, 8], int)
    assert rows["dropout"].dtype == float

"""Text and item IDs judged for the same users: one call trains, judges and records."""

from pathlib import Path

import pandas as pd
import pytest

from srtlib import runs
from srtlib.params import Architecture
from srtlib.studies import text_and_ids


def test_one_call_trains_both_and_records_where_text_is_better(
    folder: str, timed_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_and_ids, "TEXT", Architecture(d_model=8))
    monkeypatch.setattr(text_and_ids, "IDS", {"model": {"d_model": 8}, "train": {"epochs": 2, "batch_size": 64}})
    path, store = tmp_path / "results" / "groups.csv", tmp_path / "runs"
    table = text_and_ids.record(path, folder, store, seeds=2)
    trained = runs.table(store)
    assert sorted(zip(trained["recipe"], trained["seed"], strict=True)) == [
        ("sasrec", 0), ("sasrec", 1), ("srtlib", 0), ("srtlib", 1)
    ]  # fmt: skip
    everybody = table.groupby(["ranking", "by"])["users"].sum()
    assert everybody.tolist() == [60] * 4
    for name, recipe in (("first", "sasrec"), ("second", "srtlib")):
        expected = trained.loc[trained["recipe"] == recipe, "test_ndcg@10"].mean()
        part = table[(table["ranking"] == "all items") & (table["by"] == "history")]
        assert (part[name] * part["users"]).sum() / 60 == pytest.approx(expected)
    text_and_ids.record(path, timed_folder, tmp_path / "others", seeds=1)
    recorded = pd.read_csv(path, dtype={"commit": str})
    assert recorded["dataset"].unique().tolist() == [folder, timed_folder]
    assert recorded.groupby("dataset")["seeds"].unique().str[0].to_dict() == {folder: 2, timed_folder: 1}
    assert recorded[["dataset_fingerprint", "device", "version", "commit", "date"]].notna().all(axis=None)

"""The paper recipe against every configuration that the authors recorded."""

import os
from pathlib import Path

import pytest
import torch

from srtlib import runs
from srtlib.data.text import train_tokenizer
from srtlib.model.flops import paper_training_flops
from srtlib.model.srt import SRT
from srtlib.params import paper

STORE = Path(os.environ.get("SRT_DATA", "")) / "published_runs" / "mlruns.sqlite.bz2"
pytestmark = pytest.mark.skipif(not STORE.is_file(), reason="SRT_DATA has no published_runs/mlruns.sqlite.bz2")


def test_parameters_and_flops_of_every_recorded_run_come_out_exactly() -> None:
    tokenizer = train_tokenizer(["red pen"], 100)
    table = runs.table(f"sqlite:///{STORE}")
    assert len(table) == 119
    for run in table.to_dict("records"):
        recipe = paper(run["d_model"], run["n_layers"], run["n_heads"], run["n_negatives"])
        assert recipe.model.d_ff == run["d_ff"]
        assert recipe.train.epochs == run["epochs"]
        with torch.device("meta"):
            counts = SRT(recipe.model, tokenizer).parameter_counts()
        assert counts["non_embedding"] == run["params_non_embedding"]
        one_epoch = paper_training_flops(recipe.model, run["n_negatives"], run["n_targets"])
        assert 50 * one_epoch == run["flops_paper"]

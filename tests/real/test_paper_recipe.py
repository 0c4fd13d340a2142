"""The paper recipe against every configuration that the authors recorded."""

import bz2
import math
import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
import torch

from srtlib import runs
from srtlib.data.text import train_tokenizer
from srtlib.model.flops import paper_training_flops
from srtlib.model.srt import SRT
from srtlib.params import Architecture
from srtlib.recipes import paper_recipe
from srtlib.training.optimisation import learning_rate_factor

STORE = Path(os.environ.get("SRT_DATA", "")) / "published_runs" / "mlruns.sqlite.bz2"
pytestmark = pytest.mark.skipif(not STORE.is_file(), reason="SRT_DATA has no published_runs/mlruns.sqlite.bz2")


def test_parameters_and_flops_of_every_recorded_run_come_out_exactly() -> None:
    tokenizer = train_tokenizer(["red pen"], 100)
    table = runs.table(f"sqlite:///{STORE}")
    assert len(table) == 119
    for run in table.to_dict("records"):
        shape = {name: run[name] for name in ("d_model", "n_layers", "n_heads")}
        recipe = paper_recipe(Architecture.model_validate(shape))
        assert recipe.model.d_ff == run["d_ff"]
        assert recipe.train.epochs == run["epochs"]
        with torch.device("meta"):
            counts = SRT(recipe.model, tokenizer).parameter_counts()
        assert counts["non_embedding"] == run["params_non_embedding"]
        one_epoch = paper_training_flops(recipe.model, run["n_negatives"], run["n_targets"])
        assert 50 * one_epoch == run["flops_paper"]


def test_learning_rates_of_every_recorded_run_come_out_exactly() -> None:
    """Logged after each epoch's last step, when the schedule already stands at the next one."""
    params = paper_recipe(Architecture(d_model=32)).train
    with tempfile.NamedTemporaryFile() as file:
        file.write(bz2.decompress(STORE.read_bytes()))
        file.flush()
        with closing(sqlite3.connect(file.name)) as store:
            rows = store.execute(
                "select cast(p.value as int), m.step, m.value from metrics m join params p using (run_uuid) "
                "where m.key = 'train/learning_rate' and p.key = 'n_inters'"
            ).fetchall()
            settings = dict(store.execute("select distinct key, value from params").fetchall())
    assert len(rows) == 119 * 50
    for n_targets, epoch, rate in rows:
        steps = math.ceil(n_targets / 128)
        share = ((epoch + 1) * steps + 1) / (50 * steps)
        assert params.learning_rate * learning_rate_factor(share, params, 50 * steps) == pytest.approx(rate, rel=1e-9)
    assert settings["clip_grad_norm"] == "None"
    assert params.clip_norm == 0
    assert (settings["valid_metric"], settings["initializer_range"]) == (params.select_by, "0.02")

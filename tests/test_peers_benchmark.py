"""benchmarks/peers.py: srtlib's side of the comparison, which needs no peer."""

import importlib
from pathlib import Path

import pytest
import torch

from srtlib.data.dataset import Dataset
from srtlib.params import Architecture
from srtlib.paths import project_root
from srtlib.recipes import recipe_for
from srtlib.training.trainer import Trainer


def test_srtlib_learns_to_the_end_of_its_recipe_and_then_nothing(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(project_root() / "benchmarks")
    peers = importlib.import_module("peers")
    recipe = recipe_for("srtlib", Architecture(d_model=8), dataset, {"epochs": 2})
    ours = peers.Own(Trainer(recipe, dataset, dataset, tmp_path, None, None, torch.device("cpu")))
    targets = 2 * int((dataset.train_ends - dataset.offsets[:-1] - 1).sum())  # every position but the first, twice
    assert [ours.train(1000.0)["targets"] for _ in range(3)] == [targets, 0, 0]
    assert ours.spent["targets"] == targets

"""Training and judging on a device that is not the CPU: tensors are where they are needed, and numbers are the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from srtlib.data.dataset import Dataset
from srtlib.evaluation import judge
from srtlib.model.encoders import BagFeatures
from srtlib.model.packing import Sequences
from srtlib.params import Recipe
from srtlib.training.trainer import Trainer
from tests.training.pretend_gpu import DEVICE, pretend_gpu

TRAININGS: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {"supervise": "last", "shared_negatives": False, "logq_on_positive": True, "optimizer": "adam"},
    "in batch": {"in_batch": True},
    "full softmax": {"objective": "full_softmax"},
    "Muon and averaged weights": {"optimizer": "muon", "average": 0.9},
}


def test_the_device_refuses_what_a_gpu_would() -> None:
    with pretend_gpu():
        x = torch.arange(3.0).to(DEVICE)
        assert (x.device, (2 * x).device, x.cpu().device.type) == (DEVICE, DEVICE, "cpu")
        assert (2 * x).sum().item() == 6
        assert x[torch.tensor([2, 0])].tolist() == [2, 0]
        with pytest.raises(RuntimeError, match="two devices"):
            x + torch.ones(3)
        with pytest.raises(RuntimeError, match="two devices"):
            torch.ones(3)[torch.arange(2, device=DEVICE)]
        with pytest.raises(RuntimeError, match="without numbers"):
            x + torch.tensor([1.0], device=DEVICE)


@pytest.mark.parametrize(
    ("name", "static"),
    [(name, static) for name in TRAININGS for static in (False, True) if name != "paper" or not static],
)
def test_training_and_judging_are_those_of_the_cpu(
    name: str, static: bool, recipe: Recipe, dataset: Dataset, tmp_path: Path
) -> None:
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update=TRAININGS[name])})
    weights, ranks = _trained(recipe, dataset, tmp_path, torch.device("cpu"), static)
    with pretend_gpu():
        weights_there, ranks_there = _trained(recipe, dataset, tmp_path, DEVICE, static)
    for part, weight in weights.items():
        there = weights_there[part]
        if part.endswith("qkv.bias"):  # keys' have no gradient but what rounding leaves
            there, weight = (torch.cat(x.chunk(3)[::2]) for x in (there, weight))
        torch.testing.assert_close(there, weight, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ranks_there, ranks, atol=0.5)  # rounding breaks ties


def _trained(
    recipe: Recipe, dataset: Dataset, path: Path, device: torch.device, static: bool
) -> tuple[dict[str, Tensor], list[np.ndarray]]:
    """Weights after three steps, and the ranks of all users by every protocol."""
    trainer = Trainer(recipe, dataset, dataset, path, None, None, device)
    trained_on = dataset.items, dataset.offsets, dataset.train_ends
    trainer.sequences = Sequences(*trained_on, recipe.model.max_len, device, static)
    epoch = trainer.epoch()
    for _ in range(3):
        trainer.step(epoch)
    ranks = [
        judge(trainer.judged, dataset, "test", protocol, exclude_seen).ranks
        for protocol, exclude_seen in (("full", False), ("full", True), ("sampled:20", False), ("paper:20", False))
    ]
    return {name: weight.detach().cpu() for name, weight in trainer.saved.state_dict().items()}, ranks


def test_fields_of_text_may_lie_on_two_devices() -> None:
    """As where one field's tokens fit beside the model and another's do not."""
    ids, offsets = torch.arange(6, dtype=torch.int32), torch.tensor([0, 2, 2, 6])
    with pretend_gpu():
        features = BagFeatures(
            {"title": ids.to(DEVICE), "brand": ids}, {"title": offsets.to(DEVICE), "brand": torch.arange(4)}
        )
        assert features.n_tokens.tolist() == [3, 1, 5]

import math
import sys

import numpy as np
import pytest
import torch

from srtlib.data.dataset import Dataset
from srtlib.model.making import new_model
from srtlib.model.memory import free_bytes, largest_batch, resident, take
from srtlib.model.packing import Sequences
from srtlib.params import ModelParams, Recipe, TrainParams
from srtlib.training.objective import Objective
from srtlib.training.trainer import Trainer

GPU = torch.device("meta")  # stands for a device that is not the CPU


def limited(monkeypatch: pytest.MonkeyPatch, free: float) -> None:
    monkeypatch.setattr(sys.modules["srtlib.model.memory"], "free_bytes", lambda device: free)


def test_data_live_on_the_device_if_half_of_what_is_free_holds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.arange(100, dtype=np.int32)
    limited(monkeypatch, 800)
    assert resident(array, GPU).device == GPU
    limited(monkeypatch, 799)
    here = resident(array, GPU)
    assert here.device.type == "cpu"
    assert take(here, torch.tensor([3, 1])).tolist() == [3, 1]


def test_a_cpu_reads_mapped_files_without_copying(tmp_path, recwarn) -> None:  # type: ignore[no-untyped-def]
    np.save(tmp_path / "a.npy", np.arange(5))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert free_bytes(torch.device("cpu")) == math.inf
    assert resident(mapped, torch.device("cpu")).data_ptr() == mapped.ctypes.data
    assert not recwarn


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_data_that_do_not_fit_give_the_same_batches(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def batch() -> torch.Tensor:
        ends = dataset.history_ends("valid")
        sequences = Sequences(dataset.items, dataset.offsets, ends, 10, "cuda", static=True)
        return sequences.epoch("all", 64, torch.Generator().manual_seed(0)).batch(0).items

    on_device = batch()
    limited(monkeypatch, 0)
    assert torch.equal(batch(), on_device)


def fits(limit: int, tried: list[int]):  # type: ignore[no-untyped-def]
    def attempt(size: int) -> None:
        tried.append(size)
        if size > limit:
            raise torch.OutOfMemoryError("not enough")

    return attempt


@pytest.mark.parametrize(
    ("limit", "most", "expected", "tried"),
    [
        (1000, 10**6, 512, [64, 128, 256, 512, 1024]),
        (1000, 300, 256, [64, 128, 256]),
        (20, 10**6, 16, [64, 32, 16]),
        (10**9, 100, 64, [64]),
    ],
)
def test_the_largest_batch_is_found_by_doubling_or_halving(
    limit: int, most: int, expected: int, tried: list[int]
) -> None:
    seen: list[int] = []
    assert largest_batch(fits(limit, seen), 64, most) == expected
    assert seen == tried


def test_not_even_one_fits() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        largest_batch(fits(0, []), 8, 100)


def auto(recipe: Recipe) -> Recipe:
    train = TrainParams.model_validate({**recipe.train.model_dump(), "batch_size": "auto"})
    return recipe.model_copy(update={"train": train})


def test_auto_on_a_cpu_is_the_recipes_own_and_says_so(dataset: Dataset, recipe: Recipe, tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.warns(UserWarning, match="batch_size: auto fills a GPU's memory; on a CPU it is 128"):
        trainer = Trainer(auto(recipe), dataset, dataset, tmp_path, None, None, torch.device("cpu"))
    assert trainer.at.batch_size == 128  # the least of the rule: the set is small


def test_auto_tries_real_steps_and_changes_nothing(
    dataset: Dataset,
    recipe: Recipe,
    tmp_path,
    monkeypatch: pytest.MonkeyPatch,  # type: ignore[no-untyped-def]
) -> None:
    """A step of more than 100 tokens is said to be out of memory."""
    forward = Objective.forward

    def small(self: Objective, batch, *args: object):  # type: ignore[no-untyped-def]
        if batch.layout.n_tokens > 100:
            raise torch.OutOfMemoryError
        return forward(self, batch, *args)

    monkeypatch.setattr(Objective, "forward", small)
    trainer = Trainer(recipe, dataset, dataset, tmp_path, None, None, torch.device("cpu"))
    random = torch.get_rng_state()
    assert largest_batch(trainer._try_batch, 512, dataset.n_targets) == 64
    assert torch.equal(random, torch.get_rng_state())
    fresh = new_model(ModelParams.model_validate(recipe.model), dataset)
    assert all(torch.equal(a, b) for a, b in zip(trainer.model.parameters(), fresh.parameters(), strict=True))
    assert all(p.grad is None for p in trainer.model.parameters())

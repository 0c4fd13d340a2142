"""The loss of a batch of real sequences, against sums written out."""

import math
from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from srtlib.data.dataset import Dataset
from srtlib.model.making import new_model
from srtlib.model.packing import Sequences
from srtlib.params import ModelParams, TrainParams
from srtlib.training.losses import NegativeSampler
from srtlib.training.objective import Objective

K = 7


@pytest.mark.parametrize("supervise", ["all", "last"])
def test_in_batch_negatives_equal_the_sum_written_out(dataset: Dataset, supervise: str) -> None:
    """Drawn negatives and the targets of the batch's other sequences, each over how often it is expected."""
    model = new_model(ModelParams(d_model=8, vocab_size=200), dataset, seed=1).eval()
    params = TrainParams(supervise=supervise, n_negatives=K, in_batch=True)
    trained_on = Sequences(dataset.items, dataset.offsets, dataset.train_ends, model.params.max_len)
    batch = trained_on.epoch(supervise, 60, torch.Generator().manual_seed(0)).batch(0)
    objective = Objective(model, model.features(dataset), dataset.n_items, params)
    torch.manual_seed(2)
    found, _ = objective(batch, *objective.draw(NegativeSampler.of(dataset, params, "cpu"), batch.targets))

    torch.manual_seed(2)
    drawn = NegativeSampler(dataset.train_counts, "popularity").draw((K,)).tolist()
    bounds = zip(dataset.offsets[:-1], dataset.train_ends, strict=True)
    sequences = [dataset.items[start:end].tolist() for start, end in bounds]
    seen, learnt = ([item for s in sequences for item in s[first:]] for first in (0, 1))
    vectors = model.encode_catalogue(model.features(dataset), dataset.n_items).double()
    with torch.no_grad():
        outputs = model(vectors[batch.items].float(), batch.layout)[batch.supervised].double()
    targets, losses = batch.targets.tolist(), []
    lengths = [length for n, length in batch.layout.groups for _ in range(n)]
    sequence_of = [sequence for sequence, length in enumerate(lengths) for _ in range(length)]
    places = [sequence_of[place] for place in batch.supervised.tolist()]
    assert (len(set(places)) < len(places)) == (supervise == "all")
    assert len(set(targets)) < len(targets)  # else no other place has the same target
    for output, target, place in zip(outputs, targets, places, strict=True):
        candidates = drawn + [i for i, other in zip(targets, places, strict=True) if other != place]
        own = math.exp(output @ vectors[target])
        others = 0.0
        for item in (i for i in candidates if i != target):
            q = (seen.count(item) + 1) / (len(seen) + dataset.n_items)
            p = learnt.count(item) / len(learnt)
            others += math.exp(output @ vectors[item]) / (K * q + len(targets) * p)
        losses.append(math.log(own + others) - math.log(own))
    assert found.item() == pytest.approx(sum(losses) / len(losses), rel=1e-5)


class Waits(TorchDispatchMode):
    """Counts what a GPU is waited for: numbers that are read, sizes that depend on them, and numbers that are sent."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        unsized = name == "repeat_interleave" and (kwargs or {}).get("output_size") is None
        if unsized or name in ("_local_scalar_dense", "nonzero", "_unique2", "lift_fresh"):
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


def test_a_gpu_is_waited_for_few_times(dataset: Dataset) -> None:
    """For the distinct items, for the tokens of each field and of all, for the negatives that are targets."""
    model = new_model(ModelParams(d_model=8, vocab_size=200), dataset)
    params = TrainParams(n_negatives=K)
    trained_on = Sequences(dataset.items, dataset.offsets, dataset.train_ends, 50, static=True)
    batch = trained_on.epoch("all", 60, torch.Generator().manual_seed(0)).batch(0)
    objective = Objective(model, model.features(dataset), dataset.n_items, params)
    sampler = NegativeSampler(dataset.train_counts, "popularity")
    with Waits() as waits:
        loss, _ = objective(batch, *objective.draw(sampler, batch.targets))
        loss.backward()
    assert waits.found == {"_unique2": 1, "_local_scalar_dense": len(model.params.fields) + 2}

"""The loss of a batch of real sequences, against sums written out."""

import math

import pytest
import torch

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

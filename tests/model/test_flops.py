from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from srtlib.data.dataset import Dataset
from srtlib.model.flops import Parts, forward_flops, paper_forward_flops, paper_total_flops, training_flops
from srtlib.model.making import new_model
from srtlib.model.packing import Sequences
from srtlib.model.srt import part_of
from srtlib.params import Architecture, ModelParams, TrainParams
from srtlib.recipes import paper_recipe
from srtlib.training.losses import NegativeSampler
from srtlib.training.objective import Objective


@pytest.mark.parametrize("objective", ["sampled_softmax", "full_softmax"])
@pytest.mark.parametrize("negatives", [{}, {"shared_negatives": False}, {"in_batch": True}], ids=str)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"norm": "post"},
        {"feed_forward": "swiglu"},
        {"qk_norm": True},
        {"temperature": 0.1},
        {"encoder": "fixed_vectors"},
        {"encoder": "fixed_vectors", "head": "mlp"},
        {"encoder": "hybrid", "head": "residual"},
        {"encoder": "hybrid_ids"},
    ],
    ids=str,
)
def test_exact_flops_agree_with_torchs_counter(
    dataset: Dataset, objective: str, negatives: dict[str, bool], changes: dict[str, object]
) -> None:
    values = {"d_model": 16, "n_heads": 2, "vocab_size": 200, "vector_dim": 24, "n_items": dataset.n_items, **changes}
    dataset = dataset.with_vectors(np.random.default_rng(0).standard_normal((dataset.n_items, 24)))
    model = new_model(ModelParams.model_validate(values), dataset)
    params = TrainParams(objective=objective, n_negatives=50, **negatives)
    step = Objective(model, model.features(dataset), dataset.n_items, params)
    batch = (
        Sequences(dataset.items, dataset.offsets, dataset.history_ends("valid"), 50)
        .epoch("all", 400, torch.Generator().manual_seed(0))
        .batch(0)
    )
    drawn = step.draw(NegativeSampler.of(dataset, params, "cpu"), batch.targets)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        loss, shape = step(batch, *drawn)
        loss.backward()
    bags = 2 * bag_flops(shape.encoder)  # the counter knows products only
    assert training_flops(model.params, shape) - bags == pytest.approx(counter.get_total_flops(), rel=0.02)


def bag_flops(encoder: Parts) -> int:
    """FLOPs of an item encoder's additions of embeddings, on the way forward."""
    words = encoder.get("words", encoder)
    assert isinstance(words, Mapping)
    found = words.get("tables", 0)
    assert isinstance(found, int)
    return found


FROZEN = {
    "item encoder": {"encoder.tables", "encoder.project"},
    "all but the item encoder": {"positions", "input_norm", "blocks.0", "blocks.1", "final_norm"},
    "all but the top": {"encoder.tables", "encoder.project", "positions", "input_norm", "blocks.0"},
    "tables": {"encoder.tables"},
}


@pytest.mark.parametrize("frozen", FROZEN.values(), ids=FROZEN)
def test_flops_with_frozen_parts_agree_with_torchs_counter(dataset: Dataset, frozen: set[str]) -> None:
    model = new_model(ModelParams(d_model=16, n_heads=2, n_layers=2, vocab_size=200), dataset)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part_of(name) not in frozen)
    step = Objective(model, model.features(dataset), dataset.n_items, TrainParams(n_negatives=50))
    batch = (
        Sequences(dataset.items, dataset.offsets, dataset.history_ends("valid"), 50)
        .epoch("all", 400, torch.Generator().manual_seed(0))
        .batch(0)
    )
    sampler = NegativeSampler(dataset.train_counts, "popularity")
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        loss, shape = step(batch, sampler.draw((50,)), sampler.log_q)
        loss.backward()
    bags = forward_flops(model.params, shape)["encoder.tables"] * (1 if "encoder.tables" in frozen else 2)
    assert training_flops(model.params, shape, frozen) - bags == pytest.approx(counter.get_total_flops(), rel=0.02)


@pytest.mark.parametrize(("d", "layers", "heads", "k"), [(32, 1, 1, 100), (128, 4, 2, 300), (256, 24, 4, 300)])
def test_paper_flops_are_the_closed_form(d: int, layers: int, heads: int, k: int) -> None:
    model = paper_recipe(Architecture(d_model=d, n_layers=layers, n_heads=heads)).model
    tokens = 128 * 50
    forward = tokens * 2 * d * d + layers * tokens * (4 * d * d + 2 * d * d)
    forward += layers * 128 * heads * 50 * 149 + (1 + 2 * layers) * 4 * tokens * d
    assert paper_forward_flops(model) == forward
    assert paper_total_flops(model, k) == forward + (128 + 128 * k) * 2 * d * d

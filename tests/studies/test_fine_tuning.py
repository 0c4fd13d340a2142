"""Methods of transfer: what they train, what they leave alone, and what they record."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from srtlib.data.dataset import Dataset
from srtlib.data.loading import build_dataset
from srtlib.evaluation import evaluate
from srtlib.model.making import new_model
from srtlib.model.packing import Sequences
from srtlib.model.srt import SRT, part_of
from srtlib.params import FineTuning, ModelParams, Recipe, TrainParams
from srtlib.runs import table
from srtlib.studies.fine_tuning import (
    Method,
    adapt,
    diagonal_fisher,
    ewc_penalty,
    fine_tune,
    learning_rates,
    retokenise,
    shared_items,
)
from srtlib.training.losses import NegativeSampler
from srtlib.training.objective import Objective
from srtlib.training.optimisation import make_optimizer
from srtlib.training.trainer import train

TUNE = TrainParams(epochs=2, batch_size=64, n_negatives=16, learning_rate=0.01)


@pytest.fixture(scope="module")
def other(tables: tuple[pd.DataFrame, pd.DataFrame]) -> Dataset:
    """Another catalogue: fewer items, other words, a field less."""
    log, items = tables
    names = items.iloc[:30][["item_id"]].assign(title=[f"vase {i % 7} tulip" for i in range(30)])
    log = log[log["item_id"].isin(names["item_id"])]
    return build_dataset(log.assign(user_id="x" + log["user_id"]), names, "other")


@pytest.fixture(scope="module")
def pretrained(dataset: Dataset) -> SRT:
    return new_model(ModelParams(d_model=8, n_layers=2, n_heads=2, max_len=10, vocab_size=200), dataset)


def moved(before: SRT, after: SRT) -> set[str]:
    """Parts of the model whose weights differ."""
    pairs = zip(before.state_dict().items(), after.state_dict().values(), strict=True)
    return {part_of(name) for (name, one), two in pairs if not torch.equal(one, two)}


def test_a_model_reads_another_catalogue_with_its_own_tokenizer(pretrained: SRT, other: Dataset) -> None:
    adapted = adapt(pretrained, other)
    assert adapted is not pretrained
    assert not moved(pretrained, adapted)
    features = adapted.features(other)
    assert not isinstance(features, torch.Tensor)
    assert pretrained.tokenizer is not None
    assert max(int(ids.max()) for ids in features.ids.values()) < pretrained.tokenizer.get_vocab_size()
    assert adapted.encode_catalogue(features, other.n_items).isfinite().all()


def test_a_model_of_item_ids_does_not_transfer(dataset: Dataset, other: Dataset) -> None:
    params = ModelParams(d_model=8, encoder="item_ids", n_items=dataset.n_items)
    with pytest.raises(ValueError, match=r"other are not the items of small .* does not transfer"):
        adapt(new_model(params, dataset), other)


def test_zero_shot_is_the_evaluation_of_the_model_as_it_is(pretrained: SRT, other: Dataset, tmp_path: Path) -> None:
    model, summary = fine_tune(pretrained, other, tmp_path, TUNE, "zero_shot", pretraining={"pretrain_flops": 7.0})
    assert not moved(pretrained, model)
    assert summary["test"] == evaluate(pretrained, other, "test")
    assert summary["test_unseen"] == evaluate(pretrained, other, "test", exclude_seen=True)
    assert summary["flops"] == 0
    (row,) = table(tmp_path).to_dict("records")
    assert row["method"] == "zero_shot"
    assert row["pretrain_flops"] == 7.0
    assert row["start"]


EVERYTHING = {"encoder.tables", "encoder.project", "positions", "input_norm", "blocks.0", "blocks.1", "final_norm"}
ENCODER = {"encoder.tables", "encoder.project"}


@pytest.mark.parametrize(
    ("method", "trained"),
    [
        (Method.FULL, EVERYTHING),
        (Method.EWC, EVERYTHING),
        (Method.EMBEDDINGS_ONLY, ENCODER),
        (Method.FROZEN_ENCODER, EVERYTHING - ENCODER),
        (Method.PROGRESSIVE, {"blocks.0", "blocks.1", "final_norm"}),  # in two epochs of one layer each
    ],
)
def test_a_method_moves_what_it_trains_and_nothing_else(
    method: Method, trained: set[str], pretrained: SRT, dataset: Dataset, other: Dataset, tmp_path: Path
) -> None:
    options = FineTuning(epochs_per_layer=1, fisher_examples=5)
    before = {name: p.clone() for name, p in pretrained.state_dict().items()}
    params = TUNE.model_copy(update={"eval_every": 2})  # the last weights are the ones kept
    fine_tune(pretrained, other, tmp_path, params, method, options, source=dataset)
    (run,) = (path.parent for path in tmp_path.glob("*/summary.json"))
    assert all(torch.equal(p, before[name]) for name, p in pretrained.state_dict().items()), "the original is kept"
    assert moved(pretrained, SRT.from_pretrained(run / "model")) == trained


@pytest.mark.parametrize("method", list(Method))
def test_a_method_gives_the_same_weights_whatever_was_drawn_before(
    method: Method, pretrained: SRT, dataset: Dataset, other: Dataset, tmp_path: Path
) -> None:
    models, draws = [], []
    for seed in (1, 2):
        torch.manual_seed(seed)
        next_draw = torch.random.get_rng_state()
        options = FineTuning(epochs_per_layer=1, fisher_examples=5, ewc_lambda=1e6)
        models.append(fine_tune(pretrained, other, tmp_path / str(seed), TUNE, method, options, source=dataset)[0])
        draws.append(torch.equal(torch.random.get_rng_state(), next_draw))
    assert not moved(*models)
    assert draws == [True, True], "the caller's draws are left alone"


def test_progressive_unfreezes_from_the_top_with_the_item_encoder_last() -> None:
    rate = learning_rates(Method.PROGRESSIVE, 3, FineTuning(epochs_per_layer=2, layer_decay=0.5))
    parts = ["final_norm", "blocks.2", "blocks.1", "blocks.0", "positions", "encoder.project", "encoder.tables"]
    first = [next(epoch for epoch in range(99) if rate(part, epoch)) for part in parts]
    assert first == [0, 0, 2, 4, 6, 6, 6]
    assert [rate(part, 9) for part in parts] == [1.0, 1.0, 0.5, 0.25, 0.125, 0.125, 0.125]


def test_optimiser_gives_each_part_its_own_rate(pretrained: SRT) -> None:
    rate = learning_rates(Method.FULL, 2, FineTuning(layer_decay=0.1))
    groups = make_optimizer(pretrained, TUNE, rate).param_groups
    rate_of = {id(p): group["rates"][0] for group in groups for p in group["params"]}
    expected = {"blocks.1": 1.0, "final_norm": 1.0, "blocks.0": 0.1}
    for name, parameter in pretrained.named_parameters():
        assert rate_of[id(parameter)] == pytest.approx(expected.get(part_of(name), 0.01)), name


def test_from_scratch_is_plain_training(pretrained: SRT, other: Dataset, tmp_path: Path) -> None:
    model, summary = fine_tune(pretrained, other, tmp_path / "a", TUNE, Method.FROM_SCRATCH)
    plain, same = train(Recipe(name="x", model=pretrained.params, train=TUNE), other, tmp_path / "b")
    assert not moved(plain, model)
    assert summary["flops"] == same["flops"]


def test_fisher_is_the_mean_square_of_single_examples_gradients(pretrained: SRT, dataset: Dataset) -> None:
    params = TUNE.model_copy(update={"objective": "full_softmax"})  # nothing drawn at random
    fisher = diagonal_fisher(pretrained, dataset, params, n_examples=6, seed=3)
    epoch = Sequences(dataset.items, dataset.offsets, dataset.history_ends("valid"), 10).epoch(
        "last", 1, torch.Generator().manual_seed(3)
    )
    objective = Objective(pretrained.eval(), pretrained.features(dataset), dataset.n_items, params)
    log_q = NegativeSampler(dataset.train_counts, "uniform").log_q
    squares = dict.fromkeys(fisher, torch.zeros(()))
    for i in range(6):
        batch = epoch.batch(i)
        assert len(batch.targets) == 1
        pretrained.zero_grad()
        objective(batch, torch.empty(0), log_q)[0].backward()
        squares = {n: squares[n] + p.grad**2 / 6 for n, p in pretrained.named_parameters() if p.grad is not None}
    pretrained.zero_grad(set_to_none=True)
    for name, value in squares.items():
        torch.testing.assert_close(fisher[name], value)


def test_ewc_penalty_is_its_formula_and_pulls_back(pretrained: SRT) -> None:
    fisher = {name: torch.full_like(p, 2.0) for name, p in pretrained.named_parameters()}
    penalty = ewc_penalty(pretrained, fisher, strength=10.0)
    shifted = adapt_weights(pretrained, 0.5)
    n = sum(p.numel() for p in pretrained.parameters())
    assert penalty(pretrained).item() == 0
    assert penalty(shifted).item() == pytest.approx(10 / 2 * 2.0 * 0.25 * n, rel=1e-5)


def adapt_weights(model: SRT, shift: float) -> SRT:
    copy = SRT(model.params, model.tokenizer)
    copy.load_state_dict({name: p + shift for name, p in model.state_dict().items()})
    return copy


def test_strong_ewc_moves_less(pretrained: SRT, dataset: Dataset, other: Dataset, tmp_path: Path) -> None:
    def distance(strength: float) -> float:
        options = FineTuning(ewc_lambda=strength, fisher_examples=20)
        model, _ = fine_tune(pretrained, other, tmp_path, TUNE, Method.EWC, options, source=dataset)
        pairs = zip(model.state_dict().values(), pretrained.state_dict().values(), strict=True)
        return sum(float((a - b).square().sum()) for a, b in pairs)

    assert distance(1e6) < 0.7 * distance(0)


def test_patience_stops_early_and_keeps_the_best(other: Dataset, tmp_path: Path) -> None:
    params = TUNE.model_copy(update={"epochs": 40, "patience": 2, "learning_rate": 0.05})
    model = ModelParams(d_model=8, n_layers=1, vocab_size=200)
    best, summary = train(Recipe(name="x", model=model, train=params), other, tmp_path)
    (run,) = (path.parent for path in tmp_path.glob("*/summary.json"))
    values = pd.read_json(run / "metrics.jsonl", lines=True)["valid_ndcg@5"]
    assert len(values) < 40
    assert int(values.idxmax()) == len(values) - 1 - 2, "two validations after the best one"
    assert evaluate(best, other, "valid")["ndcg@5"] == pytest.approx(values.max()) == summary["valid"]["ndcg@5"]


def test_shared_items_are_listed(dataset: Dataset, other: Dataset) -> None:
    listed = shared_items(dataset, other)
    assert set(listed["item_id"]) == set(dataset.catalogue["item_id"]) & set(other.catalogue["item_id"])
    assert listed["source_interactions"].sum() == dataset.train_counts[:30].sum()
    assert np.issubdtype(listed["source_interactions"].dtype, np.integer)


def test_unknown_method_is_refused(pretrained: SRT, other: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="method 'half' is not known; expected one of zero_shot, full"):
        fine_tune(pretrained, other, tmp_path, TUNE, "half")
    with pytest.raises(ValueError, match="ewc needs the source"):
        fine_tune(pretrained, other, tmp_path, TUNE, "ewc")


def test_a_new_vocabulary_keeps_what_the_model_says(pretrained: SRT, dataset: Dataset, other: Dataset) -> None:
    same = retokenise(pretrained, dataset)  # the model's own data set: nothing to do
    assert not moved(pretrained, same)
    renewed = retokenise(pretrained, other)
    assert renewed.tokenizer is not None
    assert pretrained.tokenizer is not None
    assert renewed.tokenizer.encode("tulip").tokens == ["▁tulip"] != pretrained.tokenizer.encode("tulip").tokens
    before = pretrained.encode_catalogue(pretrained.features(other), other.n_items)
    after = renewed.encode_catalogue(renewed.features(other), other.n_items)
    assert torch.nn.functional.cosine_similarity(before, after).min() > 0.99

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from srtlib.data.dataset import Dataset
from srtlib.data.loading import build_dataset
from srtlib.evaluation import _judge, evaluate, judge, metrics, random_ndcg
from srtlib.model.making import new_model
from srtlib.model.packing import Layout, Sequences
from srtlib.model.srt import NonFiniteError
from srtlib.params import ModelParams


def test_metrics_by_hand() -> None:
    table = metrics(np.array([1.0, 2.0, 2.5, 6.0]), ks=(2, 5))
    assert table["ndcg@2"] == pytest.approx((1 + 1 / math.log2(3)) / 4)
    assert table["ndcg@5"] == pytest.approx((1 + 1 / math.log2(3) + 1 / math.log2(3.5)) / 4)
    assert table["hr@5"] == 0.75
    assert table["mrr@2"] == pytest.approx(1.5 / 4)


def brute_force(model, dataset: Dataset, split: str, exclude_seen: bool) -> tuple[list[float], list[float]]:  # type: ignore[no-untyped-def]
    vectors = model.encode_catalogue(model.features(dataset), dataset.n_items)
    sequences = Sequences(dataset.items, dataset.offsets, dataset.history_ends(split), model.params.max_len)
    found, losses = [0.0] * dataset.n_users, [0.0] * dataset.n_users
    for user in range(dataset.n_users):
        end = int(dataset.history_ends(split)[user])
        start = max(int(dataset.offsets[user]), end - model.params.max_len)
        batch = sequences.pack(torch.tensor([start]), torch.tensor([end - start]), "last")
        with torch.no_grad():
            output = model(vectors[batch.items], batch.layout)[batch.supervised][0]
        target = int(dataset.items[end])
        seen = set(dataset.items[int(dataset.offsets[user]) : end].tolist()) if exclude_seen else set()
        others = [i for i in range(dataset.n_items) if i != target and i not in seen]
        scores = (vectors @ output).numpy()
        higher = sum(scores[i] > scores[target] + 1e-6 for i in others)
        equal = sum(abs(scores[i] - scores[target]) <= 1e-6 for i in others)
        found[user] = 1 + higher + equal / 2
        losses[user] = math.log(sum(math.exp(scores[i] - scores[target]) for i in [target, *others]))
    return found, losses


@pytest.mark.parametrize("split", ["valid", "test"])
@pytest.mark.parametrize("exclude_seen", [False, True])
@pytest.mark.parametrize("chunk", [7, 100])
def test_ranks_and_losses_equal_brute_force(dataset: Dataset, split: str, exclude_seen: bool, chunk: int) -> None:
    model = new_model(ModelParams(d_model=8, max_len=10, vocab_size=200), dataset, seed=1).eval()
    fast = judge(model, dataset, split, exclude_seen=exclude_seen, chunk=chunk, batch_tokens=64)
    expected_ranks, expected_losses = brute_force(model, dataset, split, exclude_seen)
    assert fast.ranks.tolist() == expected_ranks
    assert fast.losses == pytest.approx(expected_losses, rel=1e-5)


@pytest.mark.parametrize("split", ["valid", "test"])
@pytest.mark.parametrize("protocol", ["full", "paper:10000"])
def test_who_has_no_target_is_left_out(timed: Dataset, split: Any, protocol: str) -> None:
    model = new_model(ModelParams(d_model=8, max_len=10, vocab_size=200), timed, seed=1).eval()
    judged = timed.with_target(split)
    assert 0 < judged.n_users < timed.n_users
    expected_ranks, expected_losses = brute_force(model, judged, split, exclude_seen=False)
    found = judge(model, timed, split, protocol)
    assert found.ranks.tolist() == judge(model, judged, split, protocol).ranks.tolist()
    if protocol == "full":
        assert found.ranks.tolist() == expected_ranks
        assert found.losses == pytest.approx(expected_losses, rel=1e-5)


def test_ties_stand_at_their_expected_rank() -> None:
    vectors = torch.tensor([[2.0], [1.0], [1.0], [1.0], [0.5]])
    outputs = torch.ones(2, 1)
    assert _judge(outputs, vectors, torch.tensor([1, 4]), None, None, 2)[0].tolist() == [3.0, 5.0]


def test_equal_scores_everywhere_rank_in_the_middle(dataset: Dataset) -> None:
    model = new_model(ModelParams(d_model=8, max_len=10, vocab_size=200), dataset).eval()
    with torch.no_grad():
        for p in model.encoder.parameters():
            p.zero_()
    assert set(judge(model, dataset).ranks) == {(dataset.n_items + 1) / 2}


def test_the_loss_of_equal_scores_is_the_logarithm_of_how_many_there_are() -> None:
    outputs, vectors = torch.zeros(2, 3), torch.ones(50, 3)
    losses = _judge(outputs, vectors, torch.tensor([1, 4]), None, None, 7)[1]
    assert losses.tolist() == pytest.approx([math.log(50)] * 2)


def test_random_scores_give_what_theory_says() -> None:
    g = torch.Generator().manual_seed(0)
    vectors, outputs = torch.randn(500, 16, generator=g), torch.randn(20_000, 16, generator=g)
    targets = torch.randint(500, (20_000,), generator=g)
    found = metrics(_judge(outputs, vectors, targets, None, None, 500)[0].double().numpy(), (5,))["ndcg@5"]
    expected = random_ndcg(500, 5)
    assert expected == pytest.approx(sum(1 / math.log2(1 + r) for r in range(1, 6)) / 500)
    assert found == pytest.approx(expected, rel=0.15)


def test_sampled_protocol(dataset: Dataset) -> None:
    model = new_model(ModelParams(d_model=8, max_len=10, vocab_size=200), dataset, seed=1).eval()
    full, everything = judge(model, dataset).ranks, judge(model, dataset, protocol="sampled:10000").ranks
    assert everything.tolist() == full.tolist()  # more negatives than items: the whole catalogue
    few = judge(model, dataset, protocol="sampled:10").ranks
    assert (few <= 11).all()
    assert (few <= full).all()
    assert few.tolist() == judge(model, dataset, protocol="sampled:10").ranks.tolist()
    with pytest.raises(ValueError, match="expected full, sampled:N or paper:N"):
        evaluate(model, dataset, protocol="sampled")


@pytest.fixture(scope="module")
def crowd() -> Dataset:
    """300 users, so that three groups of the authors' 128 are not all whole; some take their target twice."""
    rng = np.random.default_rng(0)
    log = pd.DataFrame({"user_id": [f"u{i:03}" for i in range(300) for _ in range(6)], "timestamp": [*range(6)] * 300})
    log["item_id"] = [f"i{i}" for i in rng.integers(0, 20, len(log))]
    items = pd.DataFrame(
        {
            "item_id": [f"i{i}" for i in range(20)],
            "title": [
                f"{'red blue green old'.split()[i % 4]} {'pen ink lamp desk car'.split()[i // 4]}" for i in range(20)
            ],
        }
    )
    return build_dataset(log, items, "crowd")


@pytest.mark.parametrize("exclude_seen", [False, True])
@pytest.mark.parametrize("n", [7, 50])
def test_the_papers_protocol_by_brute_force(crowd: Dataset, n: int, exclude_seen: bool) -> None:
    """Every 128 users share n draws with replacement; a drawn target stands beside itself, and counts as a tie."""
    model = new_model(ModelParams(d_model=8, max_len=3, vocab_size=100), crowd, seed=1).eval()
    vectors = model.encode_catalogue(model.features(crowd), crowd.n_items)
    generator = torch.Generator().manual_seed(5)
    expected = []
    for user in range(crowd.n_users):
        if user % 128 == 0:
            negatives = torch.randint(crowd.n_items, (n,), generator=generator).tolist()
        *history, target = crowd.items[crowd.offsets[user] : crowd.offsets[user + 1]].tolist()
        with torch.no_grad():
            output = model(vectors[history[-3:]], Layout.buckets([(1, 3)], torch.arange(3)))[-1]
        scores = (vectors @ output).numpy()
        among = [i for i in negatives if not (exclude_seen and i in history)]
        higher = sum(scores[i] > scores[target] + 1e-6 for i in among)
        equal = sum(abs(scores[i] - scores[target]) <= 1e-6 for i in among)
        expected.append(1 + higher + equal / 2)
    found = judge(
        model, crowd, protocol=f"paper:{n}", exclude_seen=exclude_seen, seed=5, chunk=6, batch_tokens=64
    ).ranks
    assert found.tolist() == expected
    assert len(set(expected)) > 5
    if not exclude_seen:
        assert found.max() <= n + 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("weight", ["encoder.project.weight", "encoder.tables.title.weight", "blocks.1.qkv.weight"])
def test_weights_that_are_no_numbers_are_not_ranked_first(dataset: Dataset, weight: str, value: float) -> None:
    model = new_model(ModelParams(d_model=8, max_len=10, vocab_size=200), dataset)
    with torch.no_grad():
        dict(model.named_parameters())[weight].fill_(value)
    with pytest.raises(NonFiniteError, match=rf"not finite numbers.* of the model's weights {weight} are not finite"):
        evaluate(model, dataset)


@pytest.mark.parametrize("scale", [1e25, 1e38])
def test_scores_that_overflow_are_refused(dataset: Dataset, scale: float) -> None:
    """Every weight is finite."""
    model = new_model(ModelParams(d_model=8, max_len=10, vocab_size=200), dataset)
    with torch.no_grad():
        model.encoder.project.weight.fill_(scale)
        model.final_norm.weight.fill_(1e25)
    with pytest.raises(NonFiniteError, match=r"are not finite numbers.*so large that sums overflow"):
        evaluate(model, dataset)

"""Item encoders: what each computes, and what each refuses."""

import numpy as np
import pandas as pd
import pytest
import torch

from srtlib.data.dataset import Dataset
from srtlib.data.sentences import DEFAULT_MODEL
from srtlib.evaluation import judge
from srtlib.model.encoders import ENCODERS, Hybrid, HybridIds, TokenBag
from srtlib.model.making import new_model
from srtlib.model.srt import SRT
from srtlib.model.vector_encoders import FixedVectors, Whitening
from srtlib.params import ModelParams


def params(**changes: object) -> ModelParams:
    return ModelParams.model_validate({"d_model": 8, "n_layers": 1, "vocab_size": 200, **changes})


def with_vectors(dataset: Dataset, width: int = 6) -> Dataset:
    return dataset.with_vectors(np.random.default_rng(0).standard_normal((dataset.n_items, width)))


def made(name: str, dataset: Dataset) -> tuple[SRT, Dataset]:
    """A model with that encoder, and the data set with what it reads."""
    data = with_vectors(dataset)
    return new_model(params(n_items=data.n_items, **reading(name)), data, seed=1), data


def reading(name: str) -> dict[str, object]:
    """Parameters of an encoder that reads vectors of width 6, or sentences."""
    pytest.importorskip("sentence_transformers") if name == "sentence" else None
    sentences = {"text_model": DEFAULT_MODEL, "vector_dim": 384}
    return {"encoder": name, **(sentences if name == "sentence" else {"vector_dim": 6})}


def test_item_encoder_sums_tokens_by_field(dataset: Dataset) -> None:
    model = new_model(params(), dataset)
    features = model.features(dataset)
    items = torch.tensor([5, 0, 5, 39])
    assert isinstance(model.encoder, TokenBag)
    rows = []
    for item in items.tolist():
        parts = []
        for name, table in model.encoder.tables.items():
            start, end = features.offsets[name][item : item + 2].tolist()
            parts.append(table.weight[features.ids[name][start:end].long()].sum(0))
        rows.append(torch.cat(parts))
    expected = model.encoder.project(torch.stack(rows))
    torch.testing.assert_close(model.encode(features, items), expected)


def test_fixed_vectors(dataset: Dataset) -> None:
    model = new_model(params(encoder="fixed_vectors", vector_dim=6), dataset)
    data = with_vectors(dataset)
    features = model.features(data)
    expected = torch.as_tensor(data.vectors)[:3] @ model.encoder.project.weight.T
    torch.testing.assert_close(model.encode(features, torch.arange(3)), expected)
    with pytest.raises(ValueError, match="no item vectors of width 6"):
        model.features(dataset)
    with pytest.raises(ValueError, match="needs vector_dim among the model's parameters: width of the vectors"):
        SRT(params(encoder="fixed_vectors"))


@pytest.mark.parametrize("name", ENCODERS)
def test_a_table_of_items_says_what_the_data_set_says(dataset: Dataset, name: str) -> None:
    model, data = made(name, dataset)
    table = data.catalogue.assign(vector=list(data.vectors))
    vectors = [model.encode_catalogue(model.features(items), data.n_items) for items in (data, table)]
    assert torch.equal(*vectors)


@pytest.mark.parametrize("name", ENCODERS)
def test_parts_with_weights_say_their_flops(dataset: Dataset, name: str) -> None:
    model, data = made(name, dataset)
    flops = model.encoder.flops(model.features(data), torch.arange(5))
    assert list(flops) == [child for child, module in model.encoder.named_children() if list(module.parameters())]
    counts = model.parameter_counts()
    assert counts["embedding"] + counts["projection"] == sum(p.numel() for p in model.encoder.parameters())


def test_vectors_that_are_no_numbers_are_named(dataset: Dataset) -> None:
    """Not taken for weights that have diverged."""
    model, data = made("fixed_vectors", dataset)
    vectors = data.vectors.copy()
    vectors[[7, 9], 2] = np.nan, np.inf
    message = "small: the vectors of 2 items are not finite numbers, of 'i16' first"
    assert data.catalogue["item_id"][7] == "i16" or data.catalogue["item_id"][7] == "i7"
    with pytest.raises(ValueError, match=message.replace("i16", data.catalogue["item_id"][7])):
        model.features(data.with_vectors(vectors))


def test_vectors_of_different_widths_are_named(dataset: Dataset) -> None:
    model, _ = made("fixed_vectors", dataset)
    table = pd.DataFrame({"item_id": ["a", "b"], "title": ["A", "B"], "vector": [np.zeros(6), np.zeros(5)]})
    with pytest.raises(ValueError, match=r"items: vectors have the shapes \[\(5,\), \(6,\)\]; expected one width"):
        model.features(table)


@pytest.mark.parametrize("change", ["another order", "other ids", "fewer"])
@pytest.mark.parametrize("name", ["item_ids", "hybrid_ids"])
def test_a_model_of_item_ids_reads_its_own_catalogue_only(dataset: Dataset, name: str, change: str) -> None:
    model, data = made(name, dataset)
    items = data.catalogue
    other = {
        "another order": items[::-1],
        "other ids": items.assign(item_id="x" + items["item_id"]),
        "fewer": items[:-1],
    }
    model.features(items.assign(title="of another name", vector=list(data.vectors)))
    with pytest.raises(ValueError, match="items are not the items of small that this model was trained on"):
        model.features(other[change])


def test_whitened_vectors_are_uncorrelated(dataset: Dataset) -> None:
    """Before each is scaled by itself: unit variances, no covariances, and no say for what hardly varies."""
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((500, 5)) @ rng.standard_normal((5, 7)) + 3).astype(np.float32)  # of rank 5
    whitening = Whitening(7, 6)
    whitening.fit(vectors)
    x = (torch.from_numpy(vectors).double() - whitening.mean.double()) @ whitening.matrix.double()
    expected = torch.diag(torch.tensor([1.0] * 5 + [0.0], dtype=torch.double))
    torch.testing.assert_close(torch.cov(x.T, correction=0), expected, atol=1e-4, rtol=0)
    scaled = whitening(vectors)
    assert scaled.mean(1) == pytest.approx(0, abs=1e-5)
    assert scaled.std(1) == pytest.approx(1, abs=1e-3)


def test_vectors_that_are_all_alike_whiten_to_nothing() -> None:
    whitening = Whitening(4, 3)
    whitening.fit(np.full((6, 4), 0.1, dtype=np.float32))
    assert np.array_equal(whitening(np.full((2, 4), 0.1, dtype=np.float32)), np.zeros((2, 3)))


def test_widths_that_do_not_fit_are_named(dataset: Dataset) -> None:
    with pytest.raises(ValueError, match="whiten_dim=7 must not be more than vector_dim=6"):
        params(encoder="fixed_vectors", vector_dim=6, whiten_dim=7)
    wrong = {**reading("sentence"), "vector_dim": 300}
    with pytest.raises(ValueError, match="'all-MiniLM-L6-v2' makes vectors of width 384; expected vector_dim=300"):
        new_model(params(**wrong), dataset).features(dataset)


@pytest.mark.parametrize("positions", ["absolute", "rotary"])
@pytest.mark.parametrize("name", ["fixed_vectors", "hybrid", "hybrid_ids"])
def test_before_training_neighbours_of_the_last_item_are_ranked(dataset: Dataset, name: str, positions: str) -> None:
    data = with_vectors(dataset)
    values = {"d_model": 6, "whiten_dim": 6, "head": "residual", "start": "neighbours", "temperature": 0.1}
    values |= {"n_items": data.n_items, "positions": positions}
    model = new_model(params(**{**reading(name), **values}), data, seed=1)
    part = model.encoder.vectors if isinstance(model.encoder, Hybrid) else model.encoder
    assert isinstance(part, FixedVectors)
    assert part.whitening is not None
    unit = part.whitening(data.vectors) / np.sqrt(6)
    last = data.items[data.history_ends("test") - 1]
    scores = unit[last] @ unit.T
    own = scores[np.arange(data.n_users), data.targets("test")][:, None]
    expected = 1 + (scores > own + 1e-6).sum(1)
    assert judge(model, data, "test").ranks == pytest.approx(expected)


def test_hybrid_is_the_sum_of_its_parts(dataset: Dataset) -> None:
    model, data = made("hybrid", dataset)
    encoder, features, items = model.encoder, model.features(data), torch.tensor([3, 1])
    assert isinstance(encoder, Hybrid)
    parts = encoder.words(features[0], items), encoder.vectors(features[1], items)
    torch.testing.assert_close(model.encode(features, items), parts[0] + parts[1])


def test_item_ids_add_a_vector_of_their_own_to_a_hybrid(dataset: Dataset) -> None:
    model, data = made("hybrid_ids", dataset)
    assert isinstance(model.encoder, HybridIds)
    features, items = model.features(data), torch.tensor([3, 1])
    texts = model.encoder.words(features[0], items) + model.encoder.vectors(features[1], items)
    torch.testing.assert_close(model.encode(features, items), texts + model.encoder.ids.tables.weight[items])


def test_another_text_model_is_refused(dataset: Dataset) -> None:
    model, data = made("sentence", dataset)
    assert isinstance(model.encoder, FixedVectors)
    model.encoder.text_sha256[0] ^= 1
    with pytest.raises(ValueError, match="'all-MiniLM-L6-v2' is not the one that this model was trained with"):
        model.features(data)

"""What SRT is compared with: popularity, co-occurrence, neighbours by text of the last item and of the history, SASRec
with item IDs, and SRT on fixed text vectors.

The trained ones share SRT's transformer, losses, training loop and evaluation, and differ in the item encoder alone.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse

from srtlib.data import csr
from srtlib.data.dataset import Dataset, Split
from srtlib.data.text import dataset_bags, dataset_tokenizer
from srtlib.evaluation import metrics
from srtlib.model.vector_encoders import Whitening
from srtlib.params import ModelParams, Recipe, TrainParams, parse
from srtlib.training.identity import config_of
from srtlib.training.provenance import record_untrained
from srtlib.training.trainer import train

Scorer = Callable[[Sequence[np.ndarray]], np.ndarray]  # B histories, int, oldest first -> scores [B, items]
UNTRAINED = ("popularity", "co_occurrence", "text_neighbours", "history_neighbours")
TEXT_VOCABULARY = 30_000
DECAY = 0.6  # of what was validated on Sports, whose users no model is trained on, the best among new items


def popularity(dataset: Dataset) -> Scorer:
    """Every history gets the items in the order of their training interactions."""
    counts = dataset.train_counts.astype(np.float64)
    return lambda histories: np.broadcast_to(counts, (len(histories), dataset.n_items))


def co_occurrence(dataset: Dataset) -> Scorer:
    """Items score by how many training histories they share with the history's last item; popularity breaks ties."""
    histories = _training_matrix(dataset)
    together = (histories.T @ histories).tocsr()
    together.setdiag(0)
    tie_break = dataset.train_counts / (dataset.train_counts.max() + 1.0)
    return lambda histories: together[_last(histories)].toarray() + tie_break


def text_neighbours(dataset: Dataset, width: int = 256) -> Scorer:
    """Items score by the cosine of their text's vector with that of the history's last item, both whitened: what an SRT
    on these vectors says before it learns (`start` = neighbours).

    Args:
        dataset: whose vectors count; where it has none, those of `text_vectors`.
        width: of the whitened vectors, at most.
    """
    unit = _whitened(dataset, width)
    return lambda histories: unit[_last(histories)] @ unit.T


def history_neighbours(dataset: Dataset, decay: float = DECAY) -> Scorer:
    """Items score by the cosine of their text's vector with the history's: the sum of its items' whitened vectors, each
    `decay` times the one after it. What an SRT with `neighbours` adds to its scores.

    Args:
        dataset: as for `text_neighbours`.
        decay: how fast the past fades, 0 to 1; 0 leaves the last item alone.
    """
    unit = _whitened(dataset)

    def score(histories: Sequence[np.ndarray]) -> np.ndarray:
        sums = np.stack([decay ** np.arange(len(items) - 1.0, -1, -1) @ unit[items] for items in histories])
        return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9) @ unit.T

    return score


def score_ranks(
    scorer: Scorer, dataset: Dataset, split: Split = "test", exclude_seen: bool = False, batch: int = 512
) -> np.ndarray:
    """Rank of each user's target, float [users], as `srtlib.evaluation.judge`: ties at their expected rank.

    Args:
        scorer: what scores all items, given histories.
        dataset: whose users and catalogue.
        split: as in `srtlib.evaluation.evaluate`.
        exclude_seen: leave the user's own history out of the candidates.
        batch: users scored at a time.
    """
    dataset = dataset.with_target(split)
    targets, ends = dataset.targets(split), dataset.history_ends(split)
    result = np.empty(dataset.n_users)
    for first in range(0, dataset.n_users, batch):
        users = np.arange(first, min(first + batch, dataset.n_users))
        histories = [dataset.items[dataset.offsets[user] : ends[user]] for user in users]
        scores = np.array(scorer(histories))
        own = scores[np.arange(len(users)), targets[users]][:, None]
        if exclude_seen:
            for row, items in enumerate(histories):
                scores[row, items] = -np.inf
        scores[np.arange(len(users)), targets[users]] = -np.inf
        result[users] = 1 + (scores > own).sum(1) + (scores == own).sum(1) / 2
    return result


def record_baseline(name: str, dataset: Dataset, store: Path) -> dict[str, Any]:
    """Evaluate a baseline that needs no training and record it as a run; returns the run's summary.

    Args:
        name: one of `UNTRAINED`.
        dataset: whose users and catalogue.
        store: of the runs.
    """
    scorers = popularity, co_occurrence, text_neighbours, history_neighbours
    scorer = dict(zip(UNTRAINED, scorers, strict=True))[name](dataset)
    config = {
        **config_of(dataset, Recipe(name=name, model=ModelParams(), train=TrainParams())),
        "model": {},
        "train": {},
    }
    return record_untrained(
        store, config, lambda split, unseen: metrics(score_ranks(scorer, dataset, split, unseen)), {"total": 0}
    )


def sasrec(dataset: Dataset, model: dict[str, Any], train: dict[str, Any], seed: int = 0) -> Recipe:
    """SASRec (Kang & McAuley 2018) for one catalogue: a vector per item and a causal transformer, with this library's
    pre-norm blocks and losses. Its parameters grow with the catalogue.

    Args:
        dataset: whose catalogue.
        model: `ModelParams` by name, where they differ from two layers with dropout 0.5.
        train: `TrainParams` by name, where they differ from the usual.
        seed: of training.
    """
    values = {"encoder": "item_ids", "n_items": dataset.n_items, "n_layers": 2, "dropout": 0.5, **model}
    return Recipe(
        name="sasrec",
        model=parse(ModelParams, values, "sasrec.model"),
        train=parse(TrainParams, {**train, "seed": seed}, "sasrec.train"),
    )


def tune(
    recipes: Iterable[Recipe], dataset: Dataset, store: Path, progress_bar: bool = True
) -> tuple[Recipe, list[float]]:
    """Train each recipe, as a run, to find the one that is best on validation.

    Args:
        recipes: that are tried.
        dataset: what they are trained on.
        store: of the runs.
        progress_bar: show how far each training is.

    Returns:
        The best recipe, and the validation values of all, in their order.
    """
    recipes = list(recipes)
    summaries = [train(recipe, dataset, store, progress_bar=progress_bar)[1] for recipe in recipes]
    values = [summary["valid"][r.train.select_by] for r, summary in zip(recipes, summaries, strict=True)]
    return recipes[int(np.argmax(values))], values


def text_vectors(dataset: Dataset, width: int = 256) -> Dataset:
    """The data set with fixed item vectors, float32 [items, width], of length 1: TF-IDF of the text's pieces, reduced
    by a randomised singular value decomposition (latent semantic analysis; Halko et al., 2011). Nothing is trained.

    Args:
        dataset: whose text.
        width: of the vectors, at most; no more than there are items or pieces.
    """
    tokenizer = dataset_tokenizer(dataset, TEXT_VOCABULARY)
    bags = dataset_bags(dataset, tokenizer, dict.fromkeys(dataset.text_fields, 64))
    shape = (dataset.n_items, tokenizer.get_vocab_size())
    fields = [sparse.csr_matrix((np.ones(len(ids)), ids, bags.offsets[name]), shape) for name, ids in bags.ids.items()]
    counts = sum(fields[1:], fields[0].copy())  # a field's own arrays are mapped from disk: read-only
    counts.sum_duplicates()
    holders = np.bincount(counts.indices, minlength=shape[1])
    counts.data = 1 + np.log(counts.data)
    weighted = counts @ sparse.diags(np.log((1 + shape[0]) / (1 + holders)) + 1)
    weighted = sparse.diags(1 / sparse.linalg.norm(weighted, axis=1)) @ weighted
    cells = weighted.tocoo()
    index, values = torch.as_tensor(np.stack([cells.row, cells.col])), torch.as_tensor(cells.data, dtype=torch.float32)
    matrix = torch.sparse_coo_tensor(index, values, shape, check_invariants=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        left, scale, _ = torch.svd_lowrank(matrix, min(width, *shape), niter=4)
    vectors = (left * scale).numpy()
    return dataset.with_vectors(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9))


def _last(histories: Sequence[np.ndarray]) -> np.ndarray:
    return np.array([items[-1] for items in histories])


def _whitened(dataset: Dataset, width: int | None = None) -> np.ndarray:
    """Fixed vectors of length 1, float32 [items, width]: the `width` first components of a whitening, or all, held up
    against chance."""
    vectors = dataset.vectors if dataset.vectors is not None else text_vectors(dataset).vectors
    assert vectors is not None
    kept = min(width or vectors.shape[1], vectors.shape[1])
    whitening = Whitening(vectors.shape[1], kept)
    whitening.fit(vectors, shrink=width is None)
    return whitening(vectors) / np.sqrt(kept)


def _training_matrix(dataset: Dataset) -> sparse.csr_matrix:
    """Users x items, 1 where the user's training part has the item."""
    starts = dataset.offsets[:-1]
    lengths = dataset.train_ends - starts
    items = dataset.items[csr.ranges(starts, lengths)]
    shape = dataset.n_users, dataset.n_items
    matrix = sparse.csr_matrix((np.ones(len(items)), (csr.row_numbers(lengths), items)), shape)
    matrix.data[:] = 1
    return matrix

"""Ranks of held-out items, and the metrics made of them.

Shapes: B users of a chunk, I items, D width.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from srtlib.data.dataset import Dataset, Split
from srtlib.model.csr import ranges, row_numbers
from srtlib.model.memory import take
from srtlib.model.packing import Sequences
from srtlib.model.srt import SRT, Features
from srtlib.params import parse_protocol

TIE = 1e-6  # relative difference of float32 scores that is rounding, not preference


def metrics(ranks: np.ndarray, ks: Sequence[int] = (5, 10)) -> dict[str, float]:
    """Mean NDCG, HR and MRR at each k, one relevant item per user.

    ranks: [users], from 1; ties stand at their expected rank and may be halves.

    >>> metrics(np.array([1.0, 3.0, 11.0]), ks=(5,))["ndcg@5"]
    0.5
    """
    table: dict[str, float] = {}
    for k in ks:
        inside = ranks <= k
        table[f"ndcg@{k}"] = float(np.mean(inside / np.log2(1 + ranks)))
        table[f"hr@{k}"] = float(np.mean(inside))
        table[f"mrr@{k}"] = float(np.mean(inside / ranks))
    return table


def evaluate(
    model: SRT,
    dataset: Dataset,
    split: Split = "test",
    protocol: str = "full",
    ks: Sequence[int] = (5, 10),
    exclude_seen: bool = False,
    seed: int = 0,
) -> dict[str, float]:
    """NDCG, HR and MRR at each k of predicting every user's held-out item.

    protocol: "full" ranks the whole catalogue; "sampled:10000" ranks among that many items drawn uniformly for each
    evaluation batch (the paper's, which is easier: do not compare across protocols). exclude_seen leaves the
    user's own history out of the candidates (the paper does not).
    """
    return metrics(ranks(model, dataset, split, protocol, exclude_seen, seed), ks)


@torch.no_grad()
def ranks(
    model: SRT,
    dataset: Dataset,
    split: Split = "test",
    protocol: str = "full",
    exclude_seen: bool = False,
    seed: int = 0,
    features: Features | None = None,
    batch_tokens: int = 16_384,
    chunk: int = 2048,
) -> np.ndarray:
    """Rank of each user's target, float [users]: 1 + items scored higher + half of those scored equal.

    Memory is bounded by `batch_tokens` x D and users of a batch x `chunk` scores, besides the item vectors.
    """
    n_drawn = min(parse_protocol(protocol).n_candidates, dataset.n_items)
    was_training = model.training
    model.eval()
    features = model.features(dataset) if features is None else features
    vectors = model.encode_catalogue(features, dataset.n_items)
    ends = dataset.history_ends(split)
    sequences = Sequences(dataset.items, dataset.offsets, ends, model.params.max_len, model.device)
    targets = torch.as_tensor(dataset.targets(split).copy(), device=model.device).long()
    generator = torch.Generator().manual_seed(seed)
    result = torch.empty(dataset.n_users)
    for users, batch in sequences.histories(batch_tokens):
        outputs = model(vectors[batch.items], batch.layout)[batch.supervised]
        for part, rows in zip(users.split(1024), outputs.split(1024), strict=True):
            candidates = None
            if n_drawn:
                candidates = torch.randperm(dataset.n_items, generator=generator)[:n_drawn].to(model.device)
            seen = _seen(sequences, part) if exclude_seen else None
            result[part.cpu()] = _rank(rows, vectors, targets[part], candidates, seen, chunk).cpu()
    model.train(was_training)
    return result.numpy().astype(np.float64)


def random_ndcg(n_items: int, k: int) -> float:
    """Expected NDCG@k of a random order of `n_items` candidates.

    >>> round(random_ndcg(10, 10), 4) == round(sum(1 / math.log2(1 + r) for r in range(1, 11)) / 10, 4)
    True
    """
    return sum(1 / math.log2(1 + rank) for rank in range(1, min(k, n_items) + 1)) / n_items


def _seen(sequences: Sequences, users: Tensor) -> tuple[Tensor, Tensor]:
    """(row, item) of every interaction of some users."""
    starts, lengths = sequences.starts[users], sequences.lengths[users]
    return row_numbers(lengths), take(sequences.items, ranges(starts, lengths)).long()


def _rank(
    outputs: Tensor,
    vectors: Tensor,
    targets: Tensor,
    candidates: Tensor | None,
    seen: tuple[Tensor, Tensor] | None,
    chunk: int,
) -> Tensor:
    """Expected rank [B] of targets among the candidates (default: all items), `chunk` items at a time."""
    own = (outputs * vectors[targets]).sum(1, keepdim=True)
    margin = TIE * own.abs().clamp(min=TIE)
    above, level = own + margin, own - margin
    higher = torch.zeros(len(outputs), device=outputs.device)
    not_lower = torch.zeros_like(higher)
    column = torch.arange(len(vectors), device=outputs.device)
    if candidates is not None:
        column = torch.full_like(column, -1).index_copy_(0, candidates, column[: len(candidates)])
        vectors = vectors[candidates]
    left_out = [(torch.arange(len(outputs), device=outputs.device), targets), *([seen] if seen else [])]
    for first, block in zip(range(0, len(vectors), chunk), vectors.split(chunk), strict=True):
        scores = outputs @ block.T
        for rows, items in left_out:
            columns = column[items] - first
            inside = (columns >= 0) & (columns < len(block))
            scores[rows[inside], columns[inside]] = -torch.inf
        marks = torch.empty_like(scores)  # torch adds up numbers twice as fast as truth values
        higher += torch.gt(scores, above, out=marks).sum(1)
        not_lower += torch.ge(scores, level, out=marks).sum(1)
    return 1 + higher + (not_lower - higher) / 2

"""Ranks of held-out items, and the metrics made of them.

Shapes: B users of a chunk, I items, D width.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from srtlib.data.dataset import Dataset, Split
from srtlib.model.packing import Sequences
from srtlib.model.srt import SRT, NonFiniteError
from srtlib.protocols import parse_protocol

PAPER_BATCH = 128  # users who share their negatives in the authors' evaluation
TIE = 1e-6  # relative difference of float32 scores that is rounding, not preference


def metrics(ranks: np.ndarray, ks: Sequence[int] = (5, 10)) -> dict[str, float]:
    """Mean NDCG, HR and MRR at each k, one relevant item per user.

    Args:
        ranks: float [users], from 1; ties stand at their expected rank and may be halves.
        ks: lengths of the list that is looked at.

    Returns {"ndcg@5": ..., "hr@5": ..., "mrr@5": ..., ...}.

    >>> metrics(np.array([1.0, 3.0, 11.0]), ks=(5,))["ndcg@5"]
    0.5
    """
    return {name: float(values.mean()) for name, values in metrics_of_users(ranks, ks).items()}


def metrics_of_users(ranks: np.ndarray, ks: Sequence[int] = (5, 10)) -> dict[str, np.ndarray]:
    """Each user's NDCG, HR and MRR at each k, float [users], by the names of `metrics`.

    Args:
        ranks, ks: as in `metrics`.

    >>> metrics_of_users(np.array([1.0, 3.0, 11.0]), ks=(5,))["ndcg@5"].tolist()
    [1.0, 0.5, 0.0]
    """
    table: dict[str, np.ndarray] = {}
    for k in ks:
        inside = ranks <= k
        table[f"ndcg@{k}"] = inside / np.log2(1 + ranks)
        table[f"hr@{k}"] = inside.astype(float)
        table[f"mrr@{k}"] = inside / ranks
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
    """NDCG, HR and MRR at each k, and the loss (nats), of predicting every user's held-out item.

    In a split by time (srtlib.data.splitting) users without a target in that part are left out.

    Args:
        model: the ranker.
        dataset: whose users and catalogue.
        split: "valid" or "test": the last item but one or the last, or as a split by time has it.
        protocol: among which items it is ranked: "full", "sampled:N" or "paper:N" (`srtlib.protocols.PROTOCOLS`). Fewer
            candidates are easier: do not compare across protocols.
        ks: lengths of the list that is looked at.
        exclude_seen: leave the user's own history out of the candidates (the paper does not).
        seed: of the candidates that are drawn.

    Raises ValueError for a split or protocol that is not known and where no user has a target, and NonFiniteError where
    scores are not numbers.
    """
    return judge(model, dataset, split, protocol, exclude_seen, seed).metrics(ks)


class Judgement(NamedTuple):
    """What a model made of every user's target: its rank, float [users], and its loss in nats, float [users]; of the
    users of `Dataset.with_target`.

    A rank is 1 + items scored higher + half of those scored equal. The loss is the cross-entropy of the softmax over
    all candidates, the target among them.
    """

    ranks: np.ndarray
    losses: np.ndarray

    def metrics(self, ks: Sequence[int] = (5, 10)) -> dict[str, float]:
        """Mean NDCG, HR and MRR at each k, and the mean loss."""
        return metrics(self.ranks, ks) | {"loss": float(self.losses.mean())}


@torch.no_grad()
def judge(
    model: SRT,
    dataset: Dataset,
    split: Split = "test",
    protocol: str = "full",
    exclude_seen: bool = False,
    seed: int = 0,
    features: Any = None,
    batch_tokens: int = 16_384,
    chunk: int = 2048,
) -> Judgement:
    """Rank and loss of each user's target among the candidates.

    Memory is bounded by `batch_tokens` x D and users of a batch x `chunk` scores, besides the item vectors.

    Args:
        model, dataset, split, protocol, exclude_seen, seed: as in `evaluate`.
        features: what the item encoder reads of the catalogue (default: `model.features(dataset)`).
        batch_tokens: packed tokens of a forward pass.
        chunk: items scored at a time.

    Raises what `evaluate` raises.
    """
    among = parse_protocol(protocol)
    dataset = dataset.with_target(split)
    was_training = model.training
    model.eval()
    vectors = model.encode_catalogue(model.features(dataset) if features is None else features, dataset.n_items)
    longest = vectors.norm(dim=1).max()
    ends = dataset.history_ends(split)
    sequences = Sequences(dataset.items, dataset.offsets, ends, model.params.max_len, model.device)
    targets = torch.as_tensor(dataset.targets(split).copy()).long()
    generator = torch.Generator().manual_seed(seed)
    result = torch.empty(2, dataset.n_users)
    candidates = None
    for group in torch.arange(dataset.n_users).split(PAPER_BATCH if among.kind == "paper" else dataset.n_users):
        if among.kind == "paper":
            candidates = _Candidates.drawn(dataset.n_items, among.n_drawn, generator, model.device)
        for users, batch in sequences.histories(batch_tokens, group):
            outputs = model(vectors[batch.items], batch.layout)[batch.supervised]
            if not torch.isfinite(outputs.norm(dim=1).max() * longest):  # no score is larger
                raise NonFiniteError(f"scores of {dataset.name} are not finite numbers: {model.cause_of_non_finite()}")
            for part, rows in zip(users.split(1024), outputs.split(1024), strict=True):
                if among.kind == "sampled":
                    candidates = _Candidates.distinct(dataset.n_items, among.n_drawn, generator, model.device)
                seen = sequences.seen(part) if exclude_seen else None
                wanted = targets[part].to(model.device)
                result[:, part] = _judge(rows, vectors, wanted, candidates, seen, chunk).cpu()
    model.train(was_training)
    return Judgement(*result.numpy().astype(np.float64))


def random_ndcg(n_items: int, k: int) -> float:
    """Expected NDCG@k of a random order of the candidates.

    Args:
        n_items: how many candidates.
        k: length of the list that is looked at.

    >>> round(random_ndcg(10, 10), 4) == round(sum(1 / math.log2(1 + r) for r in range(1, 11)) / 10, 4)
    True
    """
    return sum(1 / math.log2(1 + rank) for rank in range(1, min(k, n_items) + 1)) / n_items


@dataclass(frozen=True)
class _Candidates:
    """Items that targets are ranked among.

    items: int64 [n], distinct. times: float [n], how often each was drawn. with_target: whether a target that was drawn
    stands beside itself.
    """

    items: Tensor
    times: Tensor
    with_target: bool

    @classmethod
    def distinct(cls, n_items: int, n: int, generator: torch.Generator, device: torch.device) -> "_Candidates":
        """Without replacement; the target is taken out."""
        items = torch.randperm(n_items, generator=generator)[:n].to(device)
        return cls(items, torch.ones(len(items), device=device), with_target=False)

    @classmethod
    def drawn(cls, n_items: int, n: int, generator: torch.Generator, device: torch.device) -> "_Candidates":
        """With replacement."""
        items, times = torch.randint(n_items, (n,), generator=generator).unique(return_counts=True)
        return cls(items.to(device), times.float().to(device), with_target=True)


def _judge(
    outputs: Tensor,
    vectors: Tensor,
    targets: Tensor,
    candidates: _Candidates | None,
    seen: tuple[Tensor, Tensor] | None,
    chunk: int,
) -> Tensor:
    """Expected rank and loss [2, B] of targets among the candidates (default: all items), `chunk` items at a time."""
    own = (outputs * vectors[targets]).sum(1)
    margin = TIE * own.abs().clamp(min=TIE)
    above, level = (own + margin).unsqueeze(1), (own - margin).unsqueeze(1)
    higher = torch.zeros_like(own)
    not_lower = torch.zeros_like(own)
    others = torch.full_like(own, -torch.inf)  # log of the summed exponentials of the scores besides the target's
    column = torch.arange(len(vectors), device=own.device)
    times = torch.ones(len(vectors), device=own.device)
    nothing = torch.full_like(own, -torch.inf)
    given = [(torch.arange(len(own), device=own.device), targets, nothing)]  # row, item, score
    if candidates is not None:
        column = torch.full_like(column, -1).index_copy_(0, candidates.items, column[: len(candidates.items)])
        vectors, times = vectors[candidates.items], candidates.times
        if candidates.with_target:
            given = [(given[0][0], targets, own)]
    if seen is not None:
        given.append((*seen, nothing[seen[0]]))
    for first, block in zip(range(0, len(vectors), chunk), vectors.split(chunk), strict=True):
        scores = outputs @ block.T
        for rows, items, score in given:
            columns = column[items] - first
            inside = (columns >= 0) & (columns < len(block))
            scores[rows[inside], columns[inside]] = score[inside]
        marks = torch.empty_like(scores)  # torch adds up numbers twice as fast as truth values
        higher += torch.gt(scores, above, out=marks) @ times[first : first + chunk]
        not_lower += torch.ge(scores, level, out=marks) @ times[first : first + chunk]
        others = torch.logaddexp(others, _log_sum(scores, times[first : first + chunk]))
    return torch.stack([1 + higher + (not_lower - higher) / 2, torch.logaddexp(own, others) - own])


def _log_sum(scores: Tensor, times: Tensor) -> Tensor:
    """Log of the sum of exponentials of each row [B], each column counted `times` [chunk]; `scores` are spent."""
    largest = scores.amax(1).clamp(min=torch.finfo(scores.dtype).min)
    return largest + (scores.sub_(largest.unsqueeze(1)).exp_() @ times).log()

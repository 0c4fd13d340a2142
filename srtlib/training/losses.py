"""Objectives and negatives, each found by name in a table: `OBJECTIVES`, `NEGATIVES`. Others are added from outside.

Shapes: S supervised positions, C candidates, K negatives, D width, U items encoded for a batch, I items. Scores are dot
products, temperature 1, in float32 even where the model runs in bfloat16: with three digits, near-equal scores would
tie.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from srtlib.extensions import look_up
from srtlib.model.csr import places

if TYPE_CHECKING:
    from srtlib.data.dataset import Dataset
    from srtlib.params import TrainParams


@dataclass(frozen=True)
class Scored:
    """What an objective sees of a batch.

    outputs: [S, D]; vectors: [U, D] of the batch's items; targets: int64 [S]; candidate_ids: int64 [C] shared by the
    batch, or [S, C]; target_rows and candidate_rows: where these stand in `vectors` (None: candidate c in row c);
    log_q: float32 [I], log-probabilities that negatives are drawn with; own: places (row, column) where a candidate is
    of the row's own sequence and no negative.
    """

    outputs: Tensor
    vectors: Tensor
    targets: Tensor
    candidate_ids: Tensor
    target_rows: Tensor
    candidate_rows: Tensor | None
    log_q: Tensor
    own: tuple[Tensor, Tensor] | None = None

    @property
    def positives(self) -> Tensor:
        """Vectors of the targets, [S, D]."""
        return F.embedding(self.target_rows, self.vectors)

    @property
    def candidates(self) -> Tensor:
        """Vectors of the candidates, [C, D] or [S, C, D]."""
        return self.vectors if self.candidate_rows is None else F.embedding(self.candidate_rows, self.vectors)


class Loss(Protocol):
    """An objective: the mean loss of a batch's targets, in nats.

    whole_catalogue: the candidates are all items, C = I; else they are drawn negatives, C = K.
    """

    whole_catalogue: bool

    def __call__(self, scored: Scored, params: TrainParams) -> Tensor: ...


class SampledSoftmax:
    """`sampled_softmax` as an objective."""

    whole_catalogue = False

    def __call__(self, scored: Scored, params: TrainParams) -> Tensor:
        return sampled_softmax(
            scored.outputs,
            scored.positives,
            scored.candidates,
            scored.targets,
            scored.candidate_ids,
            scored.log_q,
            params.logq_on_positive,
            scored.own,
        )


class FullSoftmax:
    """`full_softmax` as an objective."""

    whole_catalogue = True

    def __call__(self, scored: Scored, params: TrainParams) -> Tensor:
        return full_softmax(scored.outputs, scored.candidates, scored.targets)


OBJECTIVES: dict[str, Loss] = {"sampled_softmax": SampledSoftmax(), "full_softmax": FullSoftmax()}


def popularity(train_counts: np.ndarray) -> np.ndarray:
    """q proportional to (training count + 1), as in the paper's code."""
    return train_counts + 1.0


def uniform(train_counts: np.ndarray) -> np.ndarray:
    """q = 1 / I."""
    return np.ones(len(train_counts))


# How often items are drawn as negatives: training counts [I] -> weights, float64 [I], of any sum.
NEGATIVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"popularity": popularity, "uniform": uniform}


class NegativeSampler:
    """Draws negatives with replacement from a fixed distribution over the catalogue, one of `NEGATIVES`.

    Drawing inverts the cumulative distribution, on the device. Raises ValueError for a kind that is not known.

    Args:
        train_counts: training interactions of each item, [I].
        kind: a key of `NEGATIVES`.
        device: where to draw.
        uniform_share: expected share of the negatives that are drawn uniformly instead.
        target_counts: how often each item is a training target, [I]; `beside` alone needs it.
    """

    def __init__(
        self,
        train_counts: np.ndarray,
        kind: str,
        device: torch.device | str = "cpu",
        uniform_share: float = 0.0,
        target_counts: np.ndarray | None = None,
    ) -> None:
        weights = look_up(NEGATIVES, kind, "negatives")(train_counts)
        if uniform_share:
            weights = (1 - uniform_share) * weights / weights.sum() + uniform_share / len(weights)
        self.cumulative = torch.as_tensor(np.cumsum(weights)).to(device)
        self.log_q = torch.as_tensor(np.log(weights / weights.sum()), dtype=torch.float32).to(device)
        if target_counts is not None:
            self.log_p = torch.as_tensor(target_counts / target_counts.sum()).log().float().to(device)

    @classmethod
    def of(cls, dataset: Dataset, params: TrainParams, device: torch.device | str) -> NegativeSampler:
        """The sampler of a training.

        Args:
            dataset: what is trained on.
            params: the training.
            device: where to draw.
        """
        given = dataset.train_counts, params.negatives, device, params.uniform_share
        if not params.in_batch:
            return cls(*given)
        starts = dataset.offsets[:-1]
        firsts = dataset.items[starts[starts < dataset.train_ends]]  # targets are all but these
        return cls(*given, dataset.train_counts - np.bincount(firsts, minlength=dataset.n_items))

    def draw(self, shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        """Item indices, int64.

        Args:
            shape: of the result.
            generator: of the draw, on the sampler's device (default: torch's own).

        >>> sampler = NegativeSampler(np.array([0, 99]), "popularity")
        >>> sampler.draw((1000,), torch.Generator().manual_seed(0)).double().mean().item() > 0.95
        True
        """
        points = torch.rand(shape, generator=generator, device=self.cumulative.device, dtype=self.cumulative.dtype)
        found = torch.searchsorted(self.cumulative, points * self.cumulative[-1], right=True)
        return found.clamp_(max=len(self.cumulative) - 1)

    def beside(self, n: int, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Drawn negatives and a batch's own targets as further ones, and the log-probabilities of the mixture: an item
        is expected n q + S p times among them, p its share of all training targets (Yang et al. 2020).

        Args:
            n: how many are drawn.
            targets: int [S].

        Returns:
            int64 [n + S] and float32 [I].
        """
        ids = torch.cat([self.draw((n,)), targets.long()])
        expected = torch.logaddexp(self.log_q + math.log(n), self.log_p + math.log(len(targets)))
        return ids, expected - math.log(len(ids))


def full_softmax(outputs: Tensor, catalogue: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over the whole catalogue, in nats.

    Args:
        outputs: float [S, D].
        catalogue: float [I, D], vectors of all items.
        targets: int [S].
    """
    with _float32(outputs):
        return F.cross_entropy(outputs.float() @ catalogue.float().T, targets.long())


def sampled_softmax(
    outputs: Tensor,
    positives: Tensor,
    negatives: Tensor,
    targets: Tensor,
    negative_ids: Tensor,
    log_q: Tensor,
    logq_on_positive: bool,
    own: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Mean cross-entropy, in nats, of the positive among sampled negatives with the logQ correction.

    A negative equal to the target is masked.

    Args:
        outputs: float [S, D].
        positives: float [S, D], vectors of the targets.
        negatives: float [K, D] shared by the batch, or [S, K, D] per target.
        targets: int [S].
        negative_ids: int [K] or [S, K].
        log_q: float [I], log-probabilities that negatives are drawn with.
        logq_on_positive: take the scores s+ - log q+ against s- - log q-, as the paper's code does. Otherwise s+ stands
            against s- - log(K q-), which estimates the full softmax: its sum over negatives is unbiased.
        own: further places (row, column) to mask.
    """
    with _float32(outputs):
        outputs, positives, negatives = outputs.float(), positives.float(), negatives.float()
        n_negatives = negative_ids.shape[-1]
        positive_scores = (outputs * positives).sum(1)
        correction = log_q[negative_ids]
        if logq_on_positive:
            positive_scores = positive_scores - log_q[targets]
        else:
            correction = correction + np.log(n_negatives)
        shared = negatives.dim() == 2
        scores = outputs @ negatives.T if shared else torch.bmm(negatives, outputs.unsqueeze(2)).squeeze(2)
        scores = scores.sub_(correction)
        for masked in (_hits(targets, negative_ids), own):
            if masked is not None:
                scores = scores.index_put_(masked, scores.new_full((), -torch.inf))
        return (torch.logaddexp(positive_scores, scores.logsumexp(1)) - positive_scores).mean()


def _float32(tensor: Tensor) -> torch.autocast:
    """No autocast in here."""
    return torch.autocast(tensor.device.type, enabled=False)


def _hits(targets: Tensor, negative_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Places (row, column) where a negative is its row's target; shared ones are searched for, with no S x K table."""
    if negative_ids.dim() == 2:
        rows, columns = (negative_ids == targets.unsqueeze(1)).nonzero(as_tuple=True)
        return rows, columns
    ordered, order = negative_ids.sort()
    targets = targets.to(ordered.dtype)
    first = torch.searchsorted(ordered, targets)
    rows, found = places(first, torch.searchsorted(ordered, targets, right=True) - first)
    return rows, order[found]

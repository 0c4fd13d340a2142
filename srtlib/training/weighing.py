"""How much the neighbours of a history count beside what a model has learnt: chosen on validation, after training."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from srtlib.data.dataset import Dataset
from srtlib.evaluation import metrics
from srtlib.model.packing import Sequences
from srtlib.model.srt import SRT
from srtlib.params import ModelParams, parse
from srtlib.recipes import NEIGHBOURS

WEIGHTS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
DECAYS = (0.0, 0.3, 0.6, 0.8)
PANEL = 5_000  # users
SCORES = 2**24  # that are held at a time


def with_neighbours(model: SRT, dataset: Dataset) -> SRT:
    """A trained model whose scores add the neighbours of a history, weighed by `weigh_neighbours`. It learns nothing.

    Args:
        model: stays as it is.
        dataset: whose catalogue and users; its own vectors count where it has some, else sentence vectors of its text
            (extra `text`).

    Raises ValueError where the model reads vectors of another kind.
    """
    source: dict[str, Any] = {"text_model": model.params.text_model, "vector_dim": model.params.vector_dim}
    if not source["vector_dim"]:
        own = dataset.vectors
        source = NEIGHBOURS if own is None else {"vector_dim": own.shape[1]}
    params = parse(ModelParams, model.params.model_dump() | source | {"neighbours": True}, "neighbours")
    both = SRT(params, model.tokenizer)
    both.load_state_dict(model.state_dict(), strict=False)
    both.origin = model.origin
    both.to(model.device)
    both.move_to(dataset)
    weigh_neighbours(both, dataset)
    return both.eval()


@torch.no_grad()
def weigh_neighbours(model: SRT, dataset: Dataset) -> None:
    """Set weight and decay of a model's neighbours to those with the highest validation NDCG@10 among new items, which
    are what is offered; the smaller of equals.

    Args:
        model: with neighbours, which were fitted to this catalogue (`SRT.move_to`).
        dataset: at most 5,000 of whose users are ranked for.
    """
    path = model.neighbours
    assert path is not None
    quality = {}
    for decay in DECAYS:
        path.decay.fill_(decay)
        path.weight.fill_(1.0)
        for weight, ranks in _ranks(model, dataset.panel(PANEL)).items():
            quality[weight, decay] = metrics(ranks)["ndcg@10"]
    weight, decay = max(sorted(quality), key=quality.__getitem__)
    path.weight.fill_(weight)
    path.decay.fill_(decay)


def _ranks(model: SRT, dataset: Dataset) -> dict[float, np.ndarray]:
    """Ranks of the validation targets among new items, float [users], by weight; the model's own is 1."""
    dataset = dataset.with_target("valid")
    vectors = model.eval().encode_catalogue(model.features(dataset), dataset.n_items)
    ends, width = dataset.history_ends("valid"), model.params.d_model
    sequences = Sequences(dataset.items, dataset.offsets, ends, model.params.max_len, model.device)
    targets = torch.as_tensor(dataset.targets("valid").copy(), device=model.device).long()
    ranks = {weight: np.empty(dataset.n_users) for weight in WEIGHTS}
    for users, batch in sequences.histories(16_384):
        queries = model(vectors[batch.items], batch.layout)[batch.supervised]
        at_once = max(1, SCORES // dataset.n_items)
        for part, rows in zip(users.split(at_once), queries.split(at_once), strict=True):
            learnt, alike = rows[:, :width] @ vectors[:, :width].T, rows[:, width:] @ vectors[:, width:].T
            seen, wanted = sequences.seen(part), targets[part.to(model.device)].unsqueeze(1)
            for weight in WEIGHTS:
                ranks[weight][part] = _rank(torch.add(learnt, alike, alpha=weight), wanted, seen)
    return ranks


def _rank(scores: Tensor, wanted: Tensor, seen: tuple[Tensor, Tensor]) -> np.ndarray:
    """1 + items scored higher + half of those scored equal, float [users]."""
    better = scores.sub_(scores.gather(1, wanted)).sign_()  # in one pass, of which there are many
    better[seen] = -1
    better.scatter_(1, wanted, 0)
    return ((scores.shape[1] + 1 + better.sum(1)) / 2).cpu().numpy()

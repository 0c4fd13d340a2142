"""Models judged side by side: both rankings, what they offer, paired differences, and for whom each is better.

A ranking is among "all items", or among "new items": all but those of the user's history. They are two questions, and
their numbers do not compare. B users, I items.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from srtlib.data.dataset import Dataset, Split
from srtlib.data.splitting import target_groups
from srtlib.evaluation import Judgement, evaluate, judge, metrics_of_users
from srtlib.model.average import Average
from srtlib.model.packing import Sequences
from srtlib.model.srt import SRT
from srtlib.runs.intervals import check_resamples, tails
from srtlib.serving.search import top_k

RANKINGS = {"all items": False, "new items": True}  # -> whether the user's history is left out
BATCH_TOKENS = 16_384
AT_ONCE = 20_000_000  # numbers of a bootstrap that are held at a time
EDGES = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 10_000, 100_000)


def assess(
    model: SRT,
    dataset: Dataset,
    split: Split = "test",
    protocol: str = "full",
    ks: Sequence[int] = (5, 10),
    seed: int = 0,
) -> pd.DataFrame:
    """What a model is worth, one row for each ranking; in a split by time, one more for each group of targets.

    Args:
        model: the ranker.
        dataset, split, protocol, ks, seed: as in `srtlib.evaluation.evaluate`.

    Returns:
        `ranking` ("all items" or "new items"), `users`; NDCG, HR and MRR at each k; `loss` [nat]; of the k items of the
        whole catalogue that each user would be offered, `coverage@k`, the share of the catalogue that anybody is, and
        `popularity@k`, how often such an item was taken in training, on average: lower is more novel. In a split by
        time, `targets` says whether a row is of all or of a group of `srtlib.data.splitting.target_groups`, of which
        coverage and popularity are not counted.

    Raises what `evaluate` raises, and ValueError for a k that is no whole number from 1.
    """
    if not ks or any(isinstance(k, bool) or not isinstance(k, int) or k < 1 for k in ks):
        raise ValueError(f"ks are {ks!r}; expected whole numbers, 1 at least")
    rows = []
    for ranking, exclude_seen in RANKINGS.items():
        found = judge(model, dataset, split, protocol, exclude_seen, seed)
        offers = _spread(model, dataset, split, ks, exclude_seen)
        rows.append({"ranking": ranking, "users": len(found.ranks), **found.metrics(ks), **offers})
        rows += _of_groups(found, dataset, split, ks, ranking) if dataset.cuts else []
    table = pd.DataFrame(rows)
    if dataset.cuts:
        table.insert(1, "targets", table.pop("targets").fillna("all"))
    return table


def _of_groups(
    found: Judgement, dataset: Dataset, split: Split, ks: Sequence[int], ranking: str
) -> list[dict[str, Any]]:
    """A row of `assess` for each group of targets that there is."""
    groups = target_groups(dataset, dataset, split).items()
    judged = {name: Judgement(found.ranks[mask], found.losses[mask]) for name, mask in groups if mask.any()}
    return [
        {"ranking": ranking, "targets": name, "users": len(part.ranks), **part.metrics(ks)}
        for name, part in judged.items()
    ]


def compare(
    models: Mapping[str, SRT],
    dataset: Dataset,
    split: Split = "test",
    protocol: str = "full",
    ks: Sequence[int] = (5, 10),
    seed: int = 0,
    n_resamples: int = 2000,
    level: float = 0.95,
) -> pd.DataFrame:
    """Whether one model is better than another for the same users: a paired bootstrap over users.

    It speaks of users like these, not of other seeds of training.

    Args:
        models: two, by name.
        dataset, split, protocol, ks, seed: as in `srtlib.evaluation.evaluate`.
        n_resamples: of the users, at least 2.
        level: of the interval, of percentiles.

    Returns:
        One row per ranking and metric: `ranking`, `metric`, both models' means under their names, `difference` (the
        second less the first), its interval `low` and `high`, and `p`, two-sided: how often resampled users say
        otherwise.

    Raises ValueError unless there are two models and two resamples or more, and what `evaluate` raises.
    """
    if len(models) != 2:
        raise ValueError(f"{len(models)} models are named; expected two")
    ends, n_resamples = tails(level), check_resamples(n_resamples)
    rows = []
    for ranking, exclude_seen in RANKINGS.items():
        first, second = (
            pd.DataFrame(metrics_of_users(found.ranks, ks) | {"loss": found.losses})
            for found in (judge(model, dataset, split, protocol, exclude_seen, seed) for model in models.values())
        )
        resampled = _resampled_means((second - first).to_numpy(), n_resamples, seed)
        otherwise = np.minimum((resampled <= 0).mean(0), (resampled >= 0).mean(0))
        low, high = np.quantile(resampled, ends, axis=0)
        means = dict(zip(models, (first.mean().to_numpy(), second.mean().to_numpy()), strict=True))
        difference = (second - first).mean().to_numpy()
        bounds = {"difference": difference, "low": low, "high": high, "p": np.minimum(1, 2 * otherwise)}
        rows.append(pd.DataFrame({"ranking": ranking, "metric": first.columns, **means, **bounds}))
    return pd.concat(rows, ignore_index=True)


def by_group(
    models: Mapping[str, SRT],
    dataset: Dataset,
    split: Split = "test",
    k: int = 10,
    level: float = 0.95,
    edges: Sequence[int] = EDGES,
) -> pd.DataFrame:
    """NDCG@k by the length of the user's history, and by how often the target was taken in training.

    Args:
        models: by name.
        dataset, split: as in `srtlib.evaluation.evaluate`; targets are ranked among the whole catalogue.
        k: length of the list that is looked at.
        level: of the interval over users, by the normal approximation.
        edges: where groups begin; the last has no end.

    Returns:
        One row per model, ranking and group that has users: `model`, `ranking`, `by` ("history" or "popularity"),
        `least` and `most` (inclusive; NaN for no end), `users`, `ndcg`, `low`, `high`.
    """
    rows = []
    for name, model in models.items():
        for ranking in RANKINGS:
            values = _ndcg_of_users([model], dataset, split, ranking, k)
            for group, mask in _groups(dataset, split, edges):
                mean, bounds = mean_over_users(values[mask], level)
                rows.append({"model": name, "ranking": ranking, **group, "ndcg": mean, **bounds})
    return pd.DataFrame(rows)


def difference_by_group(
    first: Sequence[SRT],
    second: Sequence[SRT],
    dataset: Dataset,
    split: Split = "test",
    k: int = 10,
    level: float = 0.95,
    edges: Sequence[int] = EDGES,
) -> pd.DataFrame:
    """For whom the second of two models is better: the paired difference in NDCG@k of the groups of `by_group`.

    Args:
        first: trainings of one model, such as of several seeds; a user's NDCG is the mean over them.
        second: of another.
        dataset, split, k, level, edges: as in `by_group`; the interval is of the users' differences.

    Returns:
        One row per ranking and group that has users: `ranking`, `by`, `least`, `most`, `users`, both means `first` and
        `second`, their `difference` (the second less the first), `low`, `high`.
    """
    rows = []
    for ranking in RANKINGS:
        one, other = (_ndcg_of_users(models, dataset, split, ranking, k) for models in (first, second))
        for group, mask in _groups(dataset, split, edges):
            difference, bounds = mean_over_users((other - one)[mask], level)
            means = {"first": one[mask].mean(), "second": other[mask].mean(), "difference": difference}
            rows.append({"ranking": ranking, **group, **means, **bounds})
    return pd.DataFrame(rows)


def _ndcg_of_users(models: Sequence[SRT], dataset: Dataset, split: Split, ranking: str, k: int) -> np.ndarray:
    """NDCG@k of each user with a target, float [B], the mean over models."""
    found = [judge(model, dataset, split, exclude_seen=RANKINGS[ranking]).ranks for model in models]
    return np.mean([metrics_of_users(ranks, [k])[f"ndcg@{k}"] for ranks in found], axis=0)


def _groups(dataset: Dataset, split: Split, edges: Sequence[int]) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """What a group of users is called, and who is in it, bool [B]; by history, then by popularity."""
    judged = dataset.with_target(split)
    sizes = {
        "history": judged.history_ends(split) - judged.offsets[:-1],
        "popularity": dataset.train_counts[judged.targets(split)],
    }
    for by, size in sizes.items():
        for least, end in pairwise([*edges, np.inf]):
            mask = (size >= least) & (size < end)
            if mask.any():
                most = end - 1 if np.isfinite(end) else np.nan
                yield {"by": by, "least": least, "most": most, "users": int(mask.sum())}, mask


def _spread(model: SRT, dataset: Dataset, split: Split, ks: Sequence[int], exclude_seen: bool) -> dict[str, float]:
    """coverage@k and popularity@k of what all users are offered."""
    counts = torch.from_numpy(np.array(dataset.train_counts))
    depth = min(max(ks), dataset.n_items)
    first = torch.full((dataset.n_items,), depth)  # the best place at which anybody is offered an item, from 0
    taken, offered = torch.zeros(depth, dtype=torch.float64), torch.zeros(depth)
    for scores, items in _offers(model, dataset, split, depth, exclude_seen):
        is_one = torch.isfinite(scores)
        places = torch.arange(depth).expand_as(items)
        first.scatter_reduce_(0, items[is_one], places[is_one], "amin")
        taken += (counts[items] * is_one).sum(0)
        offered += is_one.sum(0)
    found = {}
    for k in ks:
        found[f"coverage@{k}"] = float((first < min(k, depth)).double().mean())
        found[f"popularity@{k}"] = float(taken[:k].sum() / offered[:k].sum())
    return found


def mean_over_users(values: np.ndarray, level: float = 0.95) -> tuple[float, dict[str, float]]:
    """A mean over users and its interval, `low` and `high`, by the normal approximation.

    Args:
        values: float [users], such as differences of two models.
        level: of the interval.

    >>> mean_over_users(np.array([1.0, 1.0]))[1]["low"]
    1.0
    """
    error = stats.norm.ppf(tails(level)[1]) * values.std() / np.sqrt(len(values))
    return float(values.mean()), {"low": float(values.mean() - error), "high": float(values.mean() + error)}


def best_weight(
    first: SRT,
    second: SRT,
    dataset: Dataset,
    weights: Sequence[float] = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0),
    exclude_seen: bool = False,
) -> tuple[float, pd.DataFrame]:
    """The weight at which the sum of two models' scores (`srtlib.model.average.Average`) is best on validation.

    Args:
        first: whose scores count once.
        second: whose scores count `weight` times.
        dataset: whose users and catalogue.
        weights: that are tried.
        exclude_seen: rank among the items that are new to a user, as a shop offers them.

    Returns:
        The weight of the highest validation NDCG@10, and a row for each: weight and metrics.
    """
    sums = {w: Average(first, second, w) for w in weights}
    rows = [{"weight": w, **evaluate(s, dataset, "valid", exclude_seen=exclude_seen)} for w, s in sums.items()]
    table = pd.DataFrame(rows)
    return weights[int(table["ndcg@10"].to_numpy().argmax())], table


@torch.no_grad()
def _offers(model: SRT, dataset: Dataset, split: Split, k: int, exclude_seen: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Scores and items [B, k] that some users would be offered, batch by batch."""
    model.eval()
    vectors = model.encode_catalogue(model.features(dataset), dataset.n_items)
    dataset = dataset.with_target(split)
    ends = dataset.history_ends(split)
    sequences = Sequences(dataset.items, dataset.offsets, ends, model.params.max_len, model.device)
    for users, batch in sequences.histories(BATCH_TOKENS):
        queries = model(vectors[batch.items], batch.layout)[batch.supervised]
        scores, items = top_k(queries, vectors, k, sequences.seen(users) if exclude_seen else None)
        yield scores.cpu(), items.cpu()


def _resampled_means(values: np.ndarray, n_resamples: int, seed: int) -> np.ndarray:
    """Means [n_resamples, columns] over rows [B, columns] drawn with replacement."""
    result = stats.bootstrap(
        (values,),
        np.mean,
        axis=0,
        n_resamples=n_resamples,
        batch=max(1, AT_ONCE // max(1, values.size)),
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return np.asarray(result.bootstrap_distribution).T

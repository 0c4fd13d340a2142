"""The study of item encoders where data are few: words, sentence vectors and both, trained from scratch on shares of a
target's users, beside a pre-trained model, and beside the neighbours by sentence vectors, which learn nothing.

Every training is a run of the store, so that a study that was interrupted goes on where it was.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from srtlib.data.dataset import Dataset
from srtlib.data.loading import load_dataset, synthetic_world
from srtlib.data.sentences import item_texts, sentence_vectors
from srtlib.evaluation import evaluate, judge, metrics, metrics_of_users
from srtlib.model.average import Average
from srtlib.model.making import new_model
from srtlib.model.srt import SRT
from srtlib.params import Architecture, Recipe, Transfer
from srtlib.recipes import NEIGHBOURS, SENTENCE, recipe_for
from srtlib.runs import summarise_effects
from srtlib.studies.baselines import (
    UNTRAINED,
    history_neighbours,
    record_baseline,
    sasrec,
    score_ranks,
    text_neighbours,
)
from srtlib.studies.fine_tuning import Method, fine_tune, fingerprint
from srtlib.studies.judging import best_weight, mean_over_users
from srtlib.studies.recording import write_rows
from srtlib.studies.releasing import RELEASES, pretrain
from srtlib.studies.text_and_ids import IDS
from srtlib.studies.transfer import PROVENANCE, Trials, summary_row, without_cold_items
from srtlib.training.identity import Tuning, config_of
from srtlib.training.provenance import record_untrained
from srtlib.training.trainer import train
from srtlib.training.weighing import PANEL

ENCODERS: dict[str, dict[str, Any]] = {
    "words": {"encoder": "token_bag"},
    "sentence": {"encoder": "sentence", **SENTENCE},
    "hybrid": {"encoder": "hybrid", **SENTENCE},
    "words_and_neighbours": {"encoder": "token_bag", **NEIGHBOURS},
}
PRETRAINED = {  # beside the released models
    "amazon-words": replace(RELEASES["amazon-small"], recipe="neighbours", settings={"d_ff": 256, "epochs": 4})
}
WORLD_VECTORS = {"vector_dim": 32, "head": "residual", "start": "neighbours"}
WORLD_ENCODERS: dict[str, dict[str, Any]] = {
    "words": {"encoder": "token_bag"},
    "vectors": {"encoder": "fixed_vectors", **WORLD_VECTORS},
    "hybrid": {"encoder": "hybrid", **WORLD_VECTORS},
}
NEIGHBOURS_ALONE = {"text_neighbours": text_neighbours, "history_neighbours": history_neighbours}
ARCHITECTURE, D_FF = Architecture(d_model=256), 256  # of the released model amazon-small
RANKINGS = {"test": False, "test_unseen": True}  # whether a user's own history is left out
SHARE_RATE, TUNED_RATE = 3e-4, 5e-4  # on a share of the users; of a pre-trained model, on all of them
NEIGHBOURS_IN_SUM = (0.0, 1.0, 2.0, 4.0, 8.0)  # weights that are tried beside those of item IDs
KEYS = ("target", "method", "encoder", "share", "seed", "learning_rate")


def record(
    path: Path,
    target: str,
    store: Path,
    seeds: Mapping[float, int],
    encoders: tuple[str, ...] = tuple(ENCODERS),
    starts: tuple[str, ...] = ("amazon-small",),
    rates: tuple[float, ...] = (),
) -> pd.DataFrame:
    """Run the study of one target and write its table, row by row as trainings end: encoder, method, share, seed,
    learning rate and metrics on the whole target. Other rows stay.

    Args:
        path: of a CSV file.
        target: name of the data set that is judged on.
        store: of the runs.
        seeds: share of the target's users -> seeds that are trained on it.
        encoders: names in `ENCODERS` that are trained from scratch.
        starts: names of released models, or of others in `PRETRAINED`, that are fine-tuned.
        rates: learning rates that are tried with the first seed of each training; the others have the one with the best
            validation NDCG@10 (default: one rate, by the share). `tuned` picks these rows.
    """
    rows: list[dict[str, Any]] = []
    for row in _rows(load_dataset(target), store, seeds, encoders, starts, rates):
        rows.append(row)
        write_rows(path, pd.DataFrame(rows), KEYS)
    return pd.DataFrame(rows)


def record_cold_items(
    path: Path,
    target: str,
    store: Path,
    seeds: Iterable[int] = (0,),
    share: float = 0.1,
    encoders: tuple[str, ...] = tuple(ENCODERS),
    starts: tuple[str, ...] = ("amazon-small",),
) -> pd.DataFrame:
    """Take a share of the items out of all that is trained on, train each encoder on the rest, and write how the test
    targets among those items (`cold`) and among the others (`warm`) rank, as trainings end. Other rows stay.

    No model knows of the cold items before it ranks them; the neighbours' whitening does. All items are ranked.

    Args:
        path, target, store, encoders, starts: as for `record`.
        seeds: of training; the cold items are the same for all.
        share: of the items.

    Returns:
        Two rows per encoder, method and seed: `items` (cold or warm), `users`, and metrics over these users, of all
        items (`test_`) and of new ones (`test_unseen_`); of the latter's NDCG@10 the `difference` from the neighbours'
        and its 95% interval `low` and `high`, paired over the users.
    """
    whole = load_dataset(target)
    warm, is_cold = without_cold_items(whole, share)
    rows: list[dict[str, Any]] = []
    neighbours: np.ndarray | None = None
    for row, ranks in _judged(whole, warm.used_items(), store, seeds, encoders, starts):
        own = metrics_of_users(ranks["test_unseen"])["ndcg@10"]
        neighbours = own if neighbours is None else neighbours
        for kind, chosen in (("cold", is_cold), ("warm", ~is_cold)):
            values = {f"{name}_{m}": v for name, r in ranks.items() for m, v in metrics(r[chosen]).items()}
            difference, bounds = mean_over_users((own - neighbours)[chosen])
            more = {"items": kind, "users": int(chosen.sum()), "difference": difference, **bounds}
            rows.append({**row, **more, **values})
        write_rows(path, pd.DataFrame(rows), ("target", "method", "encoder", "items", "seed"))
    return pd.DataFrame(rows)


def record_sum(path: Path, target: str, store: Path, seeds: int = 1) -> pd.DataFrame:
    """Add the scores of item IDs (SASRec) to those of words and neighbours, on all users of one target, and write a row
    per seed, `words_neighbours_and_ids`, into the table of `record`. Other rows stay.

    The weights of the neighbours and of the IDs are those with the best validation NDCG@10 among new items.

    Args:
        path, target, store: as for `record`.
        seeds: of the training of both models.
    """
    dataset = load_dataset(target)
    rows: list[dict[str, Any]] = []
    for seed in range(seeds):
        rows.append(_sum_row(dataset, store, seed))
        write_rows(path, pd.DataFrame(rows), KEYS)
    return pd.DataFrame(rows)


def _sum_row(dataset: Dataset, store: Path, seed: int) -> dict[str, Any]:
    recipe = _recipe(dataset, 1.0, "words_and_neighbours", seed)
    text, of_text = train(recipe, dataset, store, panel=dataset)
    ids, of_ids = train(sasrec(dataset, **IDS, seed=seed), dataset, store, panel=dataset)
    parts = [fingerprint(text), fingerprint(ids)]
    both, weights = _best_sum(text, ids, dataset.panel(PANEL))
    summary = record_untrained(
        store,
        config_of(dataset, recipe, dataset, Tuning({"sum": parts, **weights})),
        lambda split, exclude_seen: evaluate(both, dataset, split, exclude_seen=exclude_seen),
        both.parameter_counts(),
    )
    summary |= {name: of_text[name] + of_ids[name] for name in ("flops", "wall_s")}
    return {**_row(dataset, Method.FROM_SCRATCH, "words_neighbours_and_ids", 1.0, seed, summary), **weights}


def _best_sum(text: SRT, ids: SRT, dataset: Dataset) -> tuple[Average, dict[str, float]]:
    assert text.neighbours is not None
    found = []
    for weight in NEIGHBOURS_IN_SUM:
        text.neighbours.weight.fill_(weight)
        table = best_weight(text, ids, dataset, exclude_seen=True)[1]
        found.append(table.assign(neighbours_weight=weight, ids_weight=table["weight"]))
    tried = pd.concat(found, ignore_index=True)
    best = tried.iloc[int(tried["ndcg@10"].to_numpy().argmax())]
    weights = {name: float(best[name]) for name in ("neighbours_weight", "ids_weight")}
    text.neighbours.weight.fill_(weights["neighbours_weight"])
    return Average(text, ids, weights["ids_weight"]), weights


def tuned(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of each training at its own best learning rate: that with the best validation NDCG@10 of the first seed.
    What is not trained stays.

    Args:
        table: as `record` writes it.
    """
    training = ["target", "method", "encoder", "share"]
    first = table[(table["seed"] == 0) & table["learning_rate"].notna()].sort_values("valid_ndcg@10")
    best = first.groupby(training, dropna=False)["learning_rate"].last().rename("best")
    own = table.join(best, on=training)["best"]
    return table[table["learning_rate"].isna() | (table["learning_rate"] == own)]


def gains(
    table: pd.DataFrame, metric: str = "test_unseen_ndcg@10", bases: tuple[str, ...] = ("words", "sentence", "hybrid")
) -> pd.DataFrame:
    """What each encoder, the pre-trained models and the neighbours gain over the best of some encoders that are trained
    from scratch on the same share, which is the one with the best mean validation NDCG@10: in pairs of a seed.

    Args:
        table: as `record` writes it.
        metric: a column: larger is better.
        bases: the encoders that the best is one of.

    Returns:
        One row per target, share that a base was trained on, and method but the best: `target`, `share`, `best` (its
        name), `encoder` (or the name of the neighbours), `pairs`, `worse`, and of the relative gains `effect`, `low`
        and `high`, as `runs.summarise_effects` gives them.
    """
    untrained = table[table["method"].isin(NEIGHBOURS_ALONE)].drop(columns=["share", "seed"])
    untrained = untrained.assign(encoder=untrained["method"])
    parts = []
    for (target, _), part in table[table["share"] > 0].groupby(["target", "share"]):
        scratch = part[(part["method"] == Method.FROM_SCRATCH) & part["encoder"].isin(bases)]
        if scratch.empty:
            continue
        best = str(scratch.groupby("encoder")["valid_ndcg@10"].mean().idxmax())
        base = scratch[scratch["encoder"] == best].set_index("seed")[metric].rename("metric_low")
        level = untrained[untrained["target"] == target].merge(part[["share", "seed"]].drop_duplicates(), how="cross")
        others = pd.concat([part[part["encoder"] != best], level]).join(base, on="seed", how="inner")
        parts.append(others.assign(best=best, effect=others[metric] / others["metric_low"] - 1))
    return summarise_effects(pd.concat(parts), ["target", "share", "best", "encoder"])


def in_worlds(params: Transfer, store: Path, shares: Iterable[float], seed: int = 0) -> pd.DataFrame:
    """Words, vectors and both, from scratch and pre-trained, between the two domains of the synthetic world, which
    makes the vectors itself (`SyntheticItems.vectors`).

    Args:
        params: of the study of transfer; its first model is trained.
        store: of the runs.
        shares: of the target's users that are trained on.
        seed: of training.

    Returns:
        One row per encoder, share and method: as `Trials.transfer` gives it, with `encoder`.
    """
    rows = []
    for name, settings in WORLD_ENCODERS.items():
        own: dict[str, Any] = {"pretrain": {**params.pretrain, **settings}, "train": {**params.train, **settings}}
        if name == "vectors":
            own["options"] = params.options.model_copy(update={"own_vocabulary": False})
        trials = Trials(params.model_copy(update=own), ["synthetic"], "synthetic_b", store, seed)
        if name != "words":
            trials.source, trials.target = map(_with_world_vectors, (trials.source, trials.target))
        for share in shares:
            for method in (Method.FROM_SCRATCH, Method.FULL):
                rows.append({"encoder": name, **trials.transfer(method, seed, share=share)[1]})
    return pd.DataFrame(rows)


def _with_world_vectors(dataset: Dataset) -> Dataset:
    world = synthetic_world(dataset.name)
    place = pd.Index(world.items["item_id"]).get_indexer(pd.Index(dataset.catalogue["item_id"]))
    return dataset.with_vectors(world.vectors()[place])


def _rows(
    target: Dataset,
    store: Path,
    seeds: Mapping[float, int],
    encoders: tuple[str, ...],
    starts: tuple[str, ...],
    rates: tuple[float, ...],
) -> Iterator[dict[str, Any]]:
    with_vectors = target.with_vectors(sentence_vectors(item_texts(target.catalogue)))
    for name in UNTRAINED:
        yield _row(target, name, "", 0.0, 0, record_baseline(name, with_vectors, store))
    models = {start: _pretrained(start, store) for start in starts}
    unseen = _recipe(target, 1.0, "words", 0).train
    for start, model in models.items():
        if model.params.start == "neighbours":
            _, summary = fine_tune(_before_training(model, target), target, store, unseen, Method.ZERO_SHOT)
            yield _row(target, "untrained", start, 0.0, 0, summary)
        _, summary = fine_tune(model, target, store, unseen, Method.ZERO_SHOT)
        yield _row(target, Method.ZERO_SHOT, start, 0.0, 0, summary)
    for share, n in sorted(seeds.items()):
        for name in (*encoders, *starts):
            yield from _trainings(target, store, share, n, name, models.get(name), rates)


def _trainings(
    target: Dataset, store: Path, share: float, n: int, name: str, start: SRT | None, rates: tuple[float, ...]
) -> Iterator[dict[str, Any]]:
    """A row per seed at the best rate, and before them one per rate: of an encoder, or of a pre-trained model."""
    part, method = target.panel(round(share * target.n_users)), Method.FROM_SCRATCH if start is None else Method.FULL

    def row(seed: int, rate: float | None) -> dict[str, Any]:
        recipe = _recipe(part, share, name if start is None else "words", seed, rate)
        if start is None:
            _, summary = train(recipe, part, store, panel=target)
        else:
            _, summary = fine_tune(start, part, store, recipe.train, panel=target)
        return {**_row(target, method, name, share, seed, summary), "learning_rate": recipe.train.learning_rate}

    usual = None if start is None or share < 1 else TUNED_RATE
    tried = [row(0, rate) for rate in rates or (usual,)]
    yield from tried
    best = max(tried, key=itemgetter("valid_ndcg@10"))
    yield from (row(seed, best["learning_rate"]) for seed in range(1, n))


def _judged(
    whole: Dataset, warm: Dataset, store: Path, seeds: Iterable[int], encoders: tuple[str, ...], starts: tuple[str, ...]
) -> Iterator[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """Each model of `warm`, and the ranks of the test targets of `whole`, float [users], by ranking."""

    def about(method: str, encoder: str, seed: int, found: Mapping[str, Any]) -> dict[str, Any]:
        row = {"encoder": encoder, "method": str(method), "target": whole.name, "seed": seed}
        return {**row, **{name: found[name] for name in PROVENANCE}, "dataset_fingerprint": whole.fingerprint}

    def ranks(model: SRT) -> dict[str, np.ndarray]:
        return {name: judge(model, whole, exclude_seen=unseen).ranks for name, unseen in RANKINGS.items()}

    with_vectors = whole.with_vectors(sentence_vectors(item_texts(whole.catalogue)))
    for name, scorer in NEIGHBOURS_ALONE.items():
        score, found = scorer(with_vectors), record_baseline(name, with_vectors, store)
        by_text = {ranking: score_ranks(score, with_vectors, "test", unseen) for ranking, unseen in RANKINGS.items()}
        yield about(name, "", 0, found), by_text
    models = {start: _pretrained(start, store) for start in starts}
    for start, model in models.items():
        moved, found = fine_tune(model, whole, store, _recipe(whole, 1.0, "words", 0).train, Method.ZERO_SHOT)
        yield about(Method.ZERO_SHOT, start, 0, found), ranks(moved)
    for seed in seeds:
        for encoder in encoders:
            trained, found = train(_recipe(warm, 1.0, encoder, seed), warm, store)
            yield about(Method.FROM_SCRATCH, encoder, seed, found), ranks(trained)
        for start, model in models.items():
            tuned, found = fine_tune(model, warm, store, _recipe(warm, 1.0, "words", seed, TUNED_RATE).train)
            yield about(Method.FULL, start, seed, found), ranks(tuned)


def _before_training(model: SRT, target: Dataset) -> SRT:
    """The neighbours by the whitening that a model has from its source: what it was before it learnt."""
    fresh = new_model(model.params, target)
    fresh.load_state_dict({**fresh.state_dict(), **dict(model.named_buffers())})
    if fresh.neighbours is not None:
        fresh.neighbours.weight.zero_()
    return fresh


def _pretrained(name: str, store: Path) -> SRT:
    return SRT.from_pretrained(pretrain(PRETRAINED[name], store, name)[0] if name in PRETRAINED else name)


def _recipe(part: Dataset, share: float, encoder: str, seed: int, rate: float | None = None) -> Recipe:
    """The default recipe; on a share steps are smaller, and there are more epochs, with as many validations."""
    factor = share**-0.5
    settings: dict[str, Any] = {"d_ff": D_FF, **ENCODERS[encoder], "eval_every": 2}
    if share < 1:
        settings |= {"epochs": round(5 * factor), "eval_every": round(factor), "learning_rate": SHARE_RATE}
    if rate is not None:
        settings["learning_rate"] = rate
    return recipe_for("srtlib", ARCHITECTURE, part, settings, seed, "encoders")


def _row(
    target: Dataset, method: str, encoder: str, share: float, seed: int, summary: dict[str, Any]
) -> dict[str, Any]:
    return {"encoder": encoder, "share": share, **summary_row(target, str(method), seed, summary)}

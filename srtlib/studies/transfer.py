"""The study of transfer: one source of several data sets, one target, and every method and baseline on it.

Whatever is trained is a run of the store, so that a study that was interrupted goes on where it was.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from srtlib.data.dataset import Dataset, concatenate
from srtlib.data.loading import load_dataset
from srtlib.evaluation import judge, metrics
from srtlib.model.making import new_model
from srtlib.model.srt import SRT
from srtlib.params import Architecture, Recipe, TrainParams, Transfer, parse
from srtlib.recipes import FIELD_LENGTHS, recipe_for
from srtlib.studies import baselines
from srtlib.studies.fine_tuning import Method, fine_tune, parse_method, shared_items
from srtlib.studies.recording import write_rows
from srtlib.training.trainer import train

BASELINES = (*baselines.UNTRAINED, "sasrec_full", "sasrec_sampled", "fixed_vectors")
METHODS = (*BASELINES, *Method)
PROVENANCE = ("device", "version", "commit", "date")
PRETRAINED = tuple(str(method) for method in Method if method is not Method.FROM_SCRATCH)


class Trials:
    """One target, the sources without its users, and every training on them: each is a run of the store.

    Seeds are those of training, `seed` the first of them; data are split the same way in all. What is tried gives one
    row: method, seed, `pretrain_flops` and `flops` (of the training on the target), validation and test metrics, and
    test_unseen metrics, which rank only items that the user has not had.

    Args:
        params: of the study.
        sources: names or paths of data sets, learnt from as one; users of the target are taken out.
        target: name or path.
        store: of the runs.
        seed: of the samples, and the first of those of training.
    """

    def __init__(self, params: Transfer, sources: Sequence[str], target: str, store: Path, seed: int = 0) -> None:
        self.params, self.store, self.seed = params, store, seed
        whole = load_dataset(target)
        size = params.target_interactions
        self.target = whole.sample_users(n_interactions=size, seed=seed) if size else whole
        loaded = [load_dataset(name) for name in sources]
        parts = [part.without_users(whole) for part in loaded]
        self.users_removed = sum(part.n_users for part in loaded) - sum(part.n_users for part in parts)
        self.source = concatenate(parts).used_items()

    @property
    def seeds(self) -> range:
        return range(self.seed, self.seed + self.params.seeds)

    def pretrained(
        self, architecture: Architecture | None = None, n_interactions: int | None = None
    ) -> tuple[SRT, dict]:
        """The model that learnt from the source.

        Args:
            architecture: width, layers, heads (default: the first of the study's models).
            n_interactions: size of the sample of the source's users (default: all of them).

        Returns:
            The model, and what to record of its training.
        """
        source = self.source if n_interactions is None else self.source.sample_users(n_interactions=n_interactions)
        recipe = self._recipe(architecture or self.params.models[0], source, self.params.pretrain, self.seed)
        model, summary = train(recipe, source, self.store, panel=source.panel(self.params.pretrain_panel))
        return model, {"pretrain_interactions": source.n_interactions, "pretrain_flops": summary["flops"]}

    def run(self, name: str, seed: int = 0) -> dict[str, Any]:
        """One row of the comparison, on the whole target.

        Args:
            name: a baseline or a method, one of `METHODS`.
            seed: of training.
        """
        if name in baselines.UNTRAINED:
            return summary_row(self.target, name, seed, baselines.record_baseline(name, self.target, self.store))
        if name.startswith("sasrec_"):
            return summary_row(self.target, name, seed, train(self.sasrec(name, seed), self.target, self.store)[1])
        if name == "fixed_vectors":
            return summary_row(self.target, name, seed, self._fixed_vectors(seed))
        return self.transfer(parse_method(name), seed)[1]

    def transfer(
        self,
        method: Method,
        seed: int = 0,
        architecture: Architecture | None = None,
        n_interactions: int | None = None,
        share: float = 1.0,
        dataset: Dataset | None = None,
    ) -> tuple[SRT, dict[str, Any]]:
        """One method on the target.

        Args:
            method: what is trained on it.
            seed: of training.
            architecture: width, layers, heads (default: the first of the study's models).
            n_interactions: size of the sample of the source's users that was learnt from (default: all of them).
            share: of the target's users that are trained on; all of them are judged on.
            dataset: another training set on the target's catalogue, judged on itself.

        Returns:
            The model and its row.
        """
        architecture = architecture or self.params.models[0]
        panel = None if dataset else self.target
        learnt_from = dataset or (self.target.panel(round(share * self.target.n_users)) if share < 1 else self.target)
        fresh = method is Method.FROM_SCRATCH
        settings = {
            **self.params.train,
            **({} if fresh else self.params.fine_tune),
            **(_on_share(self.params, share) if share < 1 else {}),
        }
        recipe = self._recipe(architecture, learnt_from, settings, seed)
        no_pretraining: dict[str, Any] = {}
        if fresh:
            model, pretraining = new_model(recipe.model, self.target), no_pretraining
        else:
            model, pretraining = self.pretrained(architecture, n_interactions)
        tuned, summary = fine_tune(
            model,
            learnt_from,
            self.store,
            recipe.train,
            method,
            self.params.options,
            source=self.source,
            panel=panel,
            pretraining=pretraining,
        )
        return tuned, {**summary_row(self.target, str(method), seed, summary), "share": share, **pretraining}

    def sasrec(self, name: str, seed: int) -> Recipe:
        """SASRec: the best of the grid on validation.

        Args:
            name: of its loss, sasrec_full or sasrec_sampled.
            seed: of training.
        """
        grid = [self._sasrec_recipe(name, point, self.seed) for point in self.params.sasrec]
        best, _ = baselines.tune(grid, self.target, self.store) if len(grid) > 1 else (grid[0], [])
        return best.model_copy(update={"train": best.train.model_copy(update={"seed": seed})})

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The text that the model reads: the target's."""
        return self.target.text_fields

    def _recipe(self, architecture: Architecture, dataset: Dataset, settings: dict[str, Any], seed: int) -> Recipe:
        fields = {name: FIELD_LENGTHS[name] for name in self.fields}
        return recipe_for("srtlib", architecture, dataset, {"fields": fields, **settings}, seed, "transfer")

    def _sasrec_recipe(self, name: str, point: dict[str, Any], seed: int) -> Recipe:
        model = {key: value for key, value in point.items() if key not in TrainParams.model_fields}
        base = self._recipe(self.params.models[0], self.target, self.params.train, seed).train.model_dump()
        own = {key: value for key, value in point.items() if key in TrainParams.model_fields}
        objective = {"sasrec_full": "full_softmax", "sasrec_sampled": "sampled_softmax"}[name]
        return baselines.sasrec(self.target, model, {**base, **own, "objective": objective}, seed)

    def _fixed_vectors(self, seed: int) -> dict[str, Any]:
        dataset = baselines.text_vectors(self.target)
        recipe = self._recipe(self.params.models[0], dataset, self.params.train, seed)
        width = dataset.vectors.shape[1] if dataset.vectors is not None else 0
        model = recipe.model.model_copy(update={"encoder": "fixed_vectors", "vector_dim": width})
        return train(Recipe(name="fixed_vectors", model=model, train=recipe.train), dataset, self.store)[1]


class Study(Trials):
    """The tables of a study, which have one row per run."""

    def overview(self) -> pd.DataFrame:
        """Source and target: users, items, interactions, training targets, text fields, and what they share."""
        columns = ("n_users", "n_items", "n_interactions", "n_targets")
        rows = [
            {"": kind, "data": data.name, **{name: getattr(data, name) for name in columns}}
            for kind, data in (("source", self.source), ("target", self.target))
        ]
        shared = len(shared_items(self.source, self.target))
        return pd.DataFrame(rows).assign(users_removed=[self.users_removed, 0], items_of_the_other=[shared, shared])

    def comparison(self, methods: Iterable[str] = METHODS) -> pd.DataFrame:
        """Methods and baselines on the whole target, at every seed (untrained ones once)."""
        untrained = (*baselines.UNTRAINED, Method.ZERO_SHOT)
        rows = [self.run(m, seed) for m in methods for seed in (self.seeds if m not in untrained else self.seeds[:1])]
        return pd.DataFrame(rows)

    def tuning(self) -> pd.DataFrame:
        """The grid of SASRec, one row per point and loss."""
        rows = []
        for name in ("sasrec_full", "sasrec_sampled"):
            for point in self.params.sasrec:
                recipe = self._sasrec_recipe(name, point, self.seed)
                rows.append(
                    {**summary_row(self.target, name, self.seed, train(recipe, self.target, self.store)[1]), **point}
                )
        return pd.DataFrame(rows)

    def pretraining_curve(self) -> pd.DataFrame:
        """Full fine-tuning after pre-training on samples of the source, by size of model; none is from scratch."""
        rows = []
        for architecture in self.params.models:
            scratch = self.transfer(Method.FROM_SCRATCH, self.seed, architecture)[1]
            rows.append({**scratch, "d_model": architecture.d_model, "pretrain_interactions": 0})
            for size in [*self.params.source_interactions, None]:
                for method in (Method.ZERO_SHOT, Method.FULL):
                    row = self.transfer(method, self.seed, architecture, size)[1]
                    rows.append({**row, "d_model": architecture.d_model})
        return pd.DataFrame(rows)

    def share_curve(self, seeds: Iterable[int] | None = None) -> pd.DataFrame:
        """Fine-tuning (of everything, of the words alone) and training from scratch on shares of the target's users,
        all judged on all of them."""
        methods = (Method.FULL, Method.EMBEDDINGS_ONLY, Method.FROM_SCRATCH)
        return pd.DataFrame(
            self.transfer(method, seed, share=share)[1]
            for seed in seeds or self.seeds
            for share in self.params.shares
            for method in methods
        )

    def cold_items(self, methods: Iterable[str] = ("full", "from_scratch", "sasrec_sampled")) -> pd.DataFrame:
        """A share of the items taken out of the target's training: test metrics on targets among them (`cold`) and
        among the others (`warm`), ranking the whole catalogue."""
        warm, is_cold = without_cold_items(self.target, self.params.cold_share)
        rows = []
        for name in methods:
            if name.startswith("sasrec_"):
                model, found = train(self.sasrec(name, self.seed), warm, self.store)
            else:
                model, found = self.transfer(parse_method(name), self.seed, dataset=warm)
            rank = judge(model, self.target, "test").ranks
            about = {"target": self.target.name, "seed": self.seed, **{name: found[name] for name in PROVENANCE}}
            for kind, chosen in (("cold", is_cold), ("warm", ~is_cold)):
                values = {"users": int(chosen.sum()), **metrics(rank[chosen])}
                rows.append({"method": name, "items": kind, **values, **about})
        return pd.DataFrame(rows)

    def record(self, folder: Path) -> None:
        """Write every table into `folder`, each as soon as it is whole: comparison, shares, cold, pretraining and
        tuning, as CSV. Rows of other targets that a file has already stay."""
        tables: dict[str, Callable[[], pd.DataFrame]] = {
            "comparison": self.comparison,
            "shares": self.share_curve,
            "cold": self.cold_items,
            "pretraining": self.pretraining_curve,
            "tuning": self.tuning,
        }
        for name, make in tables.items():
            write_rows(folder / f"{name}.csv", make(), ("target",))


def without_cold_items(target: Dataset, share: float) -> tuple[Dataset, np.ndarray]:
    """A share of the items, drawn with seed 0, taken out of a data set's interactions; the catalogue stays whole.

    Args:
        target: the data set.
        share: of its items, from 0 to 1.

    Returns:
        The data without them, and which users of `target` have one of them as their test target, bool [users].
    """
    cold = np.random.default_rng(0).permutation(target.n_items)[: round(share * target.n_items)]
    return target.without_items(cold), np.isin(target.targets("test"), cold)


def _on_share(params: Transfer, share: float) -> dict[str, Any]:
    """Settings of a small share: more epochs, with as many validations; the steps shrink with the square root only."""
    given = {**params.train, **params.on_shares}
    values = {name: value for name, value in given.items() if name in TrainParams.model_fields}
    settings, factor = parse(TrainParams, values, "transfer.on_shares"), round(share**-0.5)
    return {**params.on_shares, "epochs": settings.epochs * factor, "eval_every": settings.eval_every * factor}


def summary_row(target: Dataset, method: str, seed: int, summary: dict[str, Any]) -> dict[str, Any]:
    """What a table says of one run: method, target, seed, its metrics and where it was made.

    Args:
        target: that is judged on.
        method: a baseline or a method, one of `METHODS`.
        seed: of training.
        summary: of the run.
    """
    plain = ("flops", "best_step", "wall_s", *PROVENANCE)
    return {
        "method": method,
        "target": target.name,
        "seed": seed,
        "params_total": summary["params"]["total"],
        **{f"{part}_{m}": v for part in ("valid", "test", "test_unseen") for m, v in summary[part].items()},
        **{name: summary[name] for name in plain if name in summary},
        "dataset_fingerprint": target.fingerprint,
    }

"""The judge of a run: validates as it goes, keeps the best weights, tests them once, and writes what it found."""

from pathlib import Path
from typing import Any

import torch

from srtlib.data.dataset import Dataset, Split
from srtlib.data.splitting import target_groups
from srtlib.evaluation import Judgement, judge, metrics
from srtlib.model.folder import items_table, write_card, write_items
from srtlib.model.srt import SRT, NonFiniteError
from srtlib.params import TrainParams
from srtlib.runs.store import Run
from srtlib.training.progress import DivergedError, Progress
from srtlib.training.provenance import provenance_of
from srtlib.training.weighing import weigh_neighbours


class Judge:
    """Ranks users for one run. The best weights live in `folder`, as a model folder.

    Args:
        run: open for writing.
        params: the training: among which items, and what selects the best.
        dataset: what is trained on.
        judged_on: whose users, and whose catalogue.
        model: whose item encoder says what it reads of that catalogue.
    """

    def __init__(self, run: Run, params: TrainParams, dataset: Dataset, judged_on: Dataset, model: SRT) -> None:
        self.run, self.params, self.dataset, self.judged_on = run, params, dataset, judged_on
        self.select_by = params.select_by
        self.features = model.features(judged_on)

    @property
    def folder(self) -> Path:
        return self.run.path / "model"

    def validate(self, model: SRT, at: Progress, patient: bool) -> None:
        """Log the validation of a model, and keep it if it is the best so far.

        Args:
            model: what is validated.
            at: where the training stands; its best values and its patience are kept there.
            patient: do not count a validation that is not the best against the run's patience.

        Raises DivergedError where the losses since the last validation, the weights or the scores are not finite.
        """
        values = self._sound_values(model, at)
        at.last = values[self.select_by]
        if at.last > at.best.get(self.select_by, -1.0):
            at.best, at.best_step, at.validations_since_best = values, at.step, 0
            model.save_pretrained(self.folder)
        elif not patient:
            at.validations_since_best += 1
        loss = at.loss_sum / at.loss_steps
        at.loss_sum, at.loss_steps = 0.0, 0
        self.run.log(
            {
                "step": at.step,
                "epoch": at.epoch,
                "flops": at.flops,
                "flops_paper": at.flops_paper,
                "targets_seen": at.targets_seen,
                "train_loss": loss,
                "wall_s": round(at.wall_s, 3),
                **{f"valid_{name}": value for name, value in values.items()},
            }
        )

    def finish(self, params: dict[str, int], at: Progress, device: torch.device) -> None:
        """Test the best weights once, complete the model folder and write the summary.

        Args:
            params: numbers of parameters by group.
            at: where the training stands.
            device: where to test.
        """
        best = SRT.from_pretrained(self.folder, device)
        if best.neighbours is not None:
            weigh_neighbours(best, self.judged_on)
            best.save_pretrained(self.folder)
            self.features = best.features(self.judged_on)
        rows = [row for row in self.run.rows() if f"valid_{self.select_by}" in row]
        tested = self._judge(best, "test")
        summary: dict[str, Any] = {
            "params": params,
            "flops": at.flops,
            "flops_paper": at.flops_paper,
            "targets_seen": at.targets_seen,
            "wall_s": round(at.wall_s, 3),
            "bad_steps": at.bad_steps,
            "batch_size": at.batch_size,
            "best_step": at.best_step,
            "valid": {k: _best(k, [row[f"valid_{k}"] for row in rows]) for k in at.best},
            "valid_final": {k: rows[-1][f"valid_{k}"] for k in at.best},
            "test": tested.metrics(),
            "test_unseen": self._judge(best, "test", exclude_seen=True).metrics(),
            **({"test_part": self._by_part(tested)} if self.judged_on.parts else {}),
            **(self._by_group(tested) if self.judged_on.cuts else {}),
            **(self._with_neighbours(best) if best.neighbours is not None else {}),
            **provenance_of(device),
        }
        write_items(self.folder, items_table(self.judged_on, self.dataset), self.run.path.parent / "catalogues")
        write_card(self.folder, self.run.config, summary)
        self.run.finish(summary)

    def status(self, at: Progress) -> str:
        """What a progress bar says."""
        parts = [f"loss {at.loss_sum / max(1, at.loss_steps):.3f}"]
        if at.best:
            parts.append(f"{self.select_by} {at.last:.4f} (best {at.best[self.select_by]:.4f})")
        if at.bad_steps:
            parts.append(f"{at.bad_steps} bad steps skipped")
        return ", ".join(parts)

    def _sound_values(self, model: SRT, at: Progress) -> dict[str, float]:
        if not at.loss_steps:
            raise DivergedError(
                f"no step since the last validation had a finite loss and gradient (it is step {at.step}): "
                "lower the learning rate"
            )
        if not all(torch.isfinite(weight).all() for weight in model.parameters()):
            raise DivergedError(f"at step {at.step}, {model.cause_of_non_finite()}: lower the learning rate")
        try:
            return self._judge(model, "valid").metrics()
        except NonFiniteError as error:
            raise DivergedError(f"at step {at.step}, {error}: lower the learning rate") from None

    def _judge(self, model: SRT, split: Split, exclude_seen: bool = False) -> Judgement:
        return judge(model, self.judged_on, split, self.params.protocol, exclude_seen, features=self.features)

    def _with_neighbours(self, model: SRT) -> dict[str, Any]:
        assert model.neighbours is not None
        found = {"weight": model.neighbours.weight.item(), "decay": round(model.neighbours.decay.item(), 6)}
        return {"neighbours": found, "valid": self._judge(model, "valid").metrics()}

    def _by_part(self, found: Judgement) -> dict[str, float]:
        """NDCG@10 over the users of each part of a pool that has some."""
        parts = self.judged_on.with_target("test").user_parts
        present = [part for part in self.judged_on.parts if (parts == part).any()]
        return {part: metrics(found.ranks[parts == part])["ndcg@10"] for part in present}

    def _by_group(self, found: Judgement) -> dict[str, dict[str, float]]:
        """Of a split by time: metrics over the targets of each group of `target_groups`, and numbers of users."""
        groups = target_groups(self.dataset, self.judged_on, "test")
        alone = self.judged_on.held_out("test") & ~self.judged_on.has_target("test")
        users = {"judged": found.ranks >= 1, **groups, "without_history": alone}
        return {
            "test_users": {name: int(mask.sum()) for name, mask in users.items()},
            **{f"test_{name}": metrics(found.ranks[mask]) for name, mask in groups.items() if mask.any()},
        }


def _best(name: str, values: list[float]) -> float:
    return min(values) if name == "loss" else max(values)

import json
import multiprocessing
import runpy
import sys
import time
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from srtlib import runs
from srtlib.data.dataset import Dataset
from srtlib.data.loading import build_dataset
from srtlib.evaluation import Judgement, evaluate, judge, metrics
from srtlib.model.making import new_model
from srtlib.model.srt import SRT
from srtlib.params import Recipe, TrainParams
from srtlib.paths import project_root
from srtlib.training import losses
from srtlib.training.identity import config_of
from srtlib.training.objective import Objective
from srtlib.training.progress import MAX_BAD_STEPS, DivergedError, Progress
from srtlib.training.trainer import Trainer, train
from srtlib.training.validation import Judge


def with_train(recipe: Recipe, **changes: object) -> Recipe:
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=changes)})


def weights(store: Path, run_id: str) -> dict[str, torch.Tensor]:
    return load_file(store / run_id / "model" / "model.safetensors")


def test_training_learns_and_records(dataset: Dataset, recipe: Recipe, tmp_path: Path) -> None:
    model, summary = train(with_train(recipe, epochs=12), dataset, tmp_path)
    curves = runs.curves(tmp_path)
    assert curves["train_loss"].iloc[-1] < curves["train_loss"].iloc[0] - 0.3
    assert summary["targets_seen"] == 12 * dataset.n_targets
    assert curves["flops"].is_monotonic_increasing
    assert summary["valid"]["ndcg@5"] == curves["valid_ndcg@5"].max()
    assert evaluate(model, dataset, "test") == summary["test"]
    row = runs.table(tmp_path).iloc[0]
    assert row["dataset_fingerprint"] == dataset.fingerprint
    assert row["params_total"] == sum(p.numel() for p in model.parameters())
    assert not (tmp_path / row["run_id"] / "checkpoints").exists()


@pytest.mark.parametrize("supervise", ["all", "last"])
def test_what_comes_after_the_first_cut_teaches_nothing(
    timed: Dataset, recipe: Recipe, tmp_path: Path, supervise: str
) -> None:
    """With every later interaction replaced by another, each step of the training is the same."""
    assert timed.before is not None
    place = np.arange(timed.n_interactions) - np.repeat(timed.offsets[:-1], np.diff(timed.offsets))
    is_later = place >= np.repeat(timed.before[:, 0], np.diff(timed.offsets))
    other = replace(timed, items=np.where(is_later, (timed.items + 7) % timed.n_items, timed.items).astype(np.int32))
    curves = {}
    for data in (timed, other):
        store = tmp_path / data.fingerprint
        _, summary = train(with_train(recipe, supervise=supervise), data, store)
        assert summary["targets_seen"] == 3 * timed.n_targets
        curves[data.fingerprint] = runs.curves(store)
    one, two = curves.values()
    assert one["train_loss"].tolist() == two["train_loss"].tolist()
    assert one["valid_ndcg@5"].tolist() != two["valid_ndcg@5"].tolist()


def test_a_split_by_time_tells_apart_what_training_has_not_seen(timed: Dataset, recipe: Recipe, tmp_path: Path) -> None:
    sample = timed.sample_users(n_users=25)
    model, summary = train(recipe, sample, tmp_path, panel=timed)
    judged = timed.with_target("test")
    ranks = judge(model, timed, "test").ranks
    seen_users = {u for u, a, b in zip(sample.user_ids, sample.offsets, sample.train_ends, strict=False) if a < b}
    seen_items = set(sample.catalogue["item_id"][sample.train_counts > 0])
    ids = timed.catalogue["item_id"]
    pairs = list(zip(judged.user_ids, ids.iloc[judged.targets("test")], strict=True))
    groups = {
        "warm": [user in seen_users and item in seen_items for user, item in pairs],
        "cold_users": [user not in seen_users for user, _ in pairs],
        "cold_items": [item not in seen_items for _, item in pairs],
    }
    late = timed.history_ends("test") == timed.offsets[:-1]
    assert summary["test_users"] == {
        "judged": judged.n_users,
        **{name: sum(mask) for name, mask in groups.items()},
        "without_history": late.sum(),
    }
    assert min(summary["test_users"][name] for name in ("warm", "cold_users")) > 0
    for name, mask in groups.items():
        assert summary.get(f"test_{name}") == (metrics(ranks[mask]) if any(mask) else None)
    row = runs.table(tmp_path).iloc[0]
    assert row["cuts"] == "0.5 0.8"
    assert row["test_warm_ndcg@5"] == summary["test_warm"]["ndcg@5"]
    card = (tmp_path / row["run_id"] / "model" / "README.md").read_text()
    assert f"by time, cuts 0.5 0.8; {judged.n_users} users have a test target" in card


def test_nobody_to_judge_a_run_on_is_said_before_there_is_one(timed: Dataset, recipe: Recipe, tmp_path: Path) -> None:
    only_early = timed.without_users(timed.with_target("test"))
    with pytest.raises(ValueError, match="timed: no user has a test target with a history before it"):
        train(recipe, only_early, tmp_path)
    starts_late = replace(timed, before=np.minimum(np.array(timed.before), 1))
    with pytest.raises(ValueError, match=r"no user has two interactions before the first of the cuts 0\.5 0\.8"):
        train(recipe, starts_late, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "changes",
    [
        {"objective": "full_softmax"},
        {"supervise": "last", "batch_size": 32},
        {"shared_negatives": False, "logq_on_positive": True},
        {"negatives": "uniform"},
        {"optimizer": "adam", "schedule": "one_cycle", "warmup": 0.3},
        {"optimizer": "muon"},
        {"precision": "bfloat16"},
        {"protocol": "sampled:20", "eval_every": 2},
    ],
    ids=lambda c: next(iter(c)),
)
def test_every_option_trains(dataset: Dataset, recipe: Recipe, tmp_path: Path, changes: dict[str, object]) -> None:
    _, summary = train(with_train(recipe, **changes), dataset, tmp_path)
    losses = runs.curves(tmp_path)["train_loss"]
    assert losses.iloc[-1] < losses.iloc[0]
    assert summary["targets_seen"] == 3 * dataset.n_targets


@pytest.mark.parametrize(("what", "known"), [("objective", "full_softmax"), ("negatives", "popularity")])
def test_a_mistyped_name_is_refused_before_there_is_a_run(
    dataset: Dataset, recipe: Recipe, tmp_path: Path, what: str, known: str
) -> None:
    with pytest.raises(ValueError, match=f"{what} 'unifrom' is not known; expected one of {known}"):
        train(with_train(recipe, **{what: "unifrom"}), dataset, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("n_users", [1, 7])
def test_data_without_a_training_target_are_refused_before_there_is_a_run(
    n_users: int, tables: tuple[pd.DataFrame, pd.DataFrame], recipe: Recipe, tmp_path: Path
) -> None:
    """Users of exactly three interactions: one to start from, one for validation, one for test."""
    log, items = tables
    first = log.sort_values("timestamp").groupby("user_id").head(3)
    data = build_dataset(first[first["user_id"].isin(first["user_id"].unique()[:n_users])], items, "threes")
    with pytest.raises(ValueError, match="threes has no training target: no user has more than three interactions"):
        train(recipe, data, tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_objective_and_negatives_from_outside_train(
    dataset: Dataset, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example that the book shows, as a user would run it; and negatives that only draw item 3."""
    monkeypatch.setitem(losses.OBJECTIVES, "binary_cross_entropy", None)  # gone again afterwards
    made = runpy.run_path(str(project_root() / "tests" / "examples" / "objective.py"))
    assert isinstance(losses.OBJECTIVES["binary_cross_entropy"], made["BinaryCrossEntropy"])
    monkeypatch.setitem(losses.NEGATIVES, "one", lambda counts: np.eye(len(counts))[3] + 1e-9)
    train(with_train(recipe, objective="binary_cross_entropy", negatives="uniform"), dataset, tmp_path / "a")
    found = runs.curves(tmp_path / "a")["train_loss"]
    assert found.iloc[-1] < found.iloc[0]
    assert set(losses.NegativeSampler(dataset.train_counts, "one").draw((50,)).tolist()) == {3}


def test_gradients_are_not_clipped_where_clip_norm_is_0(dataset: Dataset, recipe: Recipe, tmp_path: Path) -> None:
    """A step of plain gradient descent is as long as the gradient, or as the largest norm that is allowed."""

    def moved(clip_norm: float) -> float:
        given = with_train(recipe, clip_norm=clip_norm, warmup=0.0)
        trainer = Trainer(given, dataset, dataset, tmp_path, None, None, torch.device("cpu"))
        trainer.optimizer = torch.optim.SGD(trainer.model.parameters(), lr=0.01)
        for group in trainer.optimizer.param_groups:
            group["rates"] = [1.0] * given.train.epochs
        before = torch.cat([p.detach().flatten().clone() for p in trainer.model.parameters()])
        trainer.step(trainer.epoch())
        after = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
        return float((after - before).norm()) / trainer.optimizer.param_groups[0]["lr"]

    whole = moved(0.0)
    assert whole > 0.1
    assert moved(0.01) == pytest.approx(0.01, rel=1e-2)
    assert moved(1e9) == pytest.approx(whole, rel=1e-5)


def test_the_mean_of_the_weights_is_what_is_judged(dataset: Dataset, recipe: Recipe, tmp_path: Path) -> None:
    """By hand, and with the losses of a training without a mean, which it leaves alone."""
    given, plain = (
        Trainer(with_train(recipe, average=decay), dataset, dataset, tmp_path, None, None, torch.device("cpu"))
        for decay in (0.9, 0.0)
    )
    epoch, expected = given.epoch(), torch.empty(0)
    plain.epoch()
    for number in range(4):
        given.step(epoch)
        plain.step(epoch)
        now = torch.cat([p.detach().flatten() for p in given.model.parameters()])
        expected = now if number == 0 else 0.9 * expected + 0.1 * now
    found = torch.cat([p.detach().flatten() for p in given.judged.parameters()])
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, now)
    assert (given.at.loss_sum, given.at.flops) == (plain.at.loss_sum, plain.at.flops)
    assert plain.judged is plain.model


def test_the_best_checkpoint_is_the_one_that_select_by_says(dataset: Dataset, recipe: Recipe, tmp_path: Path) -> None:
    """Validations on which the two metrics disagree: MRR@5 is best at the second, HR@10 at the third."""
    values = [{"mrr@5": 0.1, "hr@10": 0.3}, {"mrr@5": 0.2, "hr@10": 0.2}, {"mrr@5": 0.1, "hr@10": 0.4}]
    model = new_model(recipe.model, dataset)
    for select_by, best in (("mrr@5", 2), ("hr@10", 3)):
        params = TrainParams(select_by=select_by)
        with runs.Run.open(tmp_path, {"by": select_by}) as run, pytest.MonkeyPatch.context() as patch:
            patch.setattr(Judgement, "metrics", Mock(side_effect=values))
            judge, at = Judge(run, params, dataset, dataset, model), Progress()
            for at.step in (1, 2, 3):
                at.good(1.0)
                judge.validate(model, at, patient=False)
        assert at.best_step == best


def test_the_same_seed_gives_the_same_numbers(dataset: Dataset, recipe: Recipe, tmp_path: Path) -> None:
    summaries = []
    for name in ("a", "b"):
        torch.rand(7)  # whatever the caller's random state is
        summaries.append(train(recipe, dataset, tmp_path / name)[1])
    run_id = runs.run_id(config_of(dataset, recipe))
    one, two = weights(tmp_path / "a", run_id), weights(tmp_path / "b", run_id)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert summaries[0]["test"] == summaries[1]["test"]
    other = with_train(recipe, seed=1)
    train(other, dataset, tmp_path / "a")
    changed = weights(tmp_path / "a", runs.run_id(config_of(dataset, other)))
    assert not torch.equal(one["positions.weight"], changed["positions.weight"])


def test_training_leaves_the_callers_random_state_alone(dataset: Dataset, recipe: Recipe, tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    train(recipe, dataset, tmp_path)
    assert torch.equal(before, torch.get_rng_state())


def test_a_finished_run_is_not_trained_again(
    dataset: Dataset, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, first = train(recipe, dataset, tmp_path)
    monkeypatch.setattr(Trainer, "fit", lambda *_: pytest.fail("trained again"))
    assert train(recipe, dataset, tmp_path)[1] == first


def test_killed_at_any_moment_it_ends_with_the_same_weights(dataset: Dataset, recipe: Recipe, tmp_path: Path) -> None:
    """Ten kills at random moments of a training that checkpoints after every step."""
    processes = multiprocessing.get_context("forkserver")  # they start at once, with torch there
    processes.set_forkserver_preload(["srtlib.training.trainer"])
    recipe, store = with_train(recipe, epochs=6), tmp_path / "killed"

    def start(store: Path) -> BaseProcess:
        process = processes.Process(target=train, args=(recipe, dataset, store), kwargs={"checkpoint_seconds": 0})
        process.start()
        return process

    def finish(store: Path) -> None:
        process = start(store)
        process.join()
        assert process.exitcode == 0

    finish(tmp_path / "whole")
    rng, kills = np.random.default_rng(0), 0
    for _ in range(10):
        process = start(store)
        progress = {p.name for p in store.glob("*/checkpoints/step-*")}
        while process.is_alive() and {p.name for p in store.glob("*/checkpoints/step-*")} == progress:
            time.sleep(0.005)  # until it has trained at least one step further
        time.sleep(rng.uniform(0, 0.03))
        kills += process.is_alive()
        process.kill()
        process.join()
    assert kills >= 5
    finish(store)
    run_id = next(iter(runs.finished(store)))
    one, two = weights(tmp_path / "whole", run_id), weights(store, run_id)
    assert all(torch.equal(one[name], two[name]) for name in one)
    pasts = [[{**r, "wall_s": 0} for r in read_rows(root / run_id)] for root in (tmp_path / "whole", store)]
    assert pasts[0] == pasts[1]


def read_rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_non_finite_loss_stops_and_keeps_the_last_good_weights(
    dataset: Dataset, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Objective.forward

    def poisoned(self: Objective, *args: object) -> object:
        loss, shape = forward(self, *args)  # type: ignore[arg-type]
        calls.append(1)
        return (loss * float("nan") if len(calls) > 15 else loss), shape

    calls: list[int] = []
    monkeypatch.setattr(Objective, "forward", poisoned)
    with pytest.raises(DivergedError, match=r"loss nan .* since step 15 \(10 steps in a row\)"):
        train(recipe, dataset, tmp_path, checkpoint_seconds=0)
    assert len(calls) == 15 + MAX_BAD_STEPS
    run = next(tmp_path.glob("*/config.json")).parent
    assert all(torch.isfinite(p).all() for p in SRT.from_pretrained(run / "model").parameters())
    newest = max((run / "checkpoints").glob("step-*"))
    assert all(torch.isfinite(t).all() for t in load_file(newest / "tensors.safetensors").values())


@pytest.mark.parametrize("rate", [1e20, 1e30, 1e38])
@pytest.mark.parametrize("n_steps", [2, 4, 15])
def test_huge_rates_end_as_diverged_and_never_as_finished(
    dataset: Dataset, recipe: Recipe, tmp_path: Path, rate: float, n_steps: int
) -> None:
    """With too few steps for ten bad ones in a row, the first validation finds it."""
    size = dataset.n_targets // n_steps + 50
    given = with_train(recipe, learning_rate=rate, epochs=1, batch_size=size, warmup=0.0)
    with pytest.raises(DivergedError, match=r"run \w{12}: .*step \d+.*: lower the learning rate\. The last"):
        train(given, dataset, tmp_path)
    assert {json.loads(path.read_text())["status"] for path in tmp_path.glob("*/summary.json")} == {"failed"}
    assert not runs.finished(tmp_path)


def test_weights_that_are_not_finite_are_named_at_validation(
    dataset: Dataset, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A weight that no score needs: the last position's."""
    whole = Trainer.step

    def step(self: Trainer, *args: object) -> int:
        done = whole(self, *args)  # type: ignore[arg-type]
        with torch.no_grad():
            self.model.positions.weight[-1, 0] = torch.nan
        return done

    monkeypatch.setattr(Trainer, "step", step)
    given = recipe.model_copy(update={"model": recipe.model.model_copy(update={"max_len": 50})})
    with pytest.raises(DivergedError, match=r"1 of the model's weights positions.weight are not finite"):
        train(given, dataset, tmp_path)


def test_a_validation_after_bad_steps_alone_is_refused(
    dataset: Dataset, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer than ten, so that none ended the training; the loss of the epoch would be recorded as 0."""
    forward = Objective.forward

    def poisoned(self: Objective, *args: object) -> object:
        loss, shape = forward(self, *args)  # type: ignore[arg-type]
        return loss * float("nan"), shape

    monkeypatch.setattr(Objective, "forward", poisoned)
    with pytest.raises(DivergedError, match=r"no step since the last validation had a finite loss"):
        train(with_train(recipe, batch_size=dataset.n_targets), dataset, tmp_path)


def test_single_bad_steps_are_skipped_and_counted(
    dataset: Dataset, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Objective.forward
    calls: list[int] = []

    def poisoned(self: Objective, *args: object) -> object:
        loss, shape = forward(self, *args)  # type: ignore[arg-type]
        calls.append(1)
        return (loss * float("inf") if len(calls) in (3, 7) else loss), shape

    monkeypatch.setattr(Objective, "forward", poisoned)
    assert train(recipe, dataset, tmp_path)[1]["bad_steps"] == 2


def test_loss_spikes_are_skipped_and_counted(
    dataset: Dataset, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step 3 comes too early to be called a spike, 8 and 9 are spikes, 12 is high but not three times the mean."""
    monkeypatch.setattr(sys.modules["srtlib.training.progress"], "SPIKE_STEPS", 5)
    forward = Objective.forward
    factors = {3: 9.0, 8: 12.0, 9: 100.0, 12: 2.5}
    calls: list[int] = []

    def poisoned(self: Objective, *args: object) -> object:
        loss, shape = forward(self, *args)  # type: ignore[arg-type]
        calls.append(1)
        return loss * factors.get(len(calls) - 1, 1.0), shape

    monkeypatch.setattr(Objective, "forward", poisoned)
    assert train(recipe, dataset, tmp_path)[1]["bad_steps"] == 2
    assert len(calls) > 13


def test_a_loss_that_stays_high_stops_the_training(
    dataset: Dataset, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["srtlib.training.progress"], "SPIKE_STEPS", 5)
    forward = Objective.forward
    calls: list[int] = []

    def poisoned(self: Objective, *args: object) -> object:
        loss, shape = forward(self, *args)  # type: ignore[arg-type]
        calls.append(1)
        return loss * (9.0 if len(calls) > 7 else 1.0), shape

    monkeypatch.setattr(Objective, "forward", poisoned)
    with pytest.raises(DivergedError, match=r"above 3 times its running mean .* since step 7"):
        train(recipe, dataset, tmp_path)


def test_a_run_open_already_is_refused(dataset: Dataset, recipe: Recipe, tmp_path: Path) -> None:
    with (
        runs.Run.open(tmp_path, config_of(dataset, recipe)),
        pytest.raises(runs.RunLockedError, match="is open in this process already"),
    ):
        train(recipe, dataset, tmp_path)


def test_compiled_training_equals_eager(dataset: Dataset, recipe: Recipe, tmp_path: Path) -> None:
    """The same static batches, no dropout (whose random numbers torch.compile draws its own way)."""
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"dropout": 0.0, "n_layers": 1})})
    trainers = [
        Trainer(with_train(recipe, compile=compile), dataset, dataset, tmp_path, None, None, torch.device("cpu"))
        for compile in (True, False)
    ]
    trainers[1].sequences = trainers[0].sequences
    for trainer in trainers:
        epoch = trainer.epoch()
        for _ in range(3):
            trainer.step(epoch)
    for (name, one), two in zip(trainers[0].model.named_parameters(), trainers[1].model.parameters(), strict=True):
        if not name.endswith("qkv.bias"):  # keys' bias has no gradient but rounding, which Adam makes large
            torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)
    assert trainers[0].at.loss_sum == pytest.approx(trainers[1].at.loss_sum, rel=1e-5)
    assert config_of(dataset, recipe) == config_of(dataset, with_train(recipe, compile=True))
    with pytest.raises(ValueError, match="compile=true needs batches of one shape"):
        TrainParams(compile=True, supervise="last")


def test_the_last_epoch_may_be_a_part_of_one(dataset: Dataset, recipe: Recipe, tmp_path: Path) -> None:
    """It ends after that share of the batches, with the schedule at its end."""
    for epochs, passes in ((0.4, 1), (1.5, 2)):
        trainer = Trainer(
            with_train(recipe, epochs=epochs), dataset, dataset, tmp_path, None, None, torch.device("cpu")
        )
        whole = len(trainer.sequences.epoch("all", 64, torch.Generator().manual_seed(0)))
        trainer.fit(60.0, progress_bar=False)
        assert abs(trainer.at.step - epochs * whole) <= 0.5
        assert trainer.at.epoch == passes
        assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-12)
        assert trainer.at.targets_seen == pytest.approx(epochs * dataset.n_targets, rel=0.1)

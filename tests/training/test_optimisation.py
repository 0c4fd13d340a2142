"""Optimiser and schedule, against torch's own and against recorded rates."""

import math

import numpy as np
import pytest
import torch

from srtlib.data.dataset import Dataset
from srtlib.model.making import new_model
from srtlib.params import Architecture, Recipe, TrainParams
from srtlib.recipes import paper_recipe
from srtlib.training.optimisation import follow_schedule, learning_rate_factor, make_optimizer


@pytest.mark.parametrize(("n_steps", "warmup"), [(1000, 0.3), (31_300, 0.3), (40, 0.1)])
def test_one_cycle_is_torchs_in_rate_and_momentum(
    dataset: Dataset, recipe: Recipe, n_steps: int, warmup: float
) -> None:
    """The authors': initial_lr = peak / 25, and min_lr = initial_lr / 0.4 = peak / 10."""
    params = TrainParams(schedule="one_cycle", optimizer="adam", warmup=warmup, learning_rate=1e-4, epochs=1)
    ours = make_optimizer(new_model(recipe.model, dataset), params)
    theirs = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    schedule = torch.optim.lr_scheduler.OneCycleLR(theirs, 1e-4, n_steps, pct_start=warmup, final_div_factor=0.4)
    for step in range(n_steps):
        follow_schedule(ours, params, 0, (step + 1) / n_steps, n_steps)
        (group,), (expected,) = ours.param_groups, theirs.param_groups
        assert group["lr"] == pytest.approx(expected["lr"], rel=1e-9)
        assert group["betas"] == pytest.approx(expected["betas"], rel=1e-9)
        if step < n_steps - 1:
            theirs.step()
            schedule.step()


def test_the_papers_rates_are_the_recorded_ones() -> None:
    """Logged after each epoch's last step, when the schedule already stands at the next one: 8,178,335 targets in
    batches of 128, 50 epochs."""
    params, steps = paper_recipe(Architecture(d_model=32)).train, 63_894
    n_steps = 50 * steps

    def rate(epoch: int) -> float:
        return params.learning_rate * learning_rate_factor((epoch * steps + 1) / n_steps, params, n_steps)

    recorded = {1: 5.048917e-6, 15: 1e-4, 33: 5.2981019e-5, 50: 1e-5}
    assert {epoch: rate(epoch) for epoch in recorded} == pytest.approx(recorded, rel=1e-6)


@pytest.mark.parametrize("n_steps", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0.0, 0.3, 0.99])
def test_one_cycle_of_few_steps_is_finite(n_steps: int, warmup: float) -> None:
    params = TrainParams(schedule="one_cycle", warmup=warmup)
    factors = [learning_rate_factor((step + 1) / n_steps, params, n_steps) for step in range(n_steps)]
    assert all(math.isfinite(f) and 0.03 < f <= 1 for f in factors)


def test_linear_schedule_rises_then_falls() -> None:
    params = TrainParams(warmup=0.1)
    factors = [learning_rate_factor(s, params) for s in np.linspace(0, 1, 101)]
    assert factors[0] == 0
    assert np.argmax(factors) == 10
    assert factors[-1] == pytest.approx(0)


def test_adamw_does_not_decay_biases_and_norms(dataset: Dataset, recipe: Recipe) -> None:
    model = new_model(recipe.model, dataset)
    decayed, undecayed = make_optimizer(model, recipe.train).param_groups
    assert {p.dim() for p in undecayed["params"]} == {1}
    assert undecayed["weight_decay"] == 0 < decayed["weight_decay"]
    assert len(decayed["params"]) + len(undecayed["params"]) == len(list(model.parameters()))


def test_muon_takes_the_matrices_of_the_layers_and_both_follow_the_schedule(dataset: Dataset, recipe: Recipe) -> None:
    model = new_model(recipe.model, dataset)
    params = recipe.train.model_copy(update={"optimizer": "muon", "learning_rate": 0.25, "warmup": 0.0})
    optimizer = make_optimizer(model, params)
    names = {id(p): name for name, p in model.named_parameters()}
    first, *others = ([names[id(p)] for p in group["params"]] for group in optimizer.param_groups)
    assert sorted(first) == sorted(n for n, p in model.named_parameters() if n.startswith("blocks.") and p.dim() == 2)
    assert len(first) + sum(map(len, others)) == len(names)
    follow_schedule(optimizer, params, 0, 0.5, 10)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(0))
    optimizer.step()
    for name, p in model.named_parameters():
        step = (p.detach() - before[name]).square().mean().sqrt().item()
        if name in first:  # its updates have about 0.2 x the rate as root mean square
            assert step == pytest.approx(0.2 * 0.125, rel=0.4), name
        else:
            assert step > 0, name

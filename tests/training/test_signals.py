"""What asks to stop is heeded at the next step's end, and the caller's handlers come back."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from srtlib import runs
from srtlib.data.dataset import Dataset
from srtlib.params import Recipe
from srtlib.training.signals import NUMBERS, Stopped, as_interrupts, stop_signal
from srtlib.training.trainer import train
from srtlib.training.validation import Judge


@pytest.fixture(params=NUMBERS, ids=lambda n: signal.Signals(n).name)
def number(request: pytest.FixtureRequest) -> Iterator[int]:
    """A signal, that the tests' process does not ignore meanwhile."""
    usual = signal.signal(request.param, signal.default_int_handler)
    yield request.param
    signal.signal(request.param, usual)


def test_the_first_signal_asks_and_the_second_ends(number: int) -> None:
    with stop_signal() as asked:
        assert asked.number == 0
        os.kill(os.getpid(), number)
        assert asked.number == number
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is signal.default_int_handler


def test_ignored_signals_stay_ignored(number: int) -> None:
    """As under nohup."""
    signal.signal(number, signal.SIG_IGN)
    with as_interrupts(), stop_signal() as asked:
        os.kill(os.getpid(), number)
        assert asked.number == 0
    assert signal.getsignal(number) is signal.SIG_IGN


def test_outside_of_training_a_signal_interrupts_at_once(number: int) -> None:
    with as_interrupts(), pytest.raises(KeyboardInterrupt) as stopped:
        os.kill(os.getpid(), number)
    assert getattr(stopped.value, "number", signal.SIGINT) == number


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_signal_during_a_validation_loses_nothing(
    dataset: Dataset, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, epoch: int
) -> None:
    """Also during the last one, after which there is no step: the run is stopped, and goes on to the same weights."""
    validate = Judge.validate

    def interrupted(self: Judge, *args: object, **options: bool) -> None:
        validate(self, *args, **options)  # type: ignore[arg-type]
        if args[1].epoch == epoch:  # type: ignore[attr-defined]
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(Judge, "validate", interrupted)
        with pytest.raises(Stopped) as stopped:
            train(recipe, dataset, tmp_path / "cut")
    assert stopped.value.number == number
    assert not runs.finished(tmp_path / "cut")
    one, summary = train(recipe, dataset, tmp_path / "cut")
    two, expected = train(recipe, dataset, tmp_path / "whole")
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert summary["targets_seen"] == expected["targets_seen"]

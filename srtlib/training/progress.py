"""Where a training stands, and whether it may go on."""

import math
from dataclasses import dataclass, field

MAX_BAD_STEPS = 10  # bad steps in a row, skipped, before training stops
SPIKE = 3.0  # a loss above this multiple of its running mean makes a bad step, as a non-finite loss or gradient does
SPIKE_STEPS = 100  # the running mean's memory; no loss is a spike before so many


class DivergedError(RuntimeError):
    """The loss or its gradient was not finite, or the loss far above its running mean, too many steps in a row."""


@dataclass
class Progress:
    """Where a training stands; all of it is in the checkpoint."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    batch_size: int = 0
    flops: float = 0.0
    flops_paper: float = 0.0
    targets_seen: int = 0
    wall_s: float = 0.0
    bad_steps: int = 0
    bad_in_a_row: int = 0
    good_steps: int = 0
    loss_mean: float = 0.0  # exponential running mean over good steps
    loss_sum: float = 0.0
    loss_steps: int = 0
    best_step: int = 0
    validations_since_best: int = 0
    best: dict[str, float] = field(default_factory=dict)
    last: float = 0.0  # the last validation's value of what selects the best

    def sound(self, loss: float, gradient_norm: float) -> bool:
        """Whether a step may be taken: finite, and not a spike (`SPIKE` times the running mean).

        Args:
            loss: of the step.
            gradient_norm: of the step, before clipping.

        >>> at = Progress(good_steps=SPIKE_STEPS, loss_mean=2.0)
        >>> at.sound(5.9, 1.0), at.sound(6.1, 1.0), at.sound(2.0, math.inf)
        (True, False, False)
        """
        spike = self.good_steps >= SPIKE_STEPS and loss > SPIKE * self.loss_mean
        return math.isfinite(loss) and math.isfinite(gradient_norm) and not spike

    def good(self, loss: float) -> None:
        """Count a step that was taken."""
        self.good_steps, self.bad_in_a_row = self.good_steps + 1, 0
        self.loss_mean += (loss - self.loss_mean) / min(self.good_steps, SPIKE_STEPS)
        self.loss_sum, self.loss_steps = self.loss_sum + loss, self.loss_steps + 1

    def bad(self, loss: float) -> None:
        """Count a step that was skipped; raises DivergedError at the last one of too many in a row."""
        self.bad_steps, self.bad_in_a_row = self.bad_steps + 1, self.bad_in_a_row + 1
        if self.bad_in_a_row >= MAX_BAD_STEPS:
            raise DivergedError(
                f"loss {loss:.4g} or its gradient is not finite, or above {SPIKE:g} times its running mean "
                f"{self.loss_mean:.4g}, since step {self.step + 1 - self.bad_in_a_row} ({self.bad_in_a_row} steps in "
                "a row): lower the learning rate"
            )

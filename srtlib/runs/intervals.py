"""What every interval is asked for with: a level, and of a bootstrap a number of resamples."""

from __future__ import annotations

LEAST = 2  # resamples: an interval has two ends


def tails(level: float) -> tuple[float, float]:
    """The two quantiles between which the share `level` lies; raises ValueError unless it is between 0 and 1.

    >>> tails(0.5)
    (0.25, 0.75)
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; expected a number between 0 and 1, such as 0.95")
    return (1 - level) / 2, (1 + level) / 2


def check_resamples(n_resamples: int) -> int:
    """The number of resamples; raises ValueError below two, of which no interval can be made.

    >>> check_resamples(1)
    Traceback (most recent call last):
    ...
    ValueError: n_resamples is 1; expected a whole number, at least 2: an interval has two ends
    """
    if isinstance(n_resamples, bool) or n_resamples % 1 or n_resamples < LEAST:
        raise ValueError(
            f"n_resamples is {n_resamples}; expected a whole number, at least {LEAST}: an interval has two ends"
        )
    return int(n_resamples)

"""What FLOPs cost: machines by peak, utilisation and price, and hours in units that people use."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from srtlib.laws.law import amounts

UNITS = (("days", 24.0, 48.0), ("hours", 1.0, 1.5), ("minutes", 1 / 60, 1.5 / 60), ("seconds", 1 / 3600, 0.0))


@dataclass(frozen=True)
class Machine:
    """What turns FLOPs into hours and money.

    Args:
        peak: FLOP/s of one accelerator.
        utilisation: share of it that training reaches.
        price: currency per hour.

    >>> round(Machine(peak=312e12, utilisation=0.3, price=2.0).hours(1e18), 2)
    2.97
    """

    peak: float
    utilisation: float
    price: float

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            amounts(f"{name} of a machine", value)
        if self.utilisation > 1:
            raise ValueError(f"utilisation of a machine is {self.utilisation}; expected a share of at most 1")

    def hours(self, flops: Any) -> Any:
        """GPU-hours that `flops` take."""
        return flops / (self.peak * self.utilisation * 3600)

    def flops(self, hours: Any) -> Any:
        """FLOPs that GPU-hours buy."""
        return hours * self.peak * self.utilisation * 3600


MACHINES: dict[str, Machine] = {
    "H100": Machine(989e12, 0.0004, 3.0),
    "A100": Machine(312e12, 0.0004, 2.0),
    "L4": Machine(121e12, 0.0004, 0.8),
    "CPU core": Machine(86e9, 0.36, 0.05),
}
"""What a plan's hours and money rest on: dense BF16 peaks of the makers (of the core: measured), and round prices in
USD an hour, which are no one's offer."""

_SHARE = "not measured on this machine: the share that an H100 reached"
UTILISATION: dict[str, str] = {
    "H100": "measured: results/pool, d = 256 in float32 with other runs beside it; smaller models reach less",
    "A100": _SHARE,
    "L4": _SHARE,
    "CPU core": "measured: benchmarks/results/throughput.jsonl, d = 128, one thread",
}
"""Where each machine's utilisation comes from."""


def machine_named(name: str) -> Machine:
    """The machine of that name; raises ValueError that lists the known ones."""
    if name not in MACHINES:
        raise ValueError(f"unknown machine {name!r}; expected one of {', '.join(MACHINES)}")
    return MACHINES[name]


def in_words(hours: float) -> str:
    """Hours as days, hours, minutes or seconds.

    >>> in_words(0.043), in_words(30), in_words(100)
    ('2.58 minutes', '30 hours', '4.17 days')
    """
    name, unit = next((name, unit) for name, unit, least in UNITS if hours >= least)
    return f"{hours / unit:.3g} {name}"

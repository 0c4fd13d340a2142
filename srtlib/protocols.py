"""Protocols: what a split by time holds out, and among which items a held-out one is ranked."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

PROTOCOLS = {
    "full": "the whole catalogue",
    "sampled": "N distinct items, uniform, drawn anew for up to 1,024 users; the target is not among them",
    "paper": "the authors': N items, uniform, with replacement, drawn anew for every 128 users in the data set's order;"
    " the target may be among them, and so may the user's history",
}


@dataclass(frozen=True)
class Protocol:
    """Among which items a held-out one is ranked: a key of `PROTOCOLS`, and how many are drawn (0 where all are)."""

    kind: str
    n_drawn: int = 0


def parse_protocol(text: str) -> Protocol:
    """What a protocol's name says: "full", "sampled:N" or "paper:N".

    >>> parse_protocol("sampled:100")
    Protocol(kind='sampled', n_drawn=100)
    >>> parse_protocol("sample:100")
    Traceback (most recent call last):
    ...
    ValueError: protocol 'sample:100' is not known; expected full, sampled:N or paper:N, such as sampled:10000
    """
    kind, colon, number = text.partition(":")
    if text == "full":
        return Protocol(text)
    if kind in PROTOCOLS.keys() - {"full"} and colon and re.fullmatch("[1-9][0-9]{0,8}", number):
        return Protocol(kind, int(number))
    raise ValueError(f"protocol {text!r} is not known; expected full, sampled:N or paper:N, such as sampled:10000")


@dataclass(frozen=True)
class Cuts:
    """Where a split by time cuts: training ends before the first, validation before the second, the rest is the test.

    Both are shares of the interactions in order of time, or both are moments, in seconds since 1970.
    """

    first: float
    second: float
    are_shares: bool

    def __str__(self) -> str:
        """As they may be written, and as a run records them."""
        return " ".join(str(cut) if self.are_shares else _iso(cut) for cut in (self.first, self.second))


def parse_cuts(given: object) -> Cuts:
    """The cuts that two shares, such as 0.8 and 0.9, or two ISO 8601 dates stand for (UTC where they name no zone).

    Raises ValueError for what is neither, for one of each, and where the second is not above the first.

    >>> print(parse_cuts(["2003-01-01", "2003-06-01 12:00"]))
    2003-01-01 2003-06-01T12:00:00
    >>> parse_cuts([0.9, 0.8])
    Traceback (most recent call last):
    ...
    ValueError: cuts 0.9 0.8: the second must be above the first
    """
    texts = [str(value) for value in given] if isinstance(given, list | tuple) else [str(given)]
    for read in (_share, _seconds):
        try:
            first, second = map(read, texts)
        except ValueError:
            continue
        if first >= second:
            raise ValueError(f"cuts {' '.join(texts)}: the second must be above the first")
        return Cuts(first, second, read is _share)
    raise ValueError(
        f"cuts {' '.join(texts)}: expected two shares of the interactions between 0 and 1, such as 0.8 0.9, or two "
        "dates, such as 2003-01-01 2003-06-01"
    )


def _share(text: str) -> float:
    if not 0 < (share := float(text)) < 1:
        raise ValueError
    return share


def _seconds(text: str) -> float:
    moment = datetime.fromisoformat(text.strip())
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat().removesuffix("T00:00:00")

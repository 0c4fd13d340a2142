"""Protocols: among which items a held-out one is ranked."""

import re
from dataclasses import dataclass

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

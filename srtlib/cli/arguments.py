"""What commands are made of: sub-commands with an example each, and arguments that several of them read."""

import argparse
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import pandas as pd
import yaml

from srtlib.params import read_yaml

Result = dict[str, Any] | pd.DataFrame | None  # what a command prints; None where it has printed itself
Run = Callable[[argparse.Namespace], Result]
MOST = 2**53  # up to which every whole number is a float


class Commands:
    """The sub-commands of a parser.

    Args:
        parser: gets them.
        above: the commands that they lie below, with a space after each; default: none.
        required: whether one must be given.
    """

    def __init__(self, parser: argparse.ArgumentParser, above: str = "", required: bool = True) -> None:
        self._among = parser.add_subparsers(required=required, metavar="command")
        self._above = above

    def add(self, name: str, run: Run, help_text: str, *examples: str) -> argparse.ArgumentParser:
        """A command.

        Args:
            name: what is typed.
            run: does the work, and returns what is to be printed.
            help_text: what it does, as one sentence.
            examples: what follows the name on the command line, or a line that begins otherwise, whole.
        """
        parser = self._parser(name, help_text, examples)
        parser.add_argument("--json", action="store_true", help="print the result as JSON")
        parser.add_argument("--debug", action="store_true", help="show where an error comes from")
        parser.set_defaults(run=run)
        return parser

    def group(self, name: str, help_text: str, *examples: str) -> Self:
        """Commands below a name: `srt data list`.

        Args:
            name: what is typed before theirs.
            help_text: what they are about, as one sentence.
            examples: as for `add`.
        """
        return type(self)(self._parser(name, help_text, examples), f"{self._above}{name} ")

    def _parser(self, name: str, help_text: str, examples: tuple[str, ...]) -> argparse.ArgumentParser:
        start = f"srt {self._above}{name}"
        lines = (line if " srt" in line else f"{start} {line}".rstrip() for line in examples)
        return self._among.add_parser(
            name,
            help=help_text,
            description=help_text,
            epilog="\n  ".join(["example:", *lines]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )


def amount(text: str) -> float:
    """A positive amount such as 1e18, 500K or 5M."""
    factor = {"K": 1e3, "M": 1e6, "B": 1e9}.get(text[-1:].upper())
    try:
        value = float(text[:-1]) * factor if factor else float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount; expected a positive number such as 1e18, 500K or 5M")
    return value


def count(text: str, least: int = 1) -> int:
    """A whole number, such as 500000, 500K or 5M.

    Args:
        text: as it was typed.
        least: the smallest that is understood, else ArgumentTypeError is raised.

    >>> count("5M")
    5000000
    """
    try:
        value = amount(text)
    except argparse.ArgumentTypeError:
        value = math.nan
    if not math.isfinite(value) or not least <= value <= MOST or not math.isclose(value, round(value), rel_tol=1e-12):
        expected = f"a whole number, {least} to {MOST:,}, such as 10 or 5M"
        raise argparse.ArgumentTypeError(f"{text!r} is no count; expected {expected}")
    return round(value)


def duration(text: str) -> float:
    """Seconds of a duration such as 90s, 45m, 2h or 1.5d.

    >>> duration("2h")
    7200.0
    """
    unit = {"s": 1, "m": 60, "h": 3600, "d": 86400}.get(text[-1:].lower())
    try:
        value = float(text[:-1]) * unit if unit else math.nan
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; expected one such as 90s, 45m, 2h or 1.5d")
    return value


def pair(text: str, option: str, expected: str) -> tuple[str, str]:
    """The two sides of `key=value`.

    Args:
        text: as it was typed.
        option: what an error calls it.
        expected: what an error asks for.

    Raises ValueError where there is no equals sign.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"{option} {text}: expected {expected}")
    return key, value


def mapping(texts: list[str], option: str, expected: str) -> dict[str, str]:
    """Keys and values of an option that is given once for each key.

    Args:
        texts: pairs as they are given.
        option: its name, for errors.
        expected: how a pair is written.

    Raises ValueError, naming the option, for what is no pair and for a key that is given twice.
    """
    found: dict[str, str] = {}
    for key, value in (pair(text, option, expected) for text in texts):
        if key in found:
            raise ValueError(f"{option} {key}: given as {found[key]!r} and as {value!r}; expected one of them")
        found[key] = value
    return found


def settings(texts: list[str]) -> dict[str, Any]:
    """Parameters and their values, written as in YAML.

    >>> settings(["fields={title: 40}"])
    {'fields': {'title': 40}}
    """
    return {key: _value(key, text) for key, text in mapping(texts, "--set", "KEY=VALUE").items()}


def _value(key: str, text: str) -> Any:
    try:
        return read_yaml(text)
    except RecursionError:
        raise ValueError(f"--set {key}: the value is nested too deeply") from None
    except yaml.YAMLError as error:
        raise ValueError(f"--set {key}={text}: the value is not valid YAML: {error}") from None


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Say which extra an import needs where it fails."""
    try:
        yield
    except ImportError as error:
        raise RuntimeError(f"{error}; pip install 'srtlib[{name}]'") from None

"""Cuts in time, however they are written."""

from datetime import date, datetime

import pytest
import yaml

from srtlib.params import Grid, parse
from srtlib.protocols import Cuts, parse_cuts

GRID = {"interactions": [10], "models": [{"d_model": 8}]}


@pytest.mark.parametrize(
    ("given", "cuts", "text"),
    [
        ([0.8, 0.9], Cuts(0.8, 0.9, True), "0.8 0.9"),
        (("0.80", ".9"), Cuts(0.8, 0.9, True), "0.8 0.9"),
        ([date(2003, 1, 1), "2003-01-02"], Cuts(1041379200, 1041465600, False), "2003-01-01 2003-01-02"),
        (
            [datetime(2003, 1, 1, 12), "2003-01-01T14:00+01:00"],
            Cuts(1041422400, 1041426000, False),
            "2003-01-01T12:00:00 2003-01-01T13:00:00",
        ),
    ],
)
def test_cuts_are_known_by_what_they_mean(given: list[object], cuts: Cuts, text: str) -> None:
    assert parse_cuts(given) == cuts
    assert str(cuts) == text
    assert parse_cuts(text.split()) == cuts


@pytest.mark.parametrize("given", [[0.9, 0.8], [0.8, 0.8], ["2003-01-02", "2003-01-01"]])
def test_cuts_out_of_order_are_refused(given: list[object]) -> None:
    with pytest.raises(ValueError, match=r"^cuts .*: the second must be above the first$"):
        parse_cuts(given)


@pytest.mark.parametrize(
    "given",
    [
        *([], [0.8], [0.7, 0.8, 0.9], [0.8, "2003-01-01"], [0, 0.9], [0.8, 1], ["nan", 0.9], [-0.1, 0.5], [80, 90]),
        *(0.8, "0.8 0.9", {"a": 1}, ["January", "June"], ["2003-02-30", "2003-03-01"], [None, None], [[0.8], [0.9]]),
    ],
)
def test_what_is_no_pair_of_cuts_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match=r"^cuts .*expected two shares of the interactions between 0 and 1.*two dates"):
        parse_cuts(given)


def test_a_file_may_name_shares_or_dates() -> None:
    written = {"[0.8, 0.9]": "0.8 0.9", "[2003-01-01, 2003-06-01 12:00:00]": "2003-01-01 2003-06-01T12:00:00"}
    for text, cuts in written.items():
        assert str(parse(Grid, {**GRID, "cuts": yaml.safe_load(text)}, "file").cuts) == cuts
    assert parse(Grid, GRID, "file").cuts is None
    with pytest.raises(ValueError, match=r"^file: cuts: cuts 0.9 0.8: the second must be above the first$"):
        parse(Grid, {**GRID, "cuts": [0.9, 0.8]}, "file")
    with pytest.raises(ValueError, match="cuts: true and false are none of its values"):
        parse(Grid, {**GRID, "cuts": [True, 0.9]}, "file")

import json

import pytest

from srtlib.cli.entry import main
from srtlib.laws.planner import plan


def test_plan_prints_what_the_library_says(capsys: pytest.CaptureFixture[str]) -> None:
    """The recorded study on real data, as a table and for programs."""
    command = ["plan", "--runs", "results/beauty_M", "--form", "sigmoid"]
    assert main([*command, "--compute", "1e13", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (row,) = plan("results/beauty_M", compute=1e13, form="sigmoid").to_dict("records")
    assert found == row
    assert 0 < found["low"] <= found["ndcg"] <= found["high"] < 0.1
    assert main([*command, "--money", "1", "--price", "4", "--peak", "1e12"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert float(lines["hours"]) == pytest.approx(0.25)
    assert lines["extrapolated"] == "True"


def test_what_the_runs_do_not_bound_is_said_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    """A budget nine decades beyond the runs: nobody can mean the upper ends' figures, and JSON has no infinity."""
    command = ["plan", "--runs", "results/beauty_M", "--form", "sigmoid", "--compute", "1e22"]
    assert main(command) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["N_high"] == lines["D_high"] == "not bounded by these runs"
    assert float(lines["N"]) > 0
    assert main([*command, "--json"]) == 0
    printed = capsys.readouterr().out
    assert "Infinity" not in printed
    assert json.loads(printed)["N_high"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--compute", "much"], "'much' is no amount; expected a positive number such as 1e18, 500K or 5M"),
        (["--interactions", "-5M"], "expected one argument"),
        (["--interactions", "0"], "'0' is no amount"),
        ([], "one of the arguments --compute --hours --money --interactions is required"),
    ],
)
def test_an_amount_that_is_none_is_not_understood(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["plan", "--runs", "results/beauty_M", *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err

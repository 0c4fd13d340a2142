import argparse
import json
import re
from pathlib import Path

import pytest

from srtlib.cli.arguments import count
from srtlib.cli.entry import main
from srtlib.laws.planner import OWN_END, plan
from srtlib.paths import project_root

COMMAND = ["plan", "--runs", "results/beauty_M"]


def test_plan_prints_what_the_library_says(capsys: pytest.CaptureFixture[str]) -> None:
    """The recorded study on real data, as a table and for programs."""
    command = [*COMMAND, "--form", "sigmoid"]
    assert main([*command, "--compute", "1e13", "--interactions", "100K", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (row,) = plan("results/beauty_M", compute=1e13, interactions=1e5, form="sigmoid").to_dict("records")
    assert found == row
    assert 0 < found["low"] <= found["ndcg"] <= found["high"] < 0.1
    assert main([*command, "--money", "0.05", "--price", "4", "--peak", "1e12", "--utilisation", "0.3"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["time"] == "45 seconds"
    assert lines["cost"] == "0.05 USD"
    assert lines["extrapolated"] == "wanted_targets above the runs' 1.31e+05"
    assert re.fullmatch(r"0\.0\d+ \(0\.0\d+ to 0\.0\d+\)", lines["ndcg"])


def test_data_alone_and_machines_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COMMAND, "--interactions", "150K", "--size", "1M"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["N"] == "1e+06"
    assert lines["extrapolated"].startswith("needed_targets above the runs' 1.31e+05")
    assert main([*COMMAND, "--compute", "1e12", "--gpu", "abacus"]) == 1
    assert "unknown machine 'abacus'; expected one of H100, A100, L4, CPU core" in capsys.readouterr().err
    assert main([*COMMAND, "--compute", "1e12", "--size", "1M"]) == 1
    assert "--size goes with --interactions alone" in capsys.readouterr().err
    assert main(COMMAND) == 1
    assert "a plan needs a budget" in capsys.readouterr().err


def test_laws_are_exported_for_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "laws.json"
    assert main(["plan", "--runs", "results/pool", "--grid", *OWN_END, "--export", str(path)]) == 0
    assert "56" in capsys.readouterr().out
    laws = json.loads(path.read_text())
    assert laws["runs"] == 56
    script = (project_root() / "book/_static/planner/data.js").read_text().removeprefix("window.PLANNER = ")
    page = json.loads(script.rstrip(";\n"))["models"][0]
    assert laws["compute"]["params"] == pytest.approx(page["compute"]["params"], rel=1e-6)
    assert [len(laws[part]["samples"]) for part in ("compute", "unique")] == [300, 300]


def test_what_the_runs_do_not_bound_is_said_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    """A gain that no resample's upper end can bound: nobody can mean its figure, and JSON has no infinity."""
    command = [*COMMAND, "--form", "additive_power", "--interactions", "1B"]
    assert main(command) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert "not bounded by these runs" in lines["more_targets"]
    assert main([*command, "--json"]) == 0
    printed = capsys.readouterr().out
    assert "Infinity" not in printed
    assert json.loads(printed)["more_high"] is None


@pytest.mark.parametrize("arguments", [["--compute", "1e300"], ["--hours", "1e-300"], ["--interactions", "1e300"]])
def test_an_absurd_amount_is_refused_in_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COMMAND, "--form", "log_linear", *arguments]) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].endswith("expected positive numbers, 1e-30 to 1e+90")


def test_counts_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert [count(text) for text in ("1", "1e3", "2.3M", "500K")] == [1, 1000, 2_300_000, 500_000]
    for text in ("0", "0.5", "2.7", "-1", "1e30", "nan", "many"):
        with pytest.raises(argparse.ArgumentTypeError, match=f"'{text}' is no count; expected a whole number"):
            count(text)
    for text in ("0", "1"):
        with pytest.raises(SystemExit):
            main(["compare", "one", "other", "--dataset", "x", "--resamples", text])
        assert f"--resamples: '{text}' is no count; expected a whole number, 2 to" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--compute", "much"], "'much' is no amount; expected a positive number such as 1e18, 500K or 5M"),
        (["--interactions", "-5M"], "expected one argument"),
        (["--interactions", "0"], "'0' is no amount"),
        (["--compute", "1e15", "--hours", "3"], "not allowed with argument"),
    ],
)
def test_an_amount_that_is_none_is_not_understood(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["plan", "--runs", "results/beauty_M", *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from pydantic import BaseModel, ValidationError

from srtlib.cli.entry import main


def test_every_command_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    commands = re.findall(r"^    (\w+)", capsys.readouterr().out, flags=re.MULTILINE)
    assert {"data", "train", "sweep", "evaluate", "recommend", "plan"} <= set(commands)
    for command in [
        *commands,
        *(f"data {name}" for name in ("prepare", "list", "describe", "import")),
        "models pull",
        "models push",
    ]:
        with pytest.raises(SystemExit) as end:
            main([*command.split(), "--help"])
        assert end.value.code == 0
        assert f"example:\n  srt {command}" in capsys.readouterr().out


WITHOUT_TORCH = """
import sys
from srtlib.cli.entry import main
try:
    main(sys.argv[1:])
finally:
    assert "torch" not in sys.modules
"""


@pytest.mark.parametrize(
    "command", ["--help", "plan --runs results/beauty_M --form sigmoid --compute 1e13", "data list"]
)
def test_what_needs_no_model_starts_without_torch(command: str) -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *command.split()], check=True, capture_output=True)


def test_exit_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as end:
        main(["recommend", "--model", "m"])
    assert end.value.code == 2

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("srtlib.data.loading.load_dataset", interrupted)
    assert main(["train", "synthetic"]) == 130


def test_a_home_that_cannot_be_written_is_named(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SRT_HOME", str(tmp_path / "file" / "home"))
    tables = ["--interactions", f"{folder}/interactions.csv", "--items", f"{folder}/items.csv"]
    for command in (["train", folder], ["data", "import", *tables, "--name", "mine"]):
        capsys.readouterr()
        assert main(command) == 1
        error = capsys.readouterr().err
        assert str(tmp_path / "file") in error
        assert error.endswith(
            "; expected a data home that can be written, such as the environment variable SRT_HOME names\n"
        )


def test_a_file_that_is_not_in_the_home_is_no_matter_of_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SRT_HOME", str(tmp_path))

    def missing(*_: object, **__: object) -> None:
        (tmp_path / "nothing").read_bytes()

    monkeypatch.setattr("srtlib.data.loading.load_dataset", missing)
    assert main(["train", "synthetic"]) == 1
    assert capsys.readouterr().err == f"srt: [Errno 2] No such file or directory: '{tmp_path}/nothing'\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nowhere"], "data set 'nowhere' is not there"),
        (["train", "FOLDER", "--set", "epoch=3"], "--set: epoch: unknown key; expected one of objective"),
        (["train", "FOLDER", "--set", "epochs=many"], "--set: epochs: "),
        (
            ["train", "FOLDER", "--set", "seed=5"],
            "--set: seed is no setting of a recipe; a run's seed",
        ),
        (["train", "FOLDER", "--set", "epochs=2", "--set", "epochs=3"], "--set epochs: given as '2' and as '3'"),
        (["train", "FOLDER", "--set", "epochs"], "--set epochs: expected KEY=VALUE"),
        (["train", "FOLDER", "--set", "fields={title: 40"], "--set fields={title: 40: the value is not valid YAML: "),
        (["train", "FOLDER", "--set", "fields=[title]"], "--set: fields: "),
        (["train", "FOLDER", "--set", "n_negatives=1e400"], "--set: n_negatives: "),
        (["train", "FOLDER", "--device", "cuda"], "device 'cuda' is not there: torch finds no GPU; expected cpu"),
        (["train", "FOLDER", "--device", "abacus"], "abacus"),
        (["train", "FOLDER", "--seed", "-1"], "seed: "),
        (["train", "FOLDER", "--d-model", "9", "--set", "n_heads=2"], "n_heads=2 must divide d_model=9"),
        (["evaluate", "--model", "nowhere", "--dataset", "FOLDER"], "nowhere is not a model folder"),
        (["plan", "--runs", "nowhere", "--compute", "1e12"], "no runs at nowhere: expected a store's folder"),
        (["plan", "--compute", "1e12", "--size", "5"], "--size goes with --interactions"),
        (["recommend", "--model", "nowhere", "--history", "FOLDER/interactions.csv"], "nowhere is not a model folder"),
        (["recommend", "--model", "MODEL", "--history", "nowhere.csv"], "nowhere.csv is not there"),
        (
            ["recommend", "--model", "MODEL", "--history", "FOLDER/items.csv"],
            "items.csv: no column user_id; found item",
        ),
        (["recommend", "--model", "MODEL", "--history", "FOLDER/interactions.csv", "--k", "41"], "k is 41; expected 1"),
        (
            ["recommend", "--model", "MODEL", "--history", "FOLDER/items.csv", "--items", "FOLDER/interactions.csv"],
            "interactions.csv: no column title; found user_id",
        ),
        (["sweep", "Q"], "size 'Q' is not known; expected one of S, M, L, XL"),
        (["sweep", "params/Q.yaml"], "params/Q.yaml: no such file; expected one of S, M, L, XL"),
        (["sweep", "S", "--dataset", "FOLDER", "--num-gpus", "1"], "num_gpus is for the Ray engine"),
        (["sweep", "S", "--dataset", "FOLDER", "--workers", "-1"], "workers=-1: expected 1 or more"),
        (["train", "FOLDER", "--device", "abacus"], "device 'abacus' is not there: torch finds"),
        (["train", "FOLDER", "--set", "d_model=100000000"], "d_model=100000000, n_layers=2 make about"),
        (["train", "FOLDER", "--set", "n_layers=1000000000"], "expected at most 1e+10, and 1,000 layers"),
        (["train", "FOLDER", "--set", "d_model=true"], "--set: d_model: true and false are none of its values"),
        (["train", "FOLDER", "--set", "fields=" + "[" * 5000], "--set fields: the value is nested too deeply"),
        (["evaluate", "--model", "MODEL", "--dataset", "FOLDER", "--protocol", "paper:" + "9" * 20], "is not known"),
        (["plan", "--runs", "FOLDER", "--compute", "1e12"], "has no finished run; expected those of a scaling"),
    ],
)
def test_errors_are_one_line_and_exit_1(
    arguments: list[str], message: str, folder: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [a.replace("FOLDER", folder).replace("MODEL", model) for a in arguments]
    capsys.readouterr()
    if command[0] == "train":
        command += ["--runs", str(tmp_path)]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


class Form(BaseModel):
    n: int
    m: int


def refused_form() -> ValidationError:
    with pytest.raises(ValidationError) as refused:
        Form.model_validate({"n": "x"})
    return refused.value


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("two\n  lines"), False),
        (OSError(28, "No space left on device"), False),
        (ImportError("no module"), False),
        (MemoryError(), False),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory"), False),
        (refused_form(), False),
        (KeyError("column"), True),
        (TypeError("'NoneType' object is not iterable"), True),
        (AssertionError(), True),
        (ZeroDivisionError("division by zero"), True),
        (StopIteration(), True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_exception_is_one_line(
    error: Exception,
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What nobody foresaw says how to report it, and --debug where it comes from."""

    def fail() -> None:
        raise error

    monkeypatch.setattr("srtlib.data.loading.list_datasets", fail)
    assert main(["data", "list"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(r"srt: \S+", line)
    assert ("report it, with what --debug adds" in line) == expected
    assert main(["data", "list", "--debug"]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback (most recent call last)")
    assert shown.endswith(line + "\n")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["--help", "data list"])
def test_a_reader_that_has_seen_enough_ends_it_quietly(command: str, unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    program = [sys.executable, "-m", "srtlib.cli", *command.split()]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(program, stdout=writing, stderr=subprocess.PIPE, env=environment)
    os.close(writing)
    assert done.stderr == b""
    assert done.returncode == (0 if command == "--help" and unbuffered else 141)  # argparse itself hides its own


def test_what_the_locale_cannot_spell_stops_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr("srtlib.data.loading.list_datasets", lambda: pd.DataFrame({"name": ["日本"]}))
    assert main(["data", "list"]) == 0
    assert b"\\u65e5" in out.buffer.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_stop_no_command(closed: str) -> None:
    command = f"{sys.executable} -m srtlib.cli data list {closed}"
    ended = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert ended.stderr == ""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from srtlib.cli.main import main


def test_every_command_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    commands = re.findall(r"^    (\w+)", capsys.readouterr().out, flags=re.MULTILINE)
    assert {"data", "train", "sweep", "evaluate", "recommend", "plan"} <= set(commands)
    for command in [*commands, *(f"data {name}" for name in ("prepare", "list", "describe", "import"))]:
        with pytest.raises(SystemExit) as end:
            main([*command.split(), "--help"])
        assert end.value.code == 0
        assert f"example:\n  srt {command}" in capsys.readouterr().out


WITHOUT_TORCH = """
import sys
from srtlib.cli.main import main
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nowhere"], "data set 'nowhere' is not there"),
        (["train", "FOLDER", "--set", "epoch=3"], "--set: epoch: unknown key; expected one of objective"),
        (["train", "FOLDER", "--set", "epochs=many"], "--set: epochs: "),
        (["train", "FOLDER", "--d-model", "9", "--set", "n_heads=2"], "n_heads=2 must divide d_model=9"),
        (["evaluate", "--model", "nowhere", "--dataset", "FOLDER"], "nowhere is not a model folder"),
        (["plan", "--runs", "nowhere", "--compute", "1e12"], "no runs at nowhere: expected a store's folder"),
        (["plan", "--compute", "1e12", "--size", "5"], "--size goes with --interactions"),
        (["recommend", "--model", "nowhere", "--history", "FOLDER/interactions.csv"], "nowhere is not a model folder"),
        (["recommend", "--model", "MODEL", "--history", "nowhere.csv"], "nowhere.csv cannot be read as csv"),
        (
            ["recommend", "--model", "MODEL", "--history", "FOLDER/items.csv"],
            "histories: no column user_id; found item",
        ),
        (["recommend", "--model", "MODEL", "--history", "FOLDER/interactions.csv", "--k", "41"], "k is 41; expected 1"),
        (
            ["recommend", "--model", "MODEL", "--history", "FOLDER/items.csv", "--items", "FOLDER/interactions.csv"],
            "items: no column title; found user_id",
        ),
        (["sweep", "Q"], "size 'Q' is not known; expected one of S, M, L, XL"),
        (["sweep", "params/Q.yaml"], "params/Q.yaml: no such file; expected one of S, M, L, XL"),
        (["sweep", "S", "--dataset", "FOLDER", "--num-gpus", "1"], "num_gpus is for the Ray engine"),
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

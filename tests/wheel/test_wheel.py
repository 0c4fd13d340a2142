"""srtlib as users install it: a wheel, in an environment and a folder that know no checkout (`make test-wheel`)."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pandas as pd
import pytest

from srtlib.paths import checkout


class Installed:
    """A fresh environment with the wheel; what it depends on comes from the environment of the tests."""

    def __init__(self, folder: Path) -> None:
        root = checkout()
        assert root
        pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
        wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(root)]
        subprocess.run(wheel, check=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
        self.bin = folder / "venv" / "bin"
        python = str(self.bin / "python")
        install = ["--python", python, "install", "--no-deps", "--no-index", *map(str, folder.glob("*.whl"))]
        subprocess.run([*pip, *install], check=True)
        site = subprocess.check_output([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"])
        (Path(site.decode().strip()) / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
        self.folder = folder / "anywhere"
        self.folder.mkdir()

    def run(self, *command: str) -> str:
        known = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [str(self.bin / command[0]), *command[1:]], cwd=self.folder, env=known, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("wheel"))


def test_it_runs_from_the_wheel_and_brings_its_types_and_parameters(installed: Installed) -> None:
    code = (
        "import json, pathlib, srtlib\n"
        "here = pathlib.Path(srtlib.__file__).parent\n"
        "files = [(here / name).is_file() for name in ('py.typed', '__init__.pyi', 'runs/__init__.pyi')]\n"
        "sizes = [len(srtlib.load_params(size).scaling.models) for size in ('S', 'M', 'L', 'XL')]\n"
        "print(json.dumps([str(here), srtlib.__version__, all(files), sizes]))"
    )
    here, version, typed, sizes = json.loads(installed.run("python", "-c", code))
    assert Path(here).is_relative_to(installed.bin.parent)
    assert version
    assert typed
    assert sizes == [3, 4, 14, 14]


def test_plan_by_the_published_runs(installed: Installed) -> None:
    planned = json.loads(installed.run("srt", "plan", "--runs", "published", "--compute", "1e16", "--json"))
    assert 0 < planned["low"] <= planned["ndcg"] <= planned["high"] < 1


def test_the_example_comes_along(installed: Installed) -> None:
    found = json.loads(installed.run("srt", "data", "list", "--json"))
    assert "online_retail" in [row["name"] for row in found]
    assert (
        installed.run("python", "-c", "import srtlib; print(srtlib.load_dataset('online_retail').n_users)") == "3000\n"
    )


def test_released_models_come_along(installed: Installed) -> None:
    (model, *_) = json.loads(installed.run("srt", "models", "--json"))
    assert model["name"] == "amazon-small"


def test_train_then_evaluate(installed: Installed) -> None:
    installed.run("srt", "train", "synthetic", "--set", "epochs=1", "--d-model", "16", "--n-layers", "1")
    (run,) = (path.parent for path in (installed.folder / "out" / "runs").glob("*/summary.json"))
    assert (run / "model" / "config.json").is_file()
    assert list((installed.folder / ".cache" / "srtlib").iterdir()), "caches are in the user's cache folder"
    installed.run("srt", "evaluate", "--model", str(run / "model"), "--dataset", "synthetic")


def test_sweep_of_a_size_by_name(installed: Installed) -> None:
    store = installed.folder / "swept"
    swept = json.loads(installed.run("srt", "sweep", "S", "--runs", str(store), "--json"))
    assert swept["runs"] == 9
    installed.run("python", "-c", f"from srtlib import runs; runs.export({str(store)!r}, 'tables')")
    assert len(pd.read_csv(installed.folder / "tables" / "runs.csv")) == 9

"""Every parameter of every notebook, with a value that is not its default: it acts, or is refused by name.

The cells run here, without a kernel, and only as far as the parameters have acted.
"""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import pytest
import yaml

import srtlib
from srtlib.paths import project_root
from srtlib.studies.experiments import Experiment

BOOK = project_root() / "book"
Names = dict[str, Any]
STUDY = {
    "scaling": {
        "interactions": [150, 400],
        "models": [{"d_model": 4}, {"d_model": 8}],
        "panel_users": 30,
        "train": {"epochs": 2, "n_negatives": 8, "batch_size": 128},
    },
    "transfer": {"models": [{"d_model": 4}]},
    "published_runs": {"n_resamples": 7},
    "data": {"users": 400, "samples": [150, 400]},
}
ENDS = "ends"  # the name that stands for a notebook's end
COVERED: dict[str, set[str]] = {}


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No window, a store of the test's own, and pandas as it was."""
    plt.switch_backend("agg")
    monkeypatch.setenv("SRT_RUNS", str(tmp_path / "runs"))
    with pd.option_context("display.float_format", None, "display.max_colwidth", 50):
        yield


@pytest.fixture
def size(tmp_path: Path) -> str:
    """A size of one's own, which takes no time."""
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(STUDY))
    return str(tmp_path / "tiny.yaml")


def cells(notebook: str) -> list[nbformat.NotebookNode]:
    read = nbformat.read(BOOK / f"{notebook}.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    return [cell for cell in read.cells if cell.cell_type == "code"]


def run(notebook: str, until: str, **parameters: Any) -> Names:
    """The names of a notebook after the first cell that gives `until` a value."""
    COVERED.setdefault(notebook, set()).update(parameters)
    first, *others = cells(notebook)
    names: Names = {"__name__": notebook}
    exec(first.source, names)
    names.update(parameters)
    for cell in others:
        exec(compile(cell.source, notebook, "exec"), names)
        if until in names:
            break
    plt.close("all")
    return names


class Planned(Exception):  # noqa: N818
    """The experiments that a notebook would run."""

    def __init__(self, experiments: list[Experiment]) -> None:
        self.experiments = experiments


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Experiment]]:
    """What a notebook would sweep."""

    def refuse(experiments: list[Experiment], *_: Any) -> None:
        raise Planned(experiments)

    def plan(notebook: str, **parameters: Any) -> list[Experiment]:
        with monkeypatch.context() as patch:
            patch.setattr(srtlib, "sweep", refuse)
            with pytest.raises(Planned) as stopped:
                run(notebook, ENDS, **parameters)
        return stopped.value.experiments

    return plan


@pytest.mark.parametrize("notebook", ["scaling", "compute_estimator", "data_estimator"])
def test_size_dataset_and_seed_of_a_study(
    notebook: str, size: str, folder: str, planned: Callable[..., list[Experiment]]
) -> None:
    experiments = planned(notebook, size=size, dataset=folder, seed=3)
    assert len(experiments) == 4
    assert {(e.dataset, e.seed, e.recipe.train.seed) for e in experiments} == {(folder, 3, 3)}


def test_a_study_has_another_data_set_beside_it(size: str, folder: str, timed_folder: str) -> None:
    names = run("scaling", "gains", size=size, dataset=folder, beside=timed_folder)
    assert len(names["table"]) == 4
    assert names["other"]["n_interactions"].tolist() == [names["table"]["n_interactions"].min()] * 2
    assert names["gains"]["set"].tolist() == [Path(folder).name, Path(timed_folder).name]


@pytest.mark.parametrize("notebook", ["compute_estimator", "data_estimator"])
def test_recorded_runs_take_the_place_of_a_study(notebook: str) -> None:
    names = run(notebook, "sampling", runs="results/beauty_M", dataset="amazon_beauty", seed=4)
    assert set(names["recorded"]["dataset"].str[:13]) == {"amazon_beauty"}
    assert names["sampling"]["seed"] == 4
    with pytest.raises(ValueError, match="nonsense"):
        run(notebook, "sampling", runs="results/beauty_M", dataset="nonsense")


def test_published_runs(size: str, tmp_path: Path) -> None:
    """Another table in place of the authors' store, of several data sets."""
    recorded = pd.read_csv(project_root() / "results" / "beauty_M" / "runs.csv")
    curves = pd.read_csv(project_root() / "results" / "beauty_M" / "curves.csv")
    for name, table in (("runs", recorded), ("curves", curves)):
        other = table.assign(dataset="other", run_id="x" + table["run_id"])
        pd.concat([table, other]).to_csv(tmp_path / f"{name}.csv", index=False)
    names = run("published_runs", "sampling", size=size, dataset="other", seed=5, runs=str(tmp_path))
    assert names["sampling"] == {"n_resamples": 7, "seed": 5}
    assert set(names["recorded"]["dataset"]) == {"other"}


def test_recipe() -> None:
    """Its headline: of what three seeds tried, dot products alone are told from no change, and cost a quarter."""
    usual, narrow = run("recipe", "effects")["effects"], run("recipe", "effects", level=0.5)["effects"]
    assert (usual["high"] - usual["low"] > narrow["high"] - narrow["low"]).all()
    told = usual[(usual["low"] > 0) | (usual["high"] < 0)]
    assert usual["pairs"].tolist() == [3] * 8
    assert told[["variation", "effect"]].round(2).to_numpy().tolist() == [["dot products", -0.25]]


def test_data(size: str, folder: str) -> None:
    names = run("data", ENDS, size=size, dataset=folder, seed=6)
    assert names["study"].samples == STUDY["data"]["samples"]  # type: ignore[index]
    assert names["counts"].equals(run("data", "counts", size=size, seed=6)["counts"])
    assert not names["counts"].equals(run("data", "counts", size=size)["counts"])
    assert folder in set(names["distributions"]["set"])
    assert len(names["grown"]) == 2


def test_transfer(size: str, folder: str, tmp_path: Path, tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    log, items = tables
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        log.assign(user_id=name + log["user_id"]).to_csv(tmp_path / name / "interactions.csv", index=False)
        items.to_csv(tmp_path / name / "items.csv", index=False)
    sources = f"{tmp_path / 'one'}+{tmp_path / 'two'}"
    names = run(
        "transfer", "summary", size=size, source=sources, target=folder, methods="popularity+co_occurrence", seed=7
    )
    assert names["study"].source.n_users == 120
    assert names["study"].params.models[0].d_model == 4
    assert names["table"]["method"].tolist() == ["popularity", "co_occurrence"]
    assert set(names["table"]["seed"]) == {7}
    assert set(names["table"]["target"]) == {Path(folder).name}
    with pytest.raises(ValueError, match="method 'nonsense' is not known"):
        run("transfer", "summary", size=size, source=sources, target=folder, methods="nonsense")


def test_benchmarks(tmp_path: Path) -> None:
    names = run("benchmarks", "quality", results=str(tmp_path))
    assert names["quality"].columns.tolist() == ["not measured yet"]


@pytest.fixture
def own(folder: str, tmp_path: Path) -> dict[str, str]:
    """Files of one's own."""
    paths = {name: str(tmp_path / f"{name}.csv") for name in ("interactions", "items")}
    for name, path in paths.items():
        pd.read_parquet(f"{folder}/{name}.parquet").to_csv(path, index=False)
    return paths


def test_your_own_data(size: str, own: dict[str, str], planned: Callable[..., list[Experiment]]) -> None:
    names = run("your_own_data", "data", **own)
    assert (names["data"].n_users, names["data"].n_items) == (60, 40)
    assert len(names["log"]) == names["data"].n_interactions
    experiments = planned("your_own_data", size=size, seed=8, **own)
    assert {(e.dataset, e.seed) for e in experiments} == {(str(names["folder"]), 8)}
    assert len(experiments) == 4


@pytest.mark.parametrize("given", ["interactions", "items"])
def test_one_file_of_your_own_is_not_enough(given: str, own: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=rf"{given} is '.*{given}.csv'.*; expected both files"):
        run("your_own_data", "data", **{given: own[given]})
    with pytest.raises(FileNotFoundError, match=r"nowhere.csv is not there"):
        run("your_own_data", "data", **{**own, given: "nowhere.csv"})


def test_every_parameter_of_every_notebook_was_given() -> None:
    """By the tests above, which pytest runs before."""
    if "benchmarks" not in COVERED or "your_own_data" not in COVERED:
        pytest.skip("some of the tests above were not asked for")
    for path in sorted(BOOK.glob("*.ipynb")):
        (parameters,) = (cell for cell in cells(path.stem) if "parameters" in cell.metadata.get("tags", ()))
        assigned = {node.targets[0].id for node in ast.parse(parameters.source).body if isinstance(node, ast.Assign)}  # type: ignore[attr-defined]
        assert COVERED[path.stem] == assigned, path.stem


def test_tables_of_notebooks_escape_their_text() -> None:
    for path in sorted(BOOK.glob("*.ipynb")):
        for cell in cells(path.stem):
            for call in (node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)):
                styled = isinstance(call.func, ast.Attribute) and ast.unparse(call.func).endswith(".style.format")
                options = {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg == "escape"}
                assert not styled or options == {"escape": "html"}, cell.source

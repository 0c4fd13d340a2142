"""Checkpoints: whatever happens to their files, the training ends with the same weights or says what is wrong."""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from srtlib import runs
from srtlib.data.dataset import Dataset
from srtlib.model.making import new_model
from srtlib.params import ModelParams, Recipe, TrainParams
from srtlib.training.checkpoint import load_checkpoint, save_checkpoint
from srtlib.training.identity import config_of
from srtlib.training.optimisation import make_optimizer
from srtlib.training.progress import Progress
from srtlib.training.trainer import Trainer, train


class StoppedError(Exception):
    pass


def cut(recipe: Recipe, dataset: Dataset, store: Path, at_step: int) -> Path:
    """A training that ends at a step, with a checkpoint after every one; the folder of its checkpoints."""
    whole = Trainer.step

    def step(self: Trainer, *args: object) -> int:
        if self.at.step == at_step:
            raise StoppedError
        return whole(self, *args)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch, suppress(StoppedError):
        patch.setattr(Trainer, "step", step)
        train(recipe, dataset, store, checkpoint_seconds=0)
    return store / runs.run_id(config_of(dataset, recipe)) / "checkpoints"


def weights(store: Path) -> dict[str, torch.Tensor]:
    return load_file(next(store.glob("*/model/model.safetensors")))


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory, dataset: Dataset) -> tuple[Recipe, Path, Path]:
    """A short recipe, a store with its whole run, and one where it was cut after two checkpoints."""
    model = ModelParams(d_model=8, n_layers=1, max_len=10, vocab_size=200)
    recipe = Recipe(name="short", model=model, train=TrainParams(epochs=2, batch_size=128, n_negatives=16))
    root = tmp_path_factory.mktemp("halves")
    train(recipe, dataset, root / "whole")
    cut(recipe, dataset, root / "cut", 4)
    return recipe, root / "whole", root / "cut"


def with_epoch_13(path: Path) -> None:
    state = json.loads(path.read_text())
    path.write_text(json.dumps({**state, "epoch": state["epoch"] + 10}))


def without_hash(path: Path) -> None:
    state = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in state.items() if k != "state_sha256"}))


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


MUTATIONS: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "halved": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "flipped": flipped,
    "empty": lambda path: path.write_bytes(b""),
    "gone": Path.unlink,
    "a list": lambda path: path.write_text("[1, 2]"),
    "null": lambda path: path.write_text("null"),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "a folder": a_folder,
    "epoch 13": with_epoch_13,
    "no hash": without_hash,
}
FILES = [
    (file, what)
    for file in ("state.json", "tensors.safetensors")
    for what in MUTATIONS
    if file == "state.json" or what not in ("epoch 13", "no hash")
]


@pytest.mark.parametrize(("file", "what"), FILES, ids=lambda value: value)
def test_a_damaged_file_is_named_and_the_checkpoint_before_is_used(
    halves: tuple[Recipe, Path, Path], dataset: Dataset, tmp_path: Path, file: str, what: str
) -> None:
    recipe, whole, stopped = halves
    store = Path(shutil.copytree(stopped, tmp_path / "store"))
    _, newest = sorted(store.glob("*/checkpoints/step-*"))
    MUTATIONS[what](newest / file)
    with pytest.warns(UserWarning, match=rf"{newest.name} is damaged \(.*{file}.*\) and is removed; training goes on"):
        train(recipe, dataset, store)
    one, two = weights(whole), weights(store)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert len(runs.curves(store)) == recipe.train.epochs


@pytest.mark.parametrize("changes", [{"average": 0.95}, {"optimizer": "muon"}], ids=str)
def test_all_that_learns_is_in_the_checkpoint(
    dataset: Dataset, recipe: Recipe, tmp_path: Path, changes: dict[str, object]
) -> None:
    """Also a running mean of the weights, and each of two optimisers."""
    given = recipe.model_copy(update={"train": recipe.train.model_copy(update={**changes, "epochs": 2})})
    cut(given, dataset, tmp_path / "cut", 5)
    for store in ("cut", "whole"):
        train(given, dataset, tmp_path / store)
    one, two = weights(tmp_path / "cut"), weights(tmp_path / "whole")
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert set(one) == set(new_model(recipe.model, dataset).state_dict())


def test_without_a_sound_checkpoint_the_training_starts_over(
    halves: tuple[Recipe, Path, Path], dataset: Dataset, tmp_path: Path
) -> None:
    recipe, whole, stopped = halves
    store = Path(shutil.copytree(stopped, tmp_path / "store"))
    for path in store.glob("*/checkpoints/step-*"):
        flipped(path / "state.json")
    (next(store.glob("*/checkpoints")) / "step-999999999").write_text("no folder")
    with pytest.warns(UserWarning, match="or starts over without one") as warned:
        train(recipe, dataset, store)
    assert len(warned) == 3
    assert all(torch.equal(tensor, weights(store)[name]) for name, tensor in weights(whole).items())


def test_what_killed_writes_left_is_swept_up(
    halves: tuple[Recipe, Path, Path], dataset: Dataset, tmp_path: Path
) -> None:
    recipe, _, stopped = halves
    store = Path(shutil.copytree(stopped, tmp_path / "store"))
    (run,) = (path.parent for path in store.glob("*/config.json"))
    (run / "model").mkdir(exist_ok=True)
    for name in (".summary.json.123", "model/.model.safetensors.4567", "checkpoints/.step-000000009.ab_12xyz/state"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text("half")
    train(recipe, dataset, store)
    assert sorted(path.name for path in run.rglob(".*")) == [".lock"]


def test_a_checkpoint_of_another_configuration_is_refused(dataset: Dataset, recipe: Recipe, tmp_path: Path) -> None:
    model = new_model(recipe.model, dataset)
    optimizer = make_optimizer(model, recipe.train)
    save_checkpoint(tmp_path, "0123", model, optimizer, {"step": 7})
    state = load_checkpoint(tmp_path, "0123", model, optimizer)
    assert state is not None
    assert state["step"] == 7
    with pytest.raises(ValueError, match=r"step-000000007 is of configuration 0123; expected 4567"):
        load_checkpoint(tmp_path, "4567", model, optimizer)
    assert len(list(tmp_path.iterdir())) == 1  # and it is still there


def test_a_checkpoint_of_another_version_is_refused(dataset: Dataset, recipe: Recipe, tmp_path: Path) -> None:
    folder = cut(recipe, dataset, tmp_path, 3)
    model = new_model(recipe.model, dataset)
    state = {name: value for name, value in asdict(Progress(step=9)).items() if name != "best_step"}
    save_checkpoint(folder, folder.parent.name, model, make_optimizer(model, recipe.train), state)
    with pytest.raises(ValueError, match=r"written by another version of srtlib \(it lacks best_step\); remove it"):
        train(recipe, dataset, tmp_path)

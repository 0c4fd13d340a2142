"""Released models: found by name, whole, and as good without training as their card says."""

import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest

from srtlib.data.dataset import Dataset
from srtlib.model.folder import seal
from srtlib.model.making import new_model
from srtlib.model.released import model_folder, released_models, released_names, released_pins, write_index
from srtlib.model.srt import SRT
from srtlib.params import ModelParams
from srtlib.paths import project_root
from srtlib.serving.recommender import Recommender

NAMES = sorted(released_pins())


def test_a_folder_comes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert model_folder(NAMES[0]) == project_root() / "models" / NAMES[0]
    (tmp_path / NAMES[0]).mkdir()
    assert model_folder(NAMES[0]) == Path(NAMES[0])
    assert model_folder("elsewhere") == Path("elsewhere")


def test_the_table_is_of_the_files_that_come_along(tmp_path: Path) -> None:
    root = project_root() / "models"
    found = {
        folder.name: {
            path.name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
            for path in folder.iterdir()
        }
        for folder in root.glob("*/")
    }
    assert json.loads((root / "index.json").read_bytes()) == found
    assert set(found) <= set(released_names())
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "config.json").write_bytes(b"{}")
    write_index(tmp_path)
    pin = {"bytes": 2, "sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}
    assert json.loads((tmp_path / "index.json").read_bytes()) == {"one": {"config.json": pin}}


@pytest.mark.parametrize("name", NAMES)
def test_a_released_model_is_whole_and_comes_without_items(name: str) -> None:
    folder = project_root() / "models" / name
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "SHA256SUMS",
        "config.json",
        "model.safetensors",
    ]
    model = SRT.from_pretrained(name)
    assert model.params.text_model
    assert released_models().set_index("name").loc[name, "d_model"] == model.params.d_model
    assert (folder / "model.safetensors").stat().st_size < 5e6


@pytest.mark.parametrize("name", NAMES)
def test_it_recommends_on_a_catalogue_that_it_has_never_seen(name: str) -> None:
    pytest.importorskip("sentence_transformers")
    titles = ["Red lipstick", "Pink lipstick", "Cordless drill", "Drill bit set", "Dog food", "Garden hose"]
    items = pd.DataFrame({"item_id": list("abcdef"), "title": titles})
    recommender = Recommender.pretrained(name, items)
    offers = recommender.recommend({"ann": ["a"], "bob": ["c"]}, k=1)
    assert offers["item_id"].tolist() == ["b", "d"]


def test_without_items_a_released_model_says_what_it_needs() -> None:
    with pytest.raises(FileNotFoundError, match=r"has no items.parquet: .* give the items as a table"):
        Recommender.load(NAMES[0])


def test_a_sealed_folder_without_items_loads(dataset: Dataset, tmp_path: Path) -> None:
    model = new_model(ModelParams(d_model=8, n_layers=1, vocab_size=200), dataset)
    model.save_pretrained(tmp_path)
    seal(tmp_path)
    assert SRT.from_pretrained(tmp_path).params == model.params

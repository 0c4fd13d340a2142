"""What is exported against torch, and served by an example that knows no srtlib."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from srtlib.data.cache import hashes
from srtlib.data.dataset import Dataset
from srtlib.model.folder import items_table
from srtlib.model.making import new_model
from srtlib.params import ModelParams
from srtlib.paths import project_root
from srtlib.serving.export import UserTower, export_model
from srtlib.serving.recommender import Recommender

SMALL = {"d_model": 8, "n_layers": 2, "n_heads": 2, "max_len": 10, "vocab_size": 200}
KINDS: list[dict[str, Any]] = [
    {},
    {"positions": "rotary", "temperature": 0.05, "qk_norm": True, "feed_forward": "swiglu", "norm": "post"},
    {"neighbours": True, "vector_dim": 4},
]
HISTORIES = {"ann": ["i3"], "bob": ["i5", "i9", "i5", "i30"], "cy": [f"i{n}" for n in range(25)]}


@pytest.fixture(scope="module", params=KINDS, ids=["plain", "all that is optional", "neighbours"])
def exported(request: pytest.FixtureRequest, dataset: Dataset, tmp_path_factory: Any) -> tuple[Recommender, Path]:
    pytest.importorskip("onnxscript", reason="the extra srtlib[export] is not installed")
    dataset = dataset.with_vectors(np.random.default_rng(0).standard_normal((dataset.n_items, 4)).astype(np.float32))
    model = new_model(ModelParams(**SMALL, **request.param), dataset, seed=1)
    model.move_to(dataset)
    if model.neighbours is not None:
        model.neighbours.weight.fill_(2.0)
        model.neighbours.decay.fill_(0.5)
    items = items_table(dataset, dataset)
    items["title"] = [f"{title} {'red blue green'.split()[n % 3] * (n + 1)}" for n, title in enumerate(items["title"])]
    recommender = Recommender(model, items)
    folder = tmp_path_factory.mktemp("model")
    recommender.save(folder)
    return recommender, export_model(folder, tmp_path_factory.mktemp("exported") / "out")


def test_the_tower_says_what_torch_says(exported: tuple[Recommender, Path]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra srtlib[export] is not installed")
    recommender, folder = exported
    session = onnxruntime.InferenceSession(folder / "user_tower.onnx")
    generator = torch.Generator().manual_seed(0)
    for n_users, length in ((1, 1), (1, 10), (7, 4), (32, 10)):
        history = recommender.vectors[torch.randint(40, (n_users, length), generator=generator)]
        lengths = torch.randint(1, length + 1, (n_users,), generator=generator)
        (query,) = session.run(None, {"history": history.numpy(), "lengths": lengths.numpy()})
        with torch.no_grad():
            alone = [UserTower(recommender.model)(h[None, :n], n[None]) for h, n in zip(history, lengths, strict=True)]
        np.testing.assert_allclose(query, torch.cat(alone), rtol=1e-5, atol=1e-5)


def test_files_hold_the_catalogue_and_their_hashes(exported: tuple[Recommender, Path]) -> None:
    recommender, folder = exported
    manifest = json.loads((folder / "manifest.json").read_text())
    found = hashes(folder)
    assert found.pop("manifest.json")
    assert manifest["sha256"] == found
    assert (manifest["opset"], manifest["max_len"], manifest["n_items"]) == (18, 10, 40)
    vectors = np.load(folder / "item_vectors.npy")
    np.testing.assert_array_equal(vectors, recommender.vectors)
    table = pd.read_parquet(folder / "items.parquet")
    np.testing.assert_array_equal(np.stack(table["item_vector"]), vectors)
    assert table["item_id"].tolist() == json.loads((folder / "item_ids.json").read_text())
    pd.testing.assert_frame_equal(table.drop(columns="item_vector"), recommender.items, check_dtype=False)


@pytest.mark.parametrize(("name", "served"), [("serve", "Server"), ("serve_faiss", "FaissServer")])
def test_the_example_serves_the_same_without_srtlib(exported: tuple[Recommender, Path], name: str, served: str) -> None:
    pytest.importorskip("onnxruntime", reason="the extra srtlib[export] is not installed")
    if name == "serve_faiss":
        pytest.importorskip("faiss", reason="the extra srtlib[faiss] is not installed")
    recommender, folder = exported
    code = f"""
import json, sys
from pathlib import Path
sys.path.insert(0, {str(project_root() / "tests" / "examples")!r})
from {name} import {served}
server = {served}(Path({str(folder)!r}))
print(json.dumps([server.recommend(history, 5) for history in {list(HISTORIES.values())!r}]))
assert not {{"srtlib", "torch"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    expected = recommender.recommend(HISTORIES, 5)
    assert json.loads(done.stdout) == [expected["item_id"][expected["user"] == user].tolist() for user in HISTORIES]


def test_nothing_is_written_over_and_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxscript", None)
        with pytest.raises(ImportError, match=r'export needs ONNX: pip install "srtlib\[export\]"'):
            export_model(tmp_path, tmp_path / "new")
    pytest.importorskip("onnxscript", reason="the extra srtlib[export] is not installed")
    with pytest.raises(FileExistsError, match="is there already; expected the path of a new folder"):
        export_model(tmp_path, tmp_path)
    with pytest.raises(FileNotFoundError, match="is not a model folder"):
        export_model(tmp_path, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []

"""A model as files that need neither srtlib nor torch.

    user_tower.onnx    history [users, length, D] and lengths [users] -> query [users, D] (float32, int64 -> float32)
    item_vectors.npy   float32 [I, D]; an item's score for a user is the inner product of the two vectors
    item_ids.json      their ids, in the same order
    items.parquet      the catalogue as the model's folder has it, and `item_vector`
    manifest.json      opset, shapes, the longest history, what the model was, and the SHA-256 of each file

A history is the vectors of a user's items, oldest first, filled up with anything at its end; at most `max_len` of them.
"""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from srtlib.data.cache import hashes
from srtlib.model.folder import weights_sha256
from srtlib.model.packing import Layout
from srtlib.model.srt import SRT
from srtlib.paths import make_folder, write_text
from srtlib.serving.recommender import Recommender

OPSET = 18
TOWER, VECTORS, IDS, ITEMS, MANIFEST = (
    "user_tower.onnx",
    "item_vectors.npy",
    "item_ids.json",
    "items.parquet",
    "manifest.json",
)


class UserTower(nn.Module):
    """What the transformer says after each history.

    >>> from srtlib.params import ModelParams
    >>> tower = UserTower(SRT(ModelParams(d_model=8, n_layers=1, encoder="item_ids", n_items=5)))
    >>> tower(torch.zeros(2, 3, 8), torch.tensor([3, 1])).shape
    torch.Size([2, 8])
    """

    def __init__(self, model: SRT) -> None:
        super().__init__()
        self.model = model

    def forward(self, history: Tensor, lengths: Tensor) -> Tensor:
        """Query vectors, float [users, D].

        Args:
            history: float [users, length, D], item vectors, oldest first; what follows a user's own does not matter.
            lengths: int64 [users], how many are the user's own, at least one.
        """
        n, length, width = history.shape
        positions = torch.arange(length, device=history.device).expand(n, length).reshape(-1)
        outputs = self.model(history.reshape(-1, width), Layout.buckets([(n, length)], positions))
        return outputs.view(n, length, width)[torch.arange(n, device=history.device), lengths - 1]


def export_model(folder: Path | str, out: Path | str) -> Path:
    """Write a model and its catalogue for serving elsewhere, all files or none. Needs the extra `export`.

    Args:
        folder: of the model.
        out: a folder that is not there yet.

    Returns:
        The new folder.

    Raises ImportError without the extra, FileExistsError where `out` is there, and what `Recommender.load` raises.
    """
    _require_onnx()
    out = Path(out)
    if out.exists():
        raise FileExistsError(f"{out} is there already; expected the path of a new folder")
    recommender = Recommender.load(folder)
    return make_folder(out, lambda aside: _write(recommender, aside))


def _write(recommender: Recommender, folder: Path) -> None:
    model, items = recommender.model, recommender.items
    vectors = recommender.vectors.cpu().numpy().astype(np.float32)
    _write_tower(UserTower(model).eval(), vectors.shape[1], folder / TOWER)
    np.save(folder / VECTORS, vectors)
    write_text(folder / IDS, json.dumps(items["item_id"].tolist(), ensure_ascii=False))
    items.assign(item_vector=list(vectors)).to_parquet(folder / ITEMS, index=False, compression="zstd")
    manifest = {
        "format": "srtlib-export-1",
        "opset": OPSET,
        "inputs": {"history": ["users", "length", vectors.shape[1]], "lengths": ["users"]},
        "outputs": {"query": ["users", vectors.shape[1]]},
        "score": "inner product of query and item vector",
        "max_len": model.params.max_len,
        "n_items": len(items),
        "model": model.params.model_dump(),
        "weights_sha256": weights_sha256(model.state_dict()),
        "sha256": hashes(folder),
    }
    write_text(folder / MANIFEST, json.dumps(manifest, indent=2))


def _write_tower(tower: UserTower, width: int, path: Path) -> None:
    free = torch.export.Dim.DYNAMIC
    example = torch.zeros(3, 2, width), torch.tensor([2, 1, 2])  # sizes that differ are not taken for one
    with _quiet():
        torch.onnx.export(
            tower,
            example,
            path,
            input_names=["history", "lengths"],
            output_names=["query"],
            dynamic_shapes={"history": {0: free, 1: free}, "lengths": {0: free}},
            opset_version=OPSET,
            external_data=False,
            dynamo=True,
            verbose=False,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporter says of packages that it looks for, and of its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(f'{error}: export needs ONNX: pip install "srtlib[export]"') from None

"""Trains one peer, in slices, in the environment that peers.py made for it: python peer_worker.py PEER FOLDER.

Each line on stdin asks for so many seconds of training (processor time of this process); each answer on stdout is a
JSON object with what was done since the last one: targets, cpu_s, wall_s. The line "vectors" writes FOLDER/PEER.npz:
outputs [users, D] for everyone's history before the validation target, and vectors [items, D] (nan where the peer knows
no such item).

A target is one next-item prediction that the peer's own loss supervises.
"""

import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

WIDTH, LAYERS, HEADS, LENGTH = 64, 2, 1, 50
NEVER = 10**6  # epochs: training ends with the worker


class Sliced:
    """Called after every batch of a peer's own training loop; holds the loop up between slices."""

    def __init__(self, folder: Path, peer: str) -> None:
        self.answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # what the libraries print is no answer
        self.path = folder / f"{peer}.npz"
        self.vectors: Callable[[], tuple[np.ndarray, np.ndarray]] | None = None
        self.targets, self.seconds = 0, 0.0

    def begin(self) -> None:
        """Wait for the next order."""
        for order in sys.stdin:
            if order.strip() != "vectors":
                self.seconds, self.targets = float(order), 0
                self.cpu, self.wall = time.process_time(), time.perf_counter()
                return
            assert self.vectors is not None
            outputs, vectors = self.vectors()
            np.savez(self.path, outputs=outputs, vectors=vectors)
            self._answer({})
        os._exit(0)

    def batch(self, targets: int) -> None:
        """One batch is learnt from."""
        self.targets += targets
        cpu, wall = time.process_time() - self.cpu, time.perf_counter() - self.wall
        if cpu >= self.seconds:
            self._answer({"targets": self.targets, "cpu_s": cpu, "wall_s": wall})
            self.begin()

    def _answer(self, answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=self.answers, flush=True)


def rectools(folder: Path, loss: str, sliced: Sliced) -> None:
    """RecTools' SASRecModel: every position of a padded sequence is supervised."""
    from pytorch_lightning import Callback, Trainer
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    sequences, _ = read(folder)
    training = [sequence[:-2] for sequence in sequences]
    lengths = [len(sequence) for sequence in training]
    log = pd.DataFrame(
        {Columns.User: np.repeat(np.arange(len(training)), lengths), Columns.Item: np.concatenate(training)}
    )
    log[Columns.Weight] = 1
    log[Columns.Datetime] = pd.to_datetime(np.concatenate([*map(np.arange, lengths)]), unit="s")

    class Hold(Callback):
        def on_train_start(self, trainer: Any, module: Any) -> None:
            known = model.data_preparator.item_id_map.to_internal
            own = np.array([known.get(item, 0) for item in range(int(max(map(np.max, sequences))) + 1)])
            sliced.vectors = lambda: vectors(module, own)
            sliced.begin()

        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            sliced.batch(int((batch["y"] != 0).sum()))

    @torch.no_grad()
    def vectors(module: Any, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        module.eval()
        embeddings = module.torch_model.item_model.get_all_embeddings()
        x = np.zeros((len(training), LENGTH), dtype=np.int64)
        for row, sequence in zip(x, training, strict=True):
            row[-min(LENGTH, len(sequence)) :] = own[sequence[-LENGTH:]]
        outputs = [
            module.torch_model.encode_sessions({"x": part}, embeddings)[:, -1] for part in torch.as_tensor(x).split(512)
        ]
        items = embeddings.numpy()[own]
        items[own == 0] = np.nan
        module.train()
        return torch.cat(outputs).numpy(), items

    def trainer() -> Trainer:
        return Trainer(
            max_epochs=NEVER, accelerator="cpu", callbacks=[Hold()], logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip

    model = SASRecModel(
        n_blocks=LAYERS, n_heads=HEADS, n_factors=WIDTH, session_max_len=LENGTH, loss=loss, n_negatives=100,
        get_trainer_func=trainer,
    )  # fmt: skip
    model.fit(Dataset.construct(log))


def recbole(folder: Path, name: str, sliced: Sliced) -> None:
    """RecBole's SASRec or SASRecF: one padded sample per target, full softmax over the items."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    sequences, categories = read(folder)
    data = folder / "recbole"
    data.mkdir(exist_ok=True)
    lengths = [len(sequence) for sequence in sequences]
    log = pd.DataFrame(
        {
            "user_id:token": np.repeat(np.arange(len(sequences)), lengths),
            "item_id:token": np.concatenate(sequences),
            "timestamp:float": np.concatenate([*map(np.arange, lengths)]),
        }
    )
    log.to_csv(data / "recbole.inter", sep="\t", index=False)
    items = pd.DataFrame({"item_id:token": np.arange(len(categories)), "categories:token_seq": categories})
    items.to_csv(data / "recbole.item", sep="\t", index=False)
    settings = {
        "data_path": str(folder),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "categories"]},
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
        "train_neg_sample_args": None,
        "n_layers": LAYERS, "n_heads": HEADS, "hidden_size": WIDTH, "inner_size": WIDTH,
        "MAX_ITEM_LIST_LENGTH": LENGTH, "selected_features": ["categories"],
        "use_gpu": False, "show_progress": False, "checkpoint_dir": str(folder / "saved"),
    }  # fmt: skip
    argv, sys.argv = sys.argv, sys.argv[:1]  # which RecBole would read
    config = Config(model=name, dataset="recbole", config_dict=settings)
    sys.argv = argv
    init_seed(config["seed"], reproducibility=True)
    dataset = create_dataset(config)
    train_data, _, _ = data_preparation(config, dataset)
    model = get_model(name)(config, train_data.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], name)(config, model)
    own = dataset.token2id("item_id", [str(item) for item in range(len(categories))])

    class Held:
        """The training data, whose batches are counted when the loop asks for the next one."""

        def __iter__(self) -> Iterator[Any]:
            for interaction in train_data:
                yield interaction
                sliced.batch(len(interaction))

        def __getattr__(self, attribute: str) -> Any:
            return getattr(train_data, attribute)

    @torch.no_grad()
    def vectors() -> tuple[np.ndarray, np.ndarray]:
        model.eval()
        x, n = np.zeros((len(sequences), LENGTH), dtype=np.int64), []
        for row, sequence in zip(x, sequences, strict=True):
            recent = own[sequence[:-2][-LENGTH:]]
            row[: len(recent)] = recent
            n.append(len(recent))
        parts = zip(torch.as_tensor(x).split(512), torch.tensor(n).split(512), strict=True)
        outputs = torch.cat([model(part, length) for part, length in parts])
        model.train()
        return outputs.numpy(), model.item_embedding.weight.numpy()[own]

    sliced.vectors = vectors
    sliced.begin()
    for epoch in range(NEVER):
        trainer._train_epoch(Held(), epoch)


def read(folder: Path) -> tuple[list[np.ndarray], list[str]]:
    """Items of each user in order of time, and each item's categories (words)."""
    with np.load(folder / "data.npz") as data:
        sequences = np.split(data["items"], data["offsets"][1:-1])
    return sequences, json.loads((folder / "categories.json").read_text())


PEERS: dict[str, Callable[[Path, Sliced], None]] = {
    "RecTools SASRec, sampled softmax": lambda folder, sliced: rectools(folder, "sampled_softmax", sliced),
    "RecTools SASRec, full softmax": lambda folder, sliced: rectools(folder, "softmax", sliced),
    "RecBole SASRec": lambda folder, sliced: recbole(folder, "SASRec", sliced),
    "RecBole SASRecF": lambda folder, sliced: recbole(folder, "SASRecF", sliced),
}


def main() -> None:
    peer, folder = sys.argv[1], Path(sys.argv[2])
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    os.chdir(folder)  # some of them write to the current directory
    PEERS[peer](folder, Sliced(folder, peer))


if __name__ == "__main__":
    main()

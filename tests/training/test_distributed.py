"""Training on two processes (gloo) against training on one."""

import os
import subprocess
import sys

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from srtlib.data.dataset import Dataset
from srtlib.params import Recipe
from srtlib.training.losses import NegativeSampler
from srtlib.training.trainer import mixed_seed

STEP = """
import sys, torch
from pathlib import Path
from safetensors.torch import save_file
torch.set_num_threads(1)
from srtlib.training import distributed
from srtlib.data.loading import load_dataset
from srtlib.params import Recipe
from srtlib.training.trainer import Trainer

recipe, folder, out = Recipe.model_validate_json(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
device = distributed.setup(torch.device("cpu"))

def trainer():
    return Trainer(recipe, load_dataset(folder), load_dataset(folder), out, None, None, device)

given = trainer()
given.sampler.draw = lambda shape: torch.arange(*shape)
given.step(given.epoch())
found = {name: p.grad for name, p in given.model.named_parameters()}

usual, drawn = trainer(), []
draw = usual.sampler.draw
usual.sampler.draw = lambda shape: drawn.append(draw(shape)) or drawn[-1]
epoch = usual.epoch()
usual.step(epoch)
usual.step(epoch)
found |= {"negatives": torch.stack(drawn), "loss": torch.tensor([given.at.loss_sum])}
save_file(found, out / f"{distributed.rank()}.safetensors")
"""


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory, tables: tuple[pd.DataFrame, pd.DataFrame]) -> dict[str, dict]:
    """What a process of one, and each process of two, found in the same first step."""
    folder, script = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("script") / "step.py"
    for table, stem in zip(tables, ("interactions", "items"), strict=True):
        table.to_parquet(folder / f"{stem}.parquet")
    script.write_text(STEP)
    recipe = Recipe.model_validate(
        {
            "name": "tiny",
            "model": {"d_model": 8, "n_layers": 2, "n_heads": 2, "dropout": 0.0, "max_len": 10, "vocab_size": 200},
            "train": {"batch_size": 96, "n_negatives": 16, "clip_norm": 1e9},
        }
    )
    found = {}
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for name, launch in {"one": [], "two": launcher}.items():
        out = tmp_path_factory.mktemp(name)
        command = [sys.executable, *launch, str(script), recipe.model_dump_json(), str(folder), str(out)]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        found |= {f"{name}-{path.stem}": load_file(path) for path in out.iterdir()}
    return found


def test_gradients_equal_those_of_one_process_on_the_same_batch(steps: dict[str, dict]) -> None:
    """Same negatives on every process; and both processes hold the same gradient."""
    alone = steps["one-0"]
    for name in alone.keys() - {"negatives"}:
        torch.testing.assert_close(steps["two-0"][name], alone[name], atol=1e-6, rtol=1e-4)
        assert torch.equal(steps["two-0"][name], steps["two-1"][name])
    assert max(float(g.abs().max()) for name, g in alone.items() if name != "negatives") > 1e-2


def test_negatives_differ_between_processes_and_steps_from_one_seed(steps: dict[str, dict], dataset: Dataset) -> None:
    first, second = (steps[f"two-{rank}"]["negatives"] for rank in (0, 1))
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])
    assert torch.equal(first, steps["one-0"]["negatives"])
    sampler = NegativeSampler(dataset.train_counts, "popularity")
    for step in (0, 1):
        torch.manual_seed(mixed_seed(0, step, 2 + 1))  # the second process's
        assert torch.equal(second[step], sampler.draw((16,)))

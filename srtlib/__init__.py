"""srtlib: scaling sequential recommendation models with transformers.

The public names load when first used, so that `srtlib.runs` and `srtlib.laws` import without torch.

>>> import srtlib
>>> srtlib.load_dataset("synthetic").n_items
5000
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from srtlib.data.dataset import Dataset, concatenate, load_dataset, synthetic_world
    from srtlib.data.importing import import_data
    from srtlib.evaluate import evaluate
    from srtlib.model import SRT
    from srtlib.params import ModelParams, Recipe, TrainParams, check_parameters, load_params
    from srtlib.recommend import Recommender
    from srtlib.sweep import Experiment, scaling_experiments, subsets, sweep
    from srtlib.train import new_model, train
    from srtlib.transfer import Method, adapt, fine_tune

_HOMES = {
    "srtlib.data.dataset": ("Dataset", "concatenate", "load_dataset", "synthetic_world"),
    "srtlib.data.importing": ("import_data",),
    "srtlib.evaluate": ("evaluate",),
    "srtlib.model": ("SRT",),
    "srtlib.params": ("ModelParams", "Recipe", "TrainParams", "check_parameters", "load_params"),
    "srtlib.recommend": ("Recommender",),
    "srtlib.sweep": ("Experiment", "scaling_experiments", "subsets", "sweep"),
    "srtlib.train": ("new_model", "train"),
    "srtlib.transfer": ("Method", "adapt", "fine_tune"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = ("estimators", "figures", "flops", "frontiers", "laws", "losses", "params", "runs")

__all__ = [
    "SRT",
    "Dataset",
    "Experiment",
    "Method",
    "ModelParams",
    "Recipe",
    "Recommender",
    "TrainParams",
    "adapt",
    "check_parameters",
    "concatenate",
    "evaluate",
    "fine_tune",
    "import_data",
    "load_dataset",
    "load_params",
    "new_model",
    "scaling_experiments",
    "subsets",
    "sweep",
    "synthetic_world",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(import_module(_HOME_OF[name]), name)
    if name in _MODULES:
        return import_module(f"srtlib.{name}")
    raise AttributeError(f"module 'srtlib' has no attribute {name!r}")


class _Package(ModuleType):
    """`srtlib.train` is the function, also once the module srtlib.train has been imported (which would bind itself)."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (isinstance(value, ModuleType) and name in _HOME_OF):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

"""Models that have learnt nothing yet."""

import torch

from srtlib.data.dataset import Dataset
from srtlib.data.text import dataset_tokenizer
from srtlib.model.srt import SRT
from srtlib.params import ModelParams


def new_model(params: ModelParams, dataset: Dataset, seed: int = 0) -> SRT:
    """A freshly initialised SRT whose tokenizer is learnt from the data set's text."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if params.encoder != "token_bag":
            return SRT(params)
        return SRT(params, dataset_tokenizer(dataset, params.vocab_size, params.words_first))

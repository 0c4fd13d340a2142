"""Models that have learnt nothing yet."""

import torch

from srtlib.data.dataset import Dataset
from srtlib.data.text import dataset_tokenizer
from srtlib.model.encoders import encoder_class
from srtlib.model.origin import Origin
from srtlib.model.srt import SRT
from srtlib.params import ModelParams


def new_model(params: ModelParams, dataset: Dataset, seed: int = 0) -> SRT:
    """A freshly initialised SRT for a data set.

    Args:
        params: the architecture.
        dataset: whose text the tokenizer, if the model needs one, is learnt from.
        seed: of the weights.
    """
    tokenizer = None
    if "tokenizer" in encoder_class(params).needs:
        tokenizer = dataset_tokenizer(dataset, params.vocab_size, params.words_first)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SRT(params, tokenizer)
    model.origin = Origin.of(dataset)
    return model

"""Models that have learnt nothing yet."""

import torch

from srtlib.data.dataset import Dataset
from srtlib.data.text import dataset_tokenizer
from srtlib.model.encoders import encoder_class
from srtlib.model.origin import Origin
from srtlib.model.srt import SRT
from srtlib.params import ModelParams

MOST_LAYERS, MOST_PARAMS = 1_000, 10**10  # the weights alone of so many parameters take 40 GB


def check_size(params: ModelParams) -> None:
    """Raise ValueError for a model that no machine would end building."""
    rows = params.vocab_size * len(params.fields) + params.n_items + params.max_len
    n_params = params.d_model * (rows + params.n_layers * (4 * params.d_model + 2 * params.d_ff))
    if params.n_layers > MOST_LAYERS or n_params > MOST_PARAMS:
        raise ValueError(
            f"d_model={params.d_model}, n_layers={params.n_layers} make about {n_params:.0e} parameters; "
            f"expected at most {MOST_PARAMS:.0e}, and {MOST_LAYERS:,} layers"
        )


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
    model.encoder.fit(dataset)
    model.origin = Origin.of(dataset)
    return model

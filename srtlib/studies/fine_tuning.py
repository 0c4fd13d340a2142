"""Transfer (claim 6 of the paper): a pre-trained SRT knows items by their text, so it moves to another catalogue.

Nothing is re-mapped: the model takes its own tokenizer along, and words that it never saw fall into pieces that it
knows. What is trained on the target, and how fast, is a `Method`.
"""

import copy
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from srtlib.data.dataset import Dataset
from srtlib.data.text import UNKNOWN, dataset_tokenizer
from srtlib.evaluation import evaluate
from srtlib.model.folder import weights_sha256
from srtlib.model.packing import Sequences
from srtlib.model.srt import SRT, is_table
from srtlib.params import FineTuning, Recipe, TrainParams
from srtlib.training.identity import Tuning, config_of
from srtlib.training.losses import NegativeSampler
from srtlib.training.objective import Objective
from srtlib.training.provenance import record_untrained
from srtlib.training.trainer import train

Fisher = dict[str, Tensor]


class Method(StrEnum):
    """What is trained on the target.

    zero_shot: nothing. full: everything. embeddings_only: the item encoder. frozen_encoder: everything but the item
    encoder. progressive: the top block first, one more after every few epochs, the item encoder last. ewc: everything,
    held near the pre-trained weights where these matter to the source (elastic weight consolidation, Kirkpatrick et
    al. 2017). from_scratch: the same architecture from random weights, with a tokenizer of the target's own.
    """

    ZERO_SHOT = "zero_shot"
    FULL = "full"
    EMBEDDINGS_ONLY = "embeddings_only"
    FROZEN_ENCODER = "frozen_encoder"
    PROGRESSIVE = "progressive"
    EWC = "ewc"
    FROM_SCRATCH = "from_scratch"


def adapt(model: SRT, dataset: Dataset) -> SRT:
    """A copy of a pre-trained model that is ready to score, or be trained on, another catalogue.

    Text fields that the catalogue lacks read "unknown".

    Args:
        model: stays as it is.
        dataset: with the other catalogue.

    Raises ValueError where the model cannot read the catalogue: one of item IDs, or one of fixed vectors that the data
    set has not.
    """
    model.features(dataset)
    moved = copy.deepcopy(model)
    moved.move_to(dataset)
    return moved


def retokenise(model: SRT, dataset: Dataset) -> SRT:
    """The same model with a tokenizer of a data set's own text.

    Each new piece starts as the sum of the old pieces that spell it. Bags of pieces are summed, so an item's vector
    hardly changes, but the words of the catalogue that the old tokenizer broke up have vectors of their own from here.

    Args:
        model: stays as it is.
        dataset: whose text the tokenizer is learnt from.

    Raises ValueError for a model without a tokenizer.
    """
    if model.tokenizer is None:
        raise ValueError(f"encoder {model.params.encoder!r} has no vocabulary; expected one that reads words")
    tokenizer = dataset_tokenizer(dataset, model.params.vocab_size, model.params.words_first)
    vocabulary = tokenizer.get_vocab()
    pieces = sorted(vocabulary, key=vocabulary.__getitem__)
    spelt = [_spell(model.tokenizer, piece) for piece in pieces]
    ids = torch.tensor([i for old in spelt for i in old])
    starts = torch.tensor([0, *(len(old) for old in spelt[:-1])]).cumsum(0)
    weights = {
        name: F.embedding_bag(ids, w, starts, mode="sum") if is_table(name) else w
        for name, w in model.state_dict().items()
    }
    new = SRT(model.params, tokenizer)
    new.load_state_dict(weights)
    return new


def _spell(tokenizer: Tokenizer, piece: str) -> list[int]:
    """The pieces of a tokenizer that spell a piece of another one (its mark of a word's start included)."""
    if piece == UNKNOWN:
        return [tokenizer.get_vocab()[UNKNOWN]]
    return [token.id for token in tokenizer.model.tokenize(piece)]


def fine_tune(
    model: SRT,
    dataset: Dataset,
    store: Path,
    params: TrainParams,
    method: Method | str = Method.FULL,
    options: FineTuning | None = None,
    source: Dataset | None = None,
    panel: Dataset | None = None,
    pretraining: Mapping[str, Any] | None = None,
    progress_bar: bool = True,
    device: str | None = None,
) -> tuple[SRT, dict[str, Any]]:
    """Carry a pre-trained model over to `dataset` by one method, as a run of the store; as `train` otherwise.

    Args:
        model: the pre-trained one; it stays as it is.
        dataset: the target, which is trained on.
        store: of the runs.
        params: the training on the target, early stopping (`patience`) among it; its best checkpoint on validation is
            kept, and tested.
        method: what is trained, and how.
        options: of the methods (default: as `FineTuning` has them).
        source: what the model was pre-trained on (ewc only).
        panel: whose users and catalogue the run is judged on (default: `dataset`).
        pretraining: what to record of it, its FLOPs above all; the run's own `flops` are those of the fine-tuning
            alone.
        progress_bar: show how far it is.
        device: of the training, as for `train`.

    Returns:
        The tuned model, and the run's summary.

    Raises ValueError for a method that is not known, and for ewc without a source.
    """
    method, options = parse_method(method), options or FineTuning()
    recipe = Recipe(name=method, model=model.params, train=params)
    if method is Method.FROM_SCRATCH:
        tuning = Tuning({"method": method})
        return train(recipe, dataset, store, panel, tuning, device=device, progress_bar=progress_bar)
    record = {"method": method, "start": fingerprint(model), **(pretraining or {}), **_options(method, options)}
    model = retokenise(model, panel or dataset) if options.own_vocabulary else adapt(model, dataset)
    if method is Method.ZERO_SHOT:
        return model, _zero_shot(model, recipe, dataset, panel or dataset, store, record)
    if model.neighbours is not None:
        model.neighbours.weight.zero_()  # it is weighed anew when training has ended
    penalty = None
    if method is Method.EWC:
        if source is None:
            raise ValueError("method ewc needs the source that the model was pre-trained on")
        fisher = diagonal_fisher(model, source, params, options.fisher_examples)
        penalty = ewc_penalty(model, fisher, options.ewc_lambda)
    tuning = Tuning(record, model, learning_rates(method, model.params.n_layers, options), penalty)
    return train(recipe, dataset, store, panel, tuning, device=device, progress_bar=progress_bar)


def parse_method(name: str) -> Method:
    """The method of that name.

    >>> parse_method("half")
    Traceback (most recent call last):
    ...
    ValueError: method 'half' is not known; expected one of zero_shot, full, embeddings_only, frozen_encoder, \
progressive, ewc, from_scratch
    """
    try:
        return Method(name)
    except ValueError:
        raise ValueError(f"method {name!r} is not known; expected one of {', '.join(Method)}") from None


def learning_rates(method: Method, n_layers: int, options: FineTuning) -> Callable[[str, int], float]:
    """Learning-rate factor of a part of the model in an epoch; 0 is frozen.

    Args:
        method: what is trained.
        n_layers: of the model.
        options: epochs per layer (progressive), and how the rate decays from layer to layer.

    Returns:
        (part as `part_of` names it, epoch from 0) -> factor.

    >>> rate = learning_rates(Method.PROGRESSIVE, 2, FineTuning(epochs_per_layer=3))
    >>> [[rate(part, epoch) for epoch in (0, 3, 6)] for part in ("blocks.1", "blocks.0", "encoder.tables")]
    [[1.0, 1.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]
    """

    def rate(part: str, epoch: int) -> float:
        below_top = n_layers - _depth(part, n_layers)
        in_encoder = part.startswith("encoder.")
        frozen = (
            (method is Method.EMBEDDINGS_ONLY and not in_encoder)
            or (method is Method.FROZEN_ENCODER and in_encoder)
            or (method is Method.PROGRESSIVE and epoch < below_top * options.epochs_per_layer)
        )
        return 0.0 if frozen else options.layer_decay**below_top

    return rate


def _depth(part: str, n_layers: int) -> int:
    """0 for what is below the first block (item encoder, positions), i + 1 for block i; the final norm goes with the
    last."""
    if part.startswith("blocks."):
        return int(part.removeprefix("blocks.")) + 1
    return n_layers if part == "final_norm" else 0


def diagonal_fisher(model: SRT, source: Dataset, params: TrainParams, n_examples: int, seed: int = 0) -> Fisher:
    """Diagonal of the empirical Fisher information of the source at the model's weights, by parameter name.

    The mean over examples of the squared gradient of each example's own loss: one history and its next item. (The
    square of a batch's mean gradient, as in the authors' code, is another thing, and smaller by about the batch size.)

    Args:
        model: pre-trained on the source.
        source: whose training part gives the examples.
        params: the objective and the negatives.
        n_examples: how many, at most.
        seed: of which ones, and of their negatives.
    """
    generator = torch.Generator().manual_seed(seed)
    objective = Objective(model, model.features(source), source.n_items, params)
    sampler = NegativeSampler.of(source, params, model.device)
    trained_on = source.items, source.offsets, source.train_ends
    epoch = Sequences(*trained_on, model.params.max_len, model.device).epoch("last", 1, generator)
    n_examples = min(n_examples, len(epoch))
    fisher = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    model.eval()
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # the negatives
        for i in range(n_examples):
            batch = epoch.batch(i)
            loss, _ = objective(batch, *objective.draw(sampler, batch.targets))
            gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
            for square, gradient in zip(fisher.values(), gradients, strict=True):
                if gradient is not None:
                    square.addcmul_(gradient, gradient, value=1 / n_examples)
    return fisher


def ewc_penalty(model: SRT, fisher: Fisher, strength: float) -> Callable[[SRT], Tensor]:
    """strength / 2 x the sum over weights of Fisher x (weight - its value now)^2.

    Args:
        model: with the weights that are to be held near.
        fisher: by parameter name, as from `diagonal_fisher`.
        strength: lambda of the penalty.

    Returns:
        The penalty of a model that has moved, a scalar.
    """
    anchor = {name: p.detach().clone() for name, p in model.named_parameters()}

    def penalty(moved: SRT) -> Tensor:
        terms = [(fisher[name] * (p - anchor[name]).square()).sum() for name, p in moved.named_parameters()]
        return strength / 2 * torch.stack(terms).sum()

    return penalty


def shared_items(source: Dataset, target: Dataset) -> pd.DataFrame:
    """Items of the target that the source has too: item_id, title, and the training interactions that the source has of
    them (source_interactions).

    Args:
        source: what a model was pre-trained on.
        target: what it is carried over to.
    """
    counts = pd.Series(source.train_counts, index=source.catalogue["item_id"], name="source_interactions")
    return target.catalogue[["item_id", "title"]].join(counts, on="item_id", how="inner").reset_index(drop=True)


def fingerprint(model: SRT) -> str:
    """12 hex digits that change with any weight of the model."""
    return weights_sha256(model.state_dict())[:12]


def _options(method: Method, options: FineTuning) -> dict[str, Any]:
    """The options that the method heeds."""
    heeded = {"layer_decay", "own_vocabulary"} if method is not Method.ZERO_SHOT else set()
    heeded |= {Method.PROGRESSIVE: {"epochs_per_layer"}, Method.EWC: {"ewc_lambda", "fisher_examples"}}.get(
        method, set()
    )
    return options.model_dump(include=heeded)


def _zero_shot(
    model: SRT, recipe: Recipe, dataset: Dataset, judged_on: Dataset, store: Path, record: dict[str, Any]
) -> dict[str, Any]:
    config = config_of(dataset, recipe, judged_on, Tuning(record))
    return record_untrained(
        store,
        config,
        lambda split, exclude_seen: evaluate(model, judged_on, split, recipe.train.protocol, exclude_seen=exclude_seen),
        model.parameter_counts(),
    )

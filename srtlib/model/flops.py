"""Training FLOPs of a configuration: exact, and as the authors count them.

Exact means every matrix product of forward and backward pass (a multiply-accumulate is two FLOPs) and the
additions of the embedding bags. LayerNorm, softmax and other elementwise work is left out, as is usual.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, Union

if TYPE_CHECKING:
    from srtlib.params import ModelParams

Parts: TypeAlias = Mapping[str, Union[int, "Parts"]]  # FLOPs by module, from the lowest up; a mapping: a branch


@dataclass(frozen=True)
class BatchShape:
    """What one batch computes on.

    tokens: packed tokens T; attention_pairs: query-key pairs; encoder: FLOPs of encoding the batch's items
    (`ItemEncoder.flops`); scored_pairs: (position, item) scores of the objective: S K for sampled negatives, S I for
    the full softmax.
    """

    tokens: int
    attention_pairs: int
    encoder: Parts
    scored_pairs: int


def forward_flops(params: ModelParams, shape: BatchShape) -> dict[str, int]:
    """FLOPs of one forward pass, by part.

    Args:
        params: the architecture.
        shape: what the batch computes on.

    >>> from srtlib.params import ModelParams
    >>> shape = BatchShape(tokens=10, attention_pairs=100, encoder={"tables": 80, "project": 160}, scored_pairs=30)
    >>> forward_flops(ModelParams(d_model=4, n_layers=1, d_ff=4), shape)
    {'encoder.tables': 80, 'encoder.project': 160, 'attention': 2880, 'feed_forward': 640, 'scores': 240}
    """
    d, layers = params.d_model, params.n_layers
    return {
        **{f"encoder.{child}": _total(flops) for child, flops in shape.encoder.items()},
        "attention": layers * (2 * shape.tokens * 4 * d * d + 4 * shape.attention_pairs * d),
        "feed_forward": layers * 2 * _feed_forward_matrices(params) * shape.tokens * d * params.d_ff,
        "scores": 2 * shape.scored_pairs * d,
    }


def _feed_forward_matrices(params: ModelParams) -> int:
    """Matrices of D x d_ff in a layer: in and out, and the gate."""
    return 3 if params.feed_forward == "swiglu" else 2


def training_flops(params: ModelParams, shape: BatchShape, frozen: Container[str] = ()) -> int:
    """FLOPs of one training step: the backward pass costs each part's products once for the gradient of its weights,
    and once more for that of its inputs.

    Args:
        params: the architecture.
        shape: what the batch computes on.
        frozen: parts of the model (`part_of`) whose weights take no gradient; neither do inputs with nothing below them
            to train, such as fixed vectors.
    """
    parts = forward_flops(params, shape)
    backward, encoder = 0, False  # whether anything of the item encoder is trained
    for child, flops in shape.encoder.items():
        more, encoder = _backward(flops, f"encoder.{child}" not in frozen, encoder)
        backward += more
    placed = params.positions == "absolute" and "positions" not in frozen
    below = encoder or placed or "input_norm" not in frozen
    layers = params.n_layers
    mixing = 4 * layers * shape.attention_pairs * params.d_model  # products without weights: both factors take part
    linear = parts["attention"] - mixing + parts["feed_forward"]
    for i in range(layers):
        trained = f"blocks.{i}" not in frozen
        below = below or trained  # a block's own norms stand before its products
        backward += linear // layers * (trained + below) + 2 * mixing // layers * below
    backward += parts["scores"] * (encoder + (below or "final_norm" not in frozen))
    return sum(parts.values()) + backward


def _total(parts: int | Parts) -> int:
    return parts if isinstance(parts, int) else sum(map(_total, parts.values()))


def _backward(parts: int | Parts, trained: bool, below: bool) -> tuple[int, bool]:
    """FLOPs of the backward pass of a module (a branch starts from data, whatever stands below it), and whether
    anything up to it is trained."""
    if isinstance(parts, int):
        return parts * (trained + below), trained or below
    total, inner = 0, False
    for part in parts.values():
        more, inner = _backward(part, trained, inner)
        total += more
    return total, inner or below


def paper_forward_flops(params: ModelParams, batch: int = 128) -> int:
    """The authors' `forward_flops` of one batch: multiply-accumulates of linear layers counted once, and softmax
    and LayerNorm elements; no attention products, embeddings, logits or backward pass.

    Args:
        params: the architecture.
        batch: sequences, each as long as the model's longest.

    >>> from srtlib.params import ModelParams
    >>> paper_forward_flops(ModelParams(d_model=32, n_heads=1, d_ff=32))
    97753600
    """
    d, layers, length = params.d_model, params.n_layers, params.max_len
    tokens = batch * length
    linear = tokens * 2 * d * d + layers * tokens * (4 * d * d + _feed_forward_matrices(params) * d * params.d_ff)
    softmax = layers * batch * params.n_heads * length * (3 * length - 1)
    return linear + softmax + (1 + 2 * layers) * 4 * tokens * d


def paper_total_flops(params: ModelParams, n_negatives: int, batch: int = 128) -> int:
    """The authors' `total_flops` of one batch: the forward count and the encoding of targets and negatives.

    Args:
        params: the architecture.
        n_negatives: per target.
        batch: sequences, each with one target.
    """
    d = params.d_model
    return paper_forward_flops(params, batch) + (batch + batch * n_negatives) * 2 * d * d


def paper_training_flops(params: ModelParams, n_negatives: int, n_targets: int) -> int:
    """The authors' training FLOPs of one epoch: `total_flops` x targets // 128.

    Args:
        params: the architecture.
        n_negatives: per target.
        n_targets: training targets of the epoch.
    """
    return paper_total_flops(params, n_negatives) * n_targets // 128

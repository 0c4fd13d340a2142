"""Transformer layers over packed sequences. Shapes: T packed tokens, D = d_model, C tokens of a block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from srtlib.model.packing import BLOCK, Layout, visible

if TYPE_CHECKING:
    from srtlib.params import ModelParams


class Block(nn.Module):
    """One transformer layer, pre- or post-norm."""

    def __init__(self, params: ModelParams) -> None:
        super().__init__()
        d = params.d_model
        self.n_heads = params.n_heads
        self.pre_norm = params.norm == "pre"
        self.attention_dropout = params.attention_dropout
        self.qkv = nn.Linear(d, 3 * d)
        self.out = nn.Linear(d, d)
        self.gated = params.feed_forward == "swiglu"
        self.inner = nn.Linear(d, params.d_ff * (1 + self.gated))
        self.outer = nn.Linear(params.d_ff, d)
        self.attention_norm = nn.LayerNorm(d, eps=params.norm_eps)
        self.feed_forward_norm = nn.LayerNorm(d, eps=params.norm_eps)
        self.dropout = nn.Dropout(params.dropout)
        self.qk_norms = nn.ModuleList(nn.RMSNorm(d // params.n_heads, eps=1e-6) for _ in "qk" if params.qk_norm)
        self.rotary = params.positions == "rotary"

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """One layer over packed sequences.

        Args:
            x: float [T, D], the tokens.
            layout: how sequences make up the packed axis.

        Returns:
            float [T, D].
        """
        if self.pre_norm:
            x = x + self._attend(self.attention_norm(x), layout)
            return x + self._feed_forward(self.feed_forward_norm(x))
        x = self.attention_norm(x + self._attend(x, layout))
        return self.feed_forward_norm(x + self._feed_forward(x))

    def _attend(self, x: Tensor, layout: Layout) -> Tensor:
        dropout = self.attention_dropout if self.training else 0.0
        qkv = self.qkv(x)
        if self.qk_norms or self.rotary:
            q, k, v = qkv.unflatten(1, (3, self.n_heads, -1)).unbind(1)
            if self.qk_norms:
                q, k = self.qk_norms[0](q), self.qk_norms[1](k)
            if self.rotary:
                q, k = rotate(q, layout.positions), rotate(k, layout.positions)
            qkv = torch.stack([q, k, v], 1).view_as(qkv)
        return self.dropout(self.out(attend(qkv, layout, self.n_heads, dropout)))

    def _feed_forward(self, x: Tensor) -> Tensor:
        inner = self.inner(x)
        if self.gated:  # SwiGLU (Shazeer 2020)
            gate, value = inner.chunk(2, dim=1)
            return self.dropout(self.outer(F.silu(gate) * value))
        return self.dropout(self.outer(F.gelu(inner)))


def rotate(x: Tensor, positions: Tensor) -> Tensor:
    """Rotary positions: pairs of numbers turned by their place, so that products depend on distances alone (Su et al.
    2021, with the first half of a head's numbers paired with the second).

    Args:
        x: float [T, heads, width], queries or keys; the width is even.
        positions: int [T], place in the sequence.

    >>> rotate(torch.ones(1, 1, 2), torch.tensor([0])).tolist()
    [[[1.0, 1.0]]]
    """
    half = x.shape[-1] // 2
    rates = 10_000 ** -(torch.arange(half, device=x.device) / half)
    angles = (positions.unsqueeze(1) * rates).unsqueeze(1)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.split(half, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def attend(qkv: Tensor, layout: Layout, n_heads: int, dropout: float = 0.0) -> Tensor:
    """Causal self-attention within each packed sequence.

    Buckets go through dense attention, one bucket after the other. A static layout goes through blocks, or, compiled on
    a GPU, through flex_attention, which knows no dropout and no heads narrower than 16.

    Args:
        qkv: float [T, 3 D], queries, keys and values side by side.
        layout: how sequences make up the packed axis.
        n_heads: which divides D.
        dropout: share of the attention weights that are dropped.

    Returns:
        float [T, D].
    """
    if layout.mask is None:
        return _bucket_attention(qkv, layout, n_heads, dropout)
    wide = qkv.shape[1] >= 3 * n_heads * 16
    if qkv.is_cuda and torch.compiler.is_compiling() and wide and not dropout:
        return _flex_attention(qkv, layout, n_heads)
    return _block_attention(qkv, layout.mask, n_heads, dropout)


def _bucket_attention(qkv: Tensor, layout: Layout, n_heads: int, dropout: float) -> Tensor:
    d_head = qkv.shape[1] // (3 * n_heads)
    parts = []
    stretches = qkv.split([n * length for n, length in layout.groups])  # one gradient, where slices would make many
    for (n, length), stretch in zip(layout.groups, stretches, strict=True):
        if length == 1 and dropout == 0:
            parts.append(stretch[:, 2 * n_heads * d_head :])  # a lone token attends to itself
            continue
        q, k, v = stretch.view(n, length, 3, n_heads, d_head).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout)
        parts.append(mixed.transpose(1, 2).reshape(n * length, n_heads * d_head))
    return torch.cat(parts)


def _block_attention(qkv: Tensor, mask: Tensor, n_heads: int, dropout: float) -> Tensor:
    """Each block of C tokens attends to itself and to the block before: no sequence is longer than C."""
    n, _, block, _ = mask.shape
    q, kv = qkv.view(n, block, 3, n_heads, -1).permute(2, 0, 3, 1, 4).split([1, 2])
    # The first block's predecessor is the last one, which its mask hides.
    k, v = torch.cat([kv.roll(1, 1), kv], dim=3)
    mixed = F.scaled_dot_product_attention(q.squeeze(0), k, v, attn_mask=mask, dropout_p=dropout)
    return mixed.transpose(1, 2).reshape(len(qkv), -1)


def _flex_attention(qkv: Tensor, layout: Layout, n_heads: int) -> Tensor:
    """The same by flex_attention, over the blocks of 128 keys that a block of queries can see."""
    positions = layout.positions
    q, k, v = qkv.view(len(qkv), 3, n_heads, -1).permute(1, 2, 0, 3).unsqueeze(1)
    assert layout.mask is not None
    n, before = len(qkv) // BLOCK, -(-layout.mask.shape[2] // BLOCK)
    last = torch.arange(n, device=qkv.device, dtype=torch.int32)
    back = torch.arange(n, device=qkv.device, dtype=torch.int32)
    mask = BlockMask.from_kv_blocks(
        (last + 1).clamp(max=before + 1).view(1, 1, n),
        (last[:, None] - back).clamp(min=0).view(1, 1, n, n),
        BLOCK_SIZE=BLOCK,
        mask_mod=lambda batch, head, query, key: visible(query, key, positions[query]),
    )
    return flex_attention(q, k, v, block_mask=mask)[0].transpose(0, 1).reshape(len(qkv), -1)

"""The items with the highest scores: exactly, in two passes over the catalogue, or through an index of FAISS.

A score is the inner product of a query's and an item's vector. Shapes: B queries, I items, D width, n pairs.
"""

import math
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

CHUNK, BLOCK = 1024, 64  # items scored at a time, and those of which the first pass keeps only the maximum
MAXIMA = 2**24  # maxima held at a time: 64 MB
PROBES = 64  # lists of the FAISS index that a query looks into
POINTS = 64  # items for each list, from which FAISS learns where the lists lie
ADDED = 2**18  # items that FAISS takes at a time
ON_DISK = "OnDiskInvertedLists"  # FAISS has none on Windows


Pairs = tuple[Tensor, Tensor]  # (query, item) numbers, int64 [n] both


def top_k(
    queries: Tensor, vectors: Tensor, k: int, exclude: Pairs | None = None, hidden: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The items with the highest scores, exactly.

    Args:
        queries: [B, D].
        vectors: of the items, [I, D]; float16 is scored as float32.
        k: at most I.
        exclude: pairs that are not to be found.
        hidden: bool [I], items that no query is to find.

    Returns:
        Scores and indices of each query's k best items, [B, k] both, best first; -inf where fewer are left.

    The k blocks of 64 items with the highest maxima hold the k best items, so the first pass keeps maxima only
    and the second scores those blocks again. Memory is bounded whatever the catalogue and the number of queries.

    >>> top_k(torch.tensor([[1.0]]), torch.tensor([[0.5], [2.0], [1.0]]), k=2)[1].tolist()
    [[1, 2]]
    """
    rows, items = exclude or (torch.empty(0, dtype=torch.long, device=queries.device),) * 2
    n_blocks = -(-len(vectors) // BLOCK)
    at_once = max(64, min(1024, MAXIMA // n_blocks))
    found = []
    for first in range(0, len(queries), at_once):
        part = queries[first : first + at_once]
        mine = (rows >= first) & (rows < first + at_once)
        excluded = torch.unique(items[mine] * len(part) + rows[mine] - first)
        blocks = _block_maxima(part, vectors, excluded, hidden).topk(min(k, n_blocks), dim=0).indices.T
        found.append(_best_of_blocks(part, vectors, blocks, k, excluded, hidden))
    return torch.cat([scores for scores, _ in found]), torch.cat([best for _, best in found])


def _block_maxima(queries: Tensor, vectors: Tensor, excluded: Tensor, hidden: Tensor | None) -> Tensor:
    """The highest score in each block, [blocks, B]; `excluded` holds item * B + query, sorted."""
    n_queries, n_items = len(queries), len(vectors)
    chunk = CHUNK * max(1, 16 // n_queries)  # the fewer the queries, the more of the time is spent on calls
    starts = range(0, n_items, chunk)
    edges = torch.arange(0, n_items + chunk, chunk, device=queries.device) * n_queries
    bounds = torch.searchsorted(excluded, edges).tolist()
    maxima = queries.new_empty(-(-n_items // BLOCK), n_queries)
    scores = queries.new_empty(chunk, n_queries)  # one buffer: allocating it anew costs as much as filling it
    for first, low, high in zip(starts, bounds, bounds[1:], strict=False):
        n = min(chunk, n_items - first)
        out = maxima[first // BLOCK : (first + chunk) // BLOCK]
        unseen = None if hidden is None else hidden[first : first + n]
        if unseen is not None and unseen.all():
            out.fill_(-torch.inf)
            continue
        torch.mm(vectors[first : first + n].to(queries.dtype), queries.T, out=scores[:n])
        scores[n:] = -torch.inf
        if unseen is not None:
            scores[:n][unseen] = -torch.inf
        scores.view(-1)[excluded[low:high] - first * n_queries] = -torch.inf
        torch.amax(scores.view(-1, BLOCK, n_queries)[: len(out)], 1, out=out)
    return maxima


def _best_of_blocks(
    queries: Tensor, vectors: Tensor, blocks: Tensor, k: int, excluded: Tensor, hidden: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The k best of the items in `blocks` [B, n], as `top_k` returns them."""
    n_items, n_queries = len(vectors), len(queries)
    found = []
    for rows in torch.arange(n_queries, device=queries.device).split(max(1, 2**17 // (k * BLOCK))):
        items = (blocks[rows, :, None] * BLOCK + torch.arange(BLOCK, device=rows.device)).flatten(1)
        real = items.clamp(max=n_items - 1)
        scores = torch.einsum("bcd,bd->bc", vectors[real].to(queries.dtype), queries[rows])
        out = _is_in(items * n_queries + rows[:, None], excluded) | (items >= n_items)
        best = scores.masked_fill(out if hidden is None else out | hidden[real], -torch.inf).topk(k)
        found.append((best.values, real.gather(1, best.indices)))
    return torch.cat([scores for scores, _ in found]), torch.cat([items for _, items in found])


def _is_in(values: Tensor, known: Tensor) -> Tensor:
    """Which values are among `known`, which is sorted."""
    if not len(known):
        return torch.zeros_like(values, dtype=torch.bool)
    return known[torch.searchsorted(known, values).clamp(max=len(known) - 1)] == values


class FaissIndex:
    """Approximate search: FAISS's inverted lists, 4 sqrt(I) of them, of which a query looks into 64.

    What it finds of the exact top k is measured by `recall`; benchmarks/results/recommend.jsonl has it. Vectors of
    float16 are held as such. Needs the extra `faiss`; `build` and `read` raise ImportError without it.
    """

    def __init__(self, index: Any) -> None:
        self.index = index

    @classmethod
    def build(cls, vectors: Tensor) -> Self:
        """An index over the vectors of items, [I, D]."""
        faiss = _faiss()
        n, width = vectors.shape
        n_lists = int(4 * math.sqrt(n))
        shape = faiss.IndexFlatIP(width), width, n_lists
        if vectors.dtype == torch.float16:
            kind = faiss.ScalarQuantizer.QT_fp16
            index = faiss.IndexIVFScalarQuantizer(*shape, kind, faiss.METRIC_INNER_PRODUCT, False)
        else:
            index = faiss.IndexIVFFlat(*shape, faiss.METRIC_INNER_PRODUCT)
        index.cp.niter, index.cp.max_points_per_centroid = 10, POINTS  # half a minute's work for 1M items
        index.cp.min_points_per_centroid = 1
        index.nprobe = PROBES
        sample = torch.randperm(n, generator=torch.Generator().manual_seed(0))[: POINTS * n_lists]
        index.train(_numpy(vectors[sample.to(vectors.device)]))
        made = cls(index)
        made.add(vectors)
        return made

    @classmethod
    def read(cls, path: Path) -> Self:
        """What `write` wrote, mapped: of its lists only those are read that a query looks into."""
        faiss = _faiss()
        made = cls(faiss.read_index(str(path), faiss.IO_FLAG_MMAP if hasattr(faiss, ON_DISK) else 0))
        if (lists := made._mapped()) is not None:
            lists.prefetch_nthread = 0  # starting threads that read ahead takes longer than one query
        return made

    def write(self, path: Path) -> None:
        """Write the index to a file; OSError where it cannot be written."""
        try:
            _faiss().write_index(self.index, str(path))
        except RuntimeError as error:  # FAISS's own, such as of a disk that is full
            raise OSError(f"{path} cannot be written: {' '.join(str(error).split())}") from None

    def add(self, vectors: Tensor) -> None:
        """Add items [n, D] after those that are there; an index that is mapped is brought into memory."""
        if (lists := self._mapped()) is not None:
            faiss = _faiss()
            in_memory = faiss.ArrayInvertedLists(lists.nlist, lists.code_size)
            lists.copy_subset_to(in_memory, faiss.InvertedLists.SUBSET_TYPE_ID_RANGE, 0, self.index.ntotal)
            self.index.replace_invlists(in_memory, True)
            in_memory.this.disown()
        for part in vectors.split(ADDED):
            self.index.add(_numpy(part))

    def _mapped(self) -> Any | None:
        """The inverted lists, if they are mapped from a file."""
        faiss = _faiss()
        lists = faiss.downcast_InvertedLists(self.index.invlists)
        return lists if isinstance(lists, getattr(faiss, ON_DISK, ())) else None

    def top_k(
        self, queries: Tensor, k: int, exclude: Pairs | None = None, hidden: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As the function `top_k`, of what the index finds.

        Args:
            queries: [B, D].
            k: items for each.
            exclude, hidden: as for the function.
        """
        parameters = None
        if hidden is not None:
            faiss = _faiss()
            bits = np.packbits(~hidden.cpu().numpy(), bitorder="little")
            parameters = faiss.SearchParametersIVF(sel=faiss.IDSelectorBitmap(bits), nprobe=self.index.nprobe)
        rows, items = exclude or (torch.empty(0, dtype=torch.long),) * 2
        excluded = torch.unique(items.cpu() * len(queries) + rows.cpu())
        most = k + int(torch.bincount(excluded % len(queries)).max()) if len(excluded) else k
        scores, found = map(torch.from_numpy, self.index.search(_numpy(queries), most, params=parameters))
        out = _is_in(found * len(queries) + torch.arange(len(queries))[:, None], excluded) | (found < 0)
        best = scores.masked_fill(out, -torch.inf).topk(k)
        return best.values, found.gather(1, best.indices)


def find(
    index: FaissIndex | None,
    queries: Tensor,
    vectors: Tensor,
    k: int,
    exclude: Pairs | None = None,
    hidden: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """As `top_k`, through the index where that finds enough: queries that it finds fewer than k items for, and all
    where most items are hidden, are searched for exactly.

    Args:
        index: of the vectors; None: search exactly.
        queries, vectors, k, exclude, hidden: as for `top_k`.
    """
    if hidden is not None:
        hidden = hidden.to(vectors.device)
    if index is None or (hidden is not None and int(hidden.sum()) * 2 > len(vectors)):
        return top_k(queries, vectors, k, exclude, hidden)
    scores, items = index.top_k(queries, k, exclude, hidden)
    short = torch.isneginf(scores).any(1).nonzero().squeeze(1)
    if len(short):
        pairs = exclude and of_queries(exclude, short.to(queries.device), len(queries))
        exact = top_k(queries[short.to(queries.device)], vectors, k, pairs, hidden)
        scores[short], items[short] = exact[0].cpu(), exact[1].cpu()
    return scores, items


def of_queries(pairs: Pairs, chosen: Tensor, n_queries: int) -> Pairs:
    """The pairs of some queries, who are numbered anew.

    Args:
        pairs: of all.
        chosen: int64, the queries' numbers.
        n_queries: of all.

    >>> of_queries((torch.tensor([0, 2, 2]), torch.tensor([7, 8, 9])), torch.tensor([2]), 3)
    (tensor([0, 0]), tensor([8, 9]))
    """
    number = torch.full((n_queries,), -1, device=chosen.device)
    number[chosen] = torch.arange(len(chosen), device=chosen.device)
    rows = number[pairs[0]]
    return rows[rows >= 0], pairs[1][rows >= 0]


def recall(index: FaissIndex, queries: Tensor, vectors: Tensor, k: int = 10) -> float:
    """Share of the exact top k that the index finds, over all queries.

    Args:
        index: of the vectors.
        queries: [B, D].
        vectors: of the items, [I, D].
        k: items for each query.
    """
    exact, approximate = top_k(queries, vectors, k)[1].cpu(), index.top_k(queries, k)[1]
    return float((exact[:, :, None] == approximate[:, None, :]).any(2).float().mean())


def _numpy(vectors: Tensor) -> np.ndarray:
    return vectors.float().cpu().numpy()


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise ImportError('approximate search needs FAISS: pip install "srtlib[faiss]"') from None
    return faiss

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from srtlib.serving import search
from srtlib.serving.search import FaissIndex, recall, top_k


def brute_force(queries: Tensor, vectors: Tensor, k: int, exclude: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    scores = queries @ vectors.T
    scores[exclude] = -torch.inf
    best = scores.topk(k)
    return best.values, best.indices


def case(n_queries: int, n_items: int, seed: int = 0) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    queries, vectors = (torch.randn(n, 8, generator=generator) for n in (n_queries, n_items))
    n_pairs = n_queries * min(n_items, 6) // 2
    pairs = tuple(torch.randint(n, (n_pairs,), generator=generator) for n in (n_queries, n_items))
    return queries, vectors, (pairs[0], pairs[1])


@pytest.mark.parametrize("n_items", [1, 63, 64, 65, 1023, 1024, 1025, 5000])
@pytest.mark.parametrize("n_queries", [1, 3, 1030])
@pytest.mark.parametrize("k", [1, 10, 300])
def test_search_finds_what_a_full_sort_finds(n_items: int, n_queries: int, k: int) -> None:
    queries, vectors, exclude = case(n_queries, n_items)
    k = min(k, n_items)
    scores, items = top_k(queries, vectors, k, exclude)
    expected, expected_items = brute_force(queries, vectors, k, exclude)
    torch.testing.assert_close(scores, expected)
    left = torch.isfinite(scores)
    torch.testing.assert_close((queries[:, None] * vectors[items]).sum(2)[left], scores[left])
    assert (items == expected_items)[left].float().mean() > 0.999  # rounding may swap neighbours


def test_a_large_catalogue_is_searched_for_few_queries_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, vectors, exclude = case(200, 5000)
    expected = top_k(queries, vectors, 10, exclude)
    monkeypatch.setattr(search, "MAXIMA", 1)
    for found, one in zip(top_k(queries, vectors, 10, exclude), expected, strict=True):
        torch.testing.assert_close(found, one)


def test_float16_vectors_are_scored_as_float32() -> None:
    queries, vectors, exclude = case(5, 3000)
    scores, items = top_k(queries, vectors.half(), 10, exclude)
    expected, expected_items = brute_force(queries, vectors.half().float(), 10, exclude)
    torch.testing.assert_close(scores, expected)
    assert torch.equal(items, expected_items)


@pytest.fixture
def index() -> tuple[FaissIndex, Tensor]:
    pytest.importorskip("faiss", reason="the extra srtlib[faiss] is not installed")
    vectors = torch.randn(20_000, 16, generator=torch.Generator().manual_seed(0))
    return FaissIndex.build(vectors[:15_000]), vectors


def test_faiss_finds_most_of_the_exact_best(index: tuple[FaissIndex, Tensor]) -> None:
    found, vectors = index
    queries = torch.randn(200, 16, generator=torch.Generator().manual_seed(1))
    assert recall(found, queries, vectors[:15_000]) > 0.9
    found.add(vectors[15_000:])
    assert recall(found, queries, vectors) > 0.9
    scores, items = found.top_k(queries, 10)
    torch.testing.assert_close((queries[:, None] * vectors[items]).sum(2), scores)


def test_faiss_leaves_out_what_is_excluded(index: tuple[FaissIndex, Tensor]) -> None:
    found, _ = index
    queries = torch.randn(3, 16, generator=torch.Generator().manual_seed(1))
    before = found.top_k(queries, 12)[1]
    exclude = torch.tensor([0, 0, 2]), before[[0, 0, 2], [0, 3, 1]]
    after = found.top_k(queries, 10, exclude)[1]
    gone = ({0, 3}, set(), {1})
    kept = [
        [item for i, item in enumerate(row) if i not in out] for row, out in zip(before.tolist(), gone, strict=True)
    ]
    assert after.tolist() == [row[:10] for row in kept]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_an_index_that_is_mapped_finds_the_same(tmp_path: Path, dtype: torch.dtype) -> None:
    pytest.importorskip("faiss", reason="the extra srtlib[faiss] is not installed")
    vectors = torch.randn(3_000, 16, generator=torch.Generator().manual_seed(0)).to(dtype)
    queries = torch.randn(20, 16, generator=torch.Generator().manual_seed(1))
    made = FaissIndex.build(vectors[:2_000])
    made.write(tmp_path / "index")
    mapped = FaissIndex.read(tmp_path / "index")
    hidden = torch.arange(3_000) % 3 == 0
    for _ in range(2):
        found, again = made.top_k(queries, 10), mapped.top_k(queries, 10)
        assert torch.equal(found[1], again[1])
        torch.testing.assert_close(again[0], (queries[:, None] * vectors[again[1]].float()).sum(2))
        n = made.index.ntotal
        within = [one.top_k(queries, 10, hidden=hidden[:n])[1] for one in (made, mapped)]
        assert torch.equal(*within)
        assert not hidden[within[0]].any()
        (tmp_path / "index").unlink(missing_ok=True)  # what is added does not need the file
        for one in (made, mapped):
            one.add(vectors[n:])


def test_an_index_that_cannot_be_written_says_so_in_one_line(index: tuple[FaissIndex, Tensor], tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"nowhere.index cannot be written: [^\n]+$"):
        index[0].write(tmp_path / "nowhere" / "index")


def test_without_faiss_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r'needs FAISS: pip install "srtlib\[faiss\]"'):
        FaissIndex.build(torch.zeros(4, 2))

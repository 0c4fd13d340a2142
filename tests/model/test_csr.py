import pytest
import torch

from srtlib.model.csr import places, ramp

ROWS = {
    "some": ([4, 0, 9, 2], [3, 1, 2, 4]),
    "empty ones among them": ([4, 7, 0, 5], [0, 2, 0, 1]),
    "all empty": ([3, 1], [0, 0]),
    "none": ([], []),
}


@pytest.mark.parametrize(("starts", "lengths"), ROWS.values(), ids=ROWS)
def test_rows_end_to_end(starts: list[int], lengths: list[int]) -> None:
    first, n = torch.tensor(starts, dtype=torch.long), torch.tensor(lengths, dtype=torch.long)
    pairs = list(zip(starts, lengths, strict=True))
    rows = [row for row, length in enumerate(lengths) for _ in range(length)]
    values = [place for start, length in pairs for place in range(start, start + length)]
    assert [x.tolist() for x in places(first, n)] == [rows, values]
    assert [x.tolist() for x in ramp(n)] == [rows, [i for length in lengths for i in range(length)]]

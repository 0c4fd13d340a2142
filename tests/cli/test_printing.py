"""Tables as people read them, on a narrow terminal too."""

import numpy as np
import pandas as pd
import pytest

from srtlib.cli.printing import as_text

TABLE = pd.DataFrame(
    {"ranking": ["all items", "new items"]}
    | {f"{name}@{k}": [0.123456, np.nan] for name in ("ndcg", "hr", "mrr") for k in (5, 10, 20)}
)


@pytest.mark.parametrize("width", [40, 60, 1000])
def test_a_table_that_is_too_wide_is_turned_where_that_helps(width: int) -> None:
    lines = as_text(TABLE, width).splitlines()
    assert max(map(len, lines)) <= width
    if width < 1000:
        assert [line.split()[0] for line in lines] == TABLE.columns.tolist()
        assert lines[1].split() == ["ndcg@5", "0.1235"]
    else:
        assert lines == as_text(TABLE).splitlines()
        assert lines[0].split() == TABLE.columns.tolist()


def test_a_table_that_fits_neither_way_stays() -> None:
    long = pd.concat([TABLE] * 9)
    assert as_text(long, 80) == as_text(long)
    assert as_text(TABLE.head(0), 10) == as_text(TABLE.head(0))

"""MovieLens, from small files in the true forms."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from srtlib.data import movielens
from srtlib.data.loading import load_dataset
from srtlib.data.preparing import prepare_data

FILMS = {1: ("Toy Story (1995)", "Animation|Children's"), 2: ("Misérables, Les (1995)", "Drama"), 3: ("X", "Horror")}


@pytest.fixture
def ratings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int, int]]:
    """Six users with films 1 and 2 again and again, so that a 5-core is left; film 3 was rated twice."""
    monkeypatch.setenv("SRT_HOME", str(tmp_path / "home"))
    rng = np.random.default_rng(0)
    rows = [(user, 1 + (i + user) % 2, int(rng.integers(1, 6)), 10 * i) for user in range(1, 7) for i in range(6)]
    return [*rows, (1, 3, 5, 99), (2, 3, 4, 99)]


def write(folder: Path, ratings: list[tuple[int, int, int, int]], suffix: str) -> None:
    folder.mkdir()
    if suffix == "dat":
        lines = ["::".join(map(str, row)) for row in ratings]
        (folder / "ratings.dat").write_text("\n".join(lines) + "\n", encoding="latin-1")
        films = [f"{film}::{title}::{genres}" for film, (title, genres) in FILMS.items()]
        (folder / "movies.dat").write_text("\n".join(films) + "\n", encoding="latin-1")
    else:
        columns = ["userId", "movieId", "rating", "timestamp"]
        pd.DataFrame(ratings, columns=columns).to_csv(folder / "ratings.csv", index=False)
        films = [(film, title, genres) for film, (title, genres) in FILMS.items()]
        pd.DataFrame(films, columns=["movieId", "title", "genres"]).to_csv(folder / "movies.csv", index=False)


@pytest.mark.parametrize("suffix", ["dat", "csv"])
def test_both_forms_say_the_same(ratings: list[tuple[int, int, int, int]], suffix: str, tmp_path: Path) -> None:
    write(tmp_path / "raw", ratings, suffix)
    counts = prepare_data("movielens", raw=tmp_path / "raw").set_index("statistic")["value"]
    assert (counts["users"], counts["interactions"], counts["items"]) == (6, 36, 2)
    data = load_dataset("movielens")
    items = data.catalogue.set_index("item_id")
    assert items.loc["2", "title"] == "Misérables, Les (1995)"
    assert items.loc["1", "categories"] == "Animation, Children's"
    ids = data.catalogue["item_id"].to_numpy()
    first = [int(i) for i in ids[data.items[: data.offsets[1]]]]
    assert first == [film for user, film, _, _ in ratings if user == int(data.user_ids[0]) and film != 3]


def test_10m_is_in_utf_8(ratings: list[tuple[int, int, int, int]], tmp_path: Path) -> None:
    """In which some letters hold a byte that ends lines elsewhere."""
    write(tmp_path / "raw", ratings, "dat")
    films = "1::Ångström (1995)::Drama\n2::À la mode\u0085 (1996)::Comedy\n3::X::Horror\n"
    (tmp_path / "raw" / "movies.dat").write_bytes(films.encode())
    movielens.prepare(tmp_path / "raw")
    assert load_dataset("movielens").catalogue["title"].tolist() == ["Ångström (1995)", "À la mode (1996)"]


def test_the_core_is_that_of_taking_away_one_by_one() -> None:
    rng = np.random.default_rng(0)
    log = pd.DataFrame({"user_id": rng.geometric(0.1, 200), "item_id": rng.geometric(0.1, 200)})
    rows = list(log.itertuples(index=False))
    while True:
        bad = next(
            (
                row
                for row in rows
                if min(sum(r.user_id == row.user_id for r in rows), sum(r.item_id == row.item_id for r in rows)) < 5
            ),
            None,
        )
        if bad is None:
            break
        rows.remove(bad)
    found = movielens.core(log, 5)
    assert sorted(found.itertuples(index=False, name=None)) == sorted((r.user_id, r.item_id) for r in rows)
    assert 0 < len(found) < len(log)


def test_what_is_wrong_is_named(ratings: list[tuple[int, int, int, int]], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no ratings.csv or ratings.dat; expected a MovieLens release"):
        movielens.prepare(tmp_path)
    write(tmp_path / "raw", ratings, "dat")
    path = tmp_path / "raw" / "ratings.dat"
    path.write_text(path.read_text() + "1:2:3:4\n")
    with pytest.raises(
        ValueError, match=r"ratings.dat, line 39: '1:2:3:4'; expected userId::movieId::rating::timestamp"
    ):
        movielens.prepare(tmp_path / "raw")
    write(tmp_path / "newer", ratings, "csv")
    pd.DataFrame({"movieId": [1], "title": ["X"]}).to_csv(tmp_path / "newer" / "movies.csv", index=False)
    with pytest.raises(ValueError, match=r"movies.csv has no column genres; expected movieId, title, genres"):
        movielens.prepare(tmp_path / "newer")

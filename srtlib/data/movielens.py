"""MovieLens (grouplens.org/datasets/movielens), from the files as they are unpacked: who rated a film took it."""

import tempfile
from pathlib import Path

import pandas as pd

from srtlib.data.importing import import_data
from srtlib.data.reading import read_table
from srtlib.data.statistics import describe

CORE = 5  # interactions of every user and every film, at least
COLUMNS = {
    "ratings": {"userId": "user_id", "movieId": "item_id", "rating": "rating", "timestamp": "timestamp"},
    "movies": {"movieId": "item_id", "title": "title", "genres": "categories"},
}
NO_GENRES = "(no genres listed)"


def prepare(raw: Path, seed: int = 0) -> pd.DataFrame:
    """Make the data set `movielens`, thinned to its 5-core; genres become categories.

    Args:
        raw: folder with ratings and movies, .csv (20M, 25M, 32M, latest) or .dat (1M, 10M).
        seed: of the order of ratings in the same second.

    Returns:
        What the set holds (set, statistic, value).

    Raises FileNotFoundError where a file is not there, ValueError for one of another form.
    """
    ratings, movies = (_read(Path(raw), stem) for stem in COLUMNS)
    ratings = core(ratings, CORE)
    genres = movies["categories"].mask(movies["categories"] == NO_GENRES, "").str.replace("|", ", ")
    movies = movies.assign(categories=genres)[movies["item_id"].isin(ratings["item_id"])]
    with tempfile.TemporaryDirectory() as folder:
        log, items = (Path(folder) / f"{stem}.parquet" for stem in COLUMNS)
        ratings.drop(columns="rating").to_parquet(log, index=False)
        movies.to_parquet(items, index=False)
        made = import_data(log, items, "movielens", seed=seed)
    return describe(made)[0].assign(set="movielens")[["set", "statistic", "value"]]


def core(interactions: pd.DataFrame, k: int) -> pd.DataFrame:
    """The largest part of a log in which every user and every item has at least k interactions.

    Args:
        interactions: user_id, item_id and anything else.
        k: how many.

    >>> log = pd.DataFrame({"user_id": list("aabbc"), "item_id": list("xyxyz")})
    >>> core(log, 2)["user_id"].tolist()
    ['a', 'a', 'b', 'b']
    """
    while True:
        sizes = [interactions.groupby(name)[name].transform("size") for name in ("user_id", "item_id")]
        kept = (sizes[0] >= k) & (sizes[1] >= k)
        if kept.all():
            return interactions
        interactions = interactions[kept]


def _read(raw: Path, stem: str) -> pd.DataFrame:
    names = COLUMNS[stem]
    for path in (raw / f"{stem}.csv", raw / f"{stem}.dat"):
        if path.is_file():
            table = read_table(path) if path.suffix == ".csv" else _read_dat(path, list(names))
            if missing := [name for name in names if name not in table]:
                raise ValueError(f"{path} has no column {missing[0]}; expected {', '.join(names)}")
            return table[list(names)].rename(columns=names)
    raise FileNotFoundError(f"{raw} has no {stem}.csv or {stem}.dat; expected a MovieLens release as it is unpacked")


def _read_dat(path: Path, names: list[str]) -> pd.DataFrame:
    """Fields between two colons, without a head line; 1M is in Latin-1, 10M in UTF-8."""
    data = path.read_bytes()
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    for number, line in enumerate(lines, 1):
        if line.count("::") != len(names) - 1:
            raise ValueError(f"{path}, line {number}: {line[:80]!r}; expected {'::'.join(names)}")
    return pd.DataFrame([line.split("::") for line in lines], columns=names)

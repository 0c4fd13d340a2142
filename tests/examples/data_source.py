"""A data source of your own: a club's ratings of films, found by its name.

python tests/examples/data_source.py FOLDER_WITH_RATINGS_AND_MOVIES
"""

import sys
from pathlib import Path

import pandas as pd

from srtlib.data.importing import import_data
from srtlib.data.preparing import SOURCES
from srtlib.data.statistics import describe


def prepare_films(raw: Path, seed: int = 0) -> pd.DataFrame:
    """ratings.csv and movies.csv -> the data set "films"; returns its counts. `seed` orders equal times."""
    columns = {"user_id": "userId", "item_id": "movieId", "categories": "genres"}
    folder = import_data(raw / "ratings.csv", raw / "movies.csv", "films", columns, seed)
    return describe(folder)[0]


SOURCES["films"] = prepare_films

if __name__ == "__main__":
    from srtlib.cli.entry import main

    sys.exit(main(["data", "prepare", "films", "--raw", sys.argv[1]]))

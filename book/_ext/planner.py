"""Write the laws that the planner page shows, fitted to the recorded runs, into a file: `make planner`."""

import sys
from pathlib import Path

from srtlib.laws.pages import with_published_laws, write_planner
from srtlib.laws.planner import OWN_END, Planner, read
from srtlib.paths import project_root

RESULTS = project_root() / "results"


def write(path: Path) -> None:
    """Write the script.

    Args:
        path: ends in .js.
    """
    authors = Planner.fit(*read("published"))
    write_planner(
        path,
        {
            "Ten Amazon sets, 2.7M interactions": Planner.fit(*read(RESULTS / "pool", grids=OWN_END)),
            "Amazon Beauty, 199K interactions": Planner.fit(*read(RESULTS / "beauty_M")),
            "The authors' runs, refitted": authors,
            "The authors' runs, published laws": with_published_laws(authors),
        },
    )


if __name__ == "__main__":
    write(Path(sys.argv[1]))

"""Without the authors' store, the notebook that reads it is skipped, with the reason."""

import pytest

from srtlib.runs.published import published_store


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    cells = [item for item in items if item.path.name == "published_runs.ipynb"]
    if not cells:
        return
    try:
        published_store()
    except FileNotFoundError as error:
        for cell in cells:
            cell.add_marker(pytest.mark.skip(reason=str(error)))

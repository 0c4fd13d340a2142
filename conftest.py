"""Notebooks are compared by the same rules from any folder that pytest is run in."""

from pathlib import Path

import pytest


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config.option, "nbval_sanitize_with"):
        config.option.nbval_sanitize_with = str(Path(__file__).parent / "tests" / "notebooks" / "nbval.cfg")
